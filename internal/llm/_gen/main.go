// Command _gen writes the assembly of package llm with avo: the exponentials
// of softmax and SwiGLU. It is a module of its own, so that avo never becomes a
// dependency of the main module. The contracts are the Go twins in math.go, and
// the steps are those of exp there.
package main

import (
	"flag"
	"log"
	"math"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// isa is all that tells the instruction sets apart: a register's width.
type isa struct {
	suffix string
	lanes  int
	vec    func() VecVirtual
}

func main() {
	name := flag.String("isa", "", "avx2 or avx512")
	flag.Parse()
	ConstraintExpr("!noasm")
	var s isa
	switch *name {
	case "avx2":
		s = isa{"AVX2", 8, YMM}
	case "avx512":
		s = isa{"AVX512", 16, ZMM}
	default:
		log.Fatalf("unknown -isa %q", *name)
	}
	c := constants(s)
	expShift(s, c)
	swiGLU(s, c)
	exp64(s)
	Generate()
}

// constants lays out every constant a register wide: AVX2 has no broadcasting
// operands, and too few registers to keep them.
func constants(s isa) map[string]Mem {
	c := map[string]Mem{}
	global := func(name string, bits uint32) {
		c[name] = GLOBL(name+s.suffix, attr.RODATA|attr.NOPTR)
		for i := range s.lanes {
			DATA(4*i, U32(bits))
		}
	}
	for _, k := range []struct {
		name string
		v    float32
	}{
		{"lowest", -104}, {"highest", 89}, {"log2e", 1.44269504088896341}, {"rounder", 12582912},
		{"ln2Hi", 0.693359375}, {"ln2Lo", -2.12194440e-4},
		{"p0", 1.9875691500e-4}, {"p1", 1.3981999507e-3}, {"p2", 8.3334519073e-3},
		{"p3", 4.1665795894e-2}, {"p4", 1.6666665459e-1}, {"p5", 5.0000001201e-1},
		{"one", 1}, {"minusOne", -1},
	} {
		global(k.name, math.Float32bits(k.v))
	}
	global("bias", 127)
	return c
}

// exp returns e^x and uses x up.
func exp(s isa, c map[string]Mem, x VecVirtual) VecVirtual {
	t, n, p := s.vec(), s.vec(), s.vec()
	// MINPS and MAXPS return their last operand, here x, where one is NaN.
	VMOVUPS(c["highest"], t)
	VMINPS(x, t, x)
	VMOVUPS(c["lowest"], t)
	VMAXPS(x, t, x)
	VMOVUPS(c["rounder"], t)
	VFMADD231PS(c["log2e"], x, t)
	VSUBPS(c["rounder"], t, n)
	VFNMADD231PS(c["ln2Hi"], n, x)
	VFNMADD231PS(c["ln2Lo"], n, x)
	VMOVUPS(c["p0"], p)
	for _, k := range []string{"p1", "p2", "p3", "p4", "p5"} {
		VFMADD213PS(c[k], x, p)
	}
	VMULPS(x, x, n)
	VFMADD213PS(x, n, p)
	VADDPS(c["one"], p, p)
	// 2^n in two factors.
	VPSUBD(c["rounder"], t, t)
	VPSRAD(Imm(1), t, n)
	VPSUBD(n, t, t)
	for _, v := range []VecVirtual{n, t} {
		VPADDD(c["bias"], v, v)
		VPSLLD(Imm(23), v, v)
		VMULPS(v, p, p)
	}
	return p
}

func expShift(s isa, c map[string]Mem) {
	TEXT("expShift"+s.suffix, NOSPLIT, "func(n int, x *float32, shift float32, sums *float32)")
	Pragma("noescape")
	Doc("expShift"+s.suffix+" sets x[i] = exp(x[i]-shift) for 0 <= i < n and writes one sum of",
		"the results per lane. n must be a multiple of the lanes.")
	n := Load(Param("n"), GP64())
	x := Load(Param("x"), GP64())
	sums := Load(Param("sums"), GP64())
	at, err := Param("shift").Resolve()
	if err != nil {
		log.Fatal(err)
	}
	shift, acc, v := s.vec(), s.vec(), s.vec()
	VBROADCASTSS(at.Addr, shift)
	VSUBPS(shift, shift, acc) // zero, or NaN like every result
	Label("next")
	SUBQ(U32(s.lanes), n)
	JL(LabelRef("done"))
	VMOVUPS(Mem{Base: x}, v)
	VSUBPS(shift, v, v)
	e := exp(s, c, v)
	VMOVUPS(e, Mem{Base: x})
	VADDPS(e, acc, acc)
	ADDQ(U32(4*s.lanes), x)
	JMP(LabelRef("next"))
	Label("done")
	VMOVUPS(acc, Mem{Base: sums})
	VZEROUPPER()
	RET()
}

func swiGLU(s isa, c map[string]Mem) {
	TEXT("swiGLU"+s.suffix, NOSPLIT, "func(n int, gate *float32, up *float32)")
	Pragma("noescape")
	Doc("swiGLU"+s.suffix+" sets gate[i] = gate[i]/(1+exp(-gate[i]))·up[i] for 0 <= i < n, a",
		"multiple of the lanes.")
	n := Load(Param("n"), GP64())
	gate := Load(Param("gate"), GP64())
	up := Load(Param("up"), GP64())
	g, v := s.vec(), s.vec()
	Label("next")
	SUBQ(U32(s.lanes), n)
	JL(LabelRef("done"))
	VMOVUPS(Mem{Base: gate}, g)
	VMULPS(c["minusOne"], g, v)
	e := exp(s, c, v)
	VADDPS(c["one"], e, e)
	VDIVPS(e, g, g)
	VMULPS(Mem{Base: up}, g, g)
	VMOVUPS(g, Mem{Base: gate})
	ADDQ(U32(4*s.lanes), gate)
	ADDQ(U32(4*s.lanes), up)
	JMP(LabelRef("next"))
	Label("done")
	VZEROUPPER()
	RET()
}

// exp64 follows math.Exp of Go on this machine step by step (Shibata 2010), half
// a register of float32 at a time, so that its bits are the same.
func exp64(s isa) {
	c := map[string]Mem{}
	for _, k := range []struct {
		name string
		v    float64
	}{
		{"lowest64", -800}, {"log2e64", math.Log2E},
		{"ln2U", 0.69314718055966295651160180568695068359375},
		{"ln2L", 0.28235290563031577122588448175013436025525412068e-12},
		{"sixteenth", 0.0625}, {"c8", 2.4801587301587301587e-5}, {"c7", 1.9841269841269841270e-4},
		{"c6", 1.3888888888888888889e-3},
		{"c5", 8.3333333333333333333e-3}, {"c4", 4.1666666666666666667e-2}, {"c3", 1.6666666666666666667e-1},
		{"half", 0.5}, {"one64", 1}, {"two", 2},
	} {
		c[k.name] = GLOBL(k.name+s.suffix, attr.RODATA|attr.NOPTR)
		for i := range s.lanes / 2 {
			DATA(8*i, U64(math.Float64bits(k.v)))
		}
	}
	bias := GLOBL("bias64"+s.suffix, attr.RODATA|attr.NOPTR)
	for i := range s.lanes / 2 {
		DATA(4*i, U32(1023))
	}
	TEXT("exp64"+s.suffix, NOSPLIT, "func(n int, dst *float64, x *float32, shift float64)")
	Pragma("noescape")
	Doc("exp64"+s.suffix+" sets dst[i] = exp(x[i]-shift) for 0 <= i < n. n must be a multiple of half",
		"the lanes, and no x[i] above shift.")
	n := Load(Param("n"), GP64())
	dst := Load(Param("dst"), GP64())
	x := Load(Param("x"), GP64())
	at, err := Param("shift").Resolve()
	if err != nil {
		log.Fatal(err)
	}
	shift := s.vec()
	VBROADCASTSD(at.Addr, shift)
	Label("next")
	SUBQ(U32(s.lanes/2), n)
	JL(LabelRef("done"))
	v, t, p, whole := s.vec(), s.vec(), s.vec(), s.vec()
	VCVTPS2PD(Mem{Base: x}, v)
	VSUBPD(shift, v, v)
	// MAXPD returns its last operand, here v, where one is NaN. e^-800 is 0.
	VMOVUPD(c["lowest64"], t)
	VMAXPD(v, t, v)
	VMULPD(c["log2e64"], v, t)
	half := s.half(whole)
	s.toInt32(t, half)
	VCVTDQ2PD(half, t)
	VFNMADD231PD(c["ln2U"], t, v)
	VFNMADD231PD(c["ln2L"], t, v)
	VMULPD(c["sixteenth"], v, v)
	VMOVUPD(c["c8"], p)
	for _, k := range []string{"c7", "c6", "c5", "c4", "c3", "half", "one64"} {
		VFMADD213PD(c[k], v, p)
	}
	VMULPD(p, v, v)
	for range 3 {
		VADDPD(c["two"], v, p)
		VMULPD(p, v, v)
	}
	VADDPD(c["two"], v, p)
	VFMADD213PD(c["one64"], p, v)
	// 2^n in two factors, so that only the last product rounds.
	rest := s.half(s.vec())
	VPSRAD(Imm(1), half, rest)
	VPSUBD(rest, half, half)
	for _, k := range []VecVirtual{rest, half} {
		VPADDD(bias, k, k)
		VPMOVZXDQ(k, t)
		VPSLLQ(Imm(52), t, t)
		VMULPD(t, v, v)
	}
	VMOVUPD(v, Mem{Base: dst})
	ADDQ(U32(2*s.lanes), x)
	ADDQ(U32(4*s.lanes), dst)
	JMP(LabelRef("next"))
	Label("done")
	VZEROUPPER()
	RET()
}

// half returns the lower half of v as a register.
func (s isa) half(v VecVirtual) VecVirtual {
	if s.lanes == 16 {
		return v.AsY().(VecVirtual)
	}
	return v.AsX().(VecVirtual)
}

// toInt32 rounds float64 to int32, halves to even.
func (s isa) toInt32(from, to VecVirtual) {
	if s.lanes == 16 {
		VCVTPD2DQ(from, to)
	} else {
		VCVTPD2DQY(from, to)
	}
}
