package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// isa is what the memory-bound kernels need to know of an instruction set:
// apart from the width of a register they are the same program.
type isa struct {
	suffix string
	lanes  int
	vec    func() VecVirtual
}

var (
	avx2   = isa{"AVX2", 8, YMM}
	avx512 = isa{"AVX512", 16, ZMM}
)

// dot4 computes the products of 4 rows of W with m rows of X. Each of the 4m
// sums has one accumulator, so that its bits do not depend on m. W is read once
// and straight from where it lies: with few rows, memory is the limit and
// packing would only add to the traffic.
func dot4(s isa, m int) {
	name := fmt.Sprintf("dot4x%d%s", m, s.suffix)
	TEXT(name, NOSPLIT, "func(k int, w *float32, ldw int, x *float32, ldx int, out *float32)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s sets out[i*4+j] = Σ_p x[i*ldx+p]·w[j*ldw+p] for 0 <= i < %d,", name, m),
		fmt.Sprintf("0 <= j < 4, 0 <= p < k. k must be a multiple of %d.", s.lanes))
	k := Load(Param("k"), GP64())
	w := Load(Param("w"), GP64())
	ldw := Load(Param("ldw"), GP64())
	x := Load(Param("x"), GP64())
	ldx := Load(Param("ldx"), GP64())
	out := Load(Param("out"), GP64())
	SHLQ(Imm(2), ldw)
	SHLQ(Imm(2), ldx)
	ldw3, ldx3 := GP64(), GP64()
	LEAQ(Mem{Base: ldw, Index: ldw, Scale: 2}, ldw3)
	LEAQ(Mem{Base: ldx, Index: ldx, Scale: 2}, ldx3)
	row := func(base, ld, ld3 Register, i int) Mem {
		return []Mem{
			{Base: base}, {Base: base, Index: ld, Scale: 1},
			{Base: base, Index: ld, Scale: 2}, {Base: base, Index: ld3, Scale: 1},
		}[i]
	}
	acc := make([]VecVirtual, 4*m)
	for i := range acc {
		acc[i] = s.vec()
		VXORPS(acc[i], acc[i], acc[i])
	}
	xv := make([]VecVirtual, m)
	for i := range xv {
		xv[i] = s.vec()
	}
	wv := s.vec()
	Label("next")
	SUBQ(U32(s.lanes), k)
	JL(LabelRef("done"))
	for i := range m {
		VMOVUPS(row(x, ldx, ldx3, i), xv[i])
	}
	for j := range 4 {
		VMOVUPS(row(w, ldw, ldw3, j), wv)
		for i := range m {
			VFMADD231PS(wv, xv[i], acc[4*i+j])
		}
	}
	ADDQ(U32(4*s.lanes), x)
	ADDQ(U32(4*s.lanes), w)
	JMP(LabelRef("next"))
	Label("done")
	for i, a := range acc {
		sum := reduce(s, a)
		VMOVSS(sum, Mem{Base: out, Disp: 4 * i})
	}
	VZEROUPPER()
	RET()
}

// reduce adds the lanes of v, halving the vector each time.
func reduce(s isa, v VecVirtual) Register {
	t := XMM()
	if s.lanes == 16 {
		h := YMM()
		VEXTRACTF64X4(Imm(1), v, h)
		VADDPS(h, v.AsY(), v.AsY())
	}
	if s.lanes == 16 {
		VEXTRACTF32X4(Imm(1), v.AsY(), t)
	} else {
		VEXTRACTF128(Imm(1), v, t)
	}
	VADDPS(t, v.AsX(), v.AsX())
	VSHUFPS(Imm(0x0e), v.AsX(), v.AsX(), t)
	VADDPS(t, v.AsX(), v.AsX())
	VSHUFPS(Imm(0x01), v.AsX(), v.AsX(), t)
	VADDSS(t, v.AsX(), v.AsX())
	return v.AsX()
}

// vectors emits the element-wise kernels. All take a length that is a multiple
// of the register width; the Go caller does the rest.
func vectors(s isa) {
	elementwise(s, "dot", "func(n int, x, y *float32) float32", "returns Σ x[i]·y[i]", dot)
	elementwise(s, "axpy", "func(n int, alpha float32, x, y *float32)", "sets y[i] += alpha·x[i]", axpy)
	elementwise(s, "accumulate", "func(n int, dst *float64, src *float32)", "sets dst[i] += src[i]", accumulate)
	elementwise(s, "decodeBF16", "func(n int, dst *float32, src *byte)", "widens n bfloat16 to float32", decodeBF16)
	elementwise(s, "decodeF16", "func(n int, dst *float32, src *byte)", "widens n IEEE half floats to float32", decodeF16)
}

func elementwise(s isa, name, signature, does string, body func(isa)) {
	TEXT(name+s.suffix, NOSPLIT, signature)
	Pragma("noescape")
	Doc(fmt.Sprintf("%s%s %s for 0 <= i < n, n a multiple of %d.", name, s.suffix, does, s.lanes))
	body(s)
}

// each loops over n elements, one register at a time, and advances the
// pointers by the given bytes per element.
func each(s isa, n Register, body func(), pointers map[int][]Register) {
	Label("next")
	SUBQ(U32(s.lanes), n)
	JL(LabelRef("done"))
	body()
	for _, bytes := range []int{2, 4, 8} {
		for _, p := range pointers[bytes] {
			ADDQ(U32(bytes*s.lanes), p)
		}
	}
	JMP(LabelRef("next"))
	Label("done")
}

func dot(s isa) {
	n, x, y := Load(Param("n"), GP64()), Load(Param("x"), GP64()), Load(Param("y"), GP64())
	Comment("Four accumulators hide the latency of the FMA.")
	acc := []VecVirtual{s.vec(), s.vec(), s.vec(), s.vec()}
	v := s.vec()
	for _, a := range acc {
		VXORPS(a, a, a)
	}
	Label("four")
	CMPQ(n, U32(4*s.lanes))
	JL(LabelRef("next"))
	for i, a := range acc {
		VMOVUPS(Mem{Base: x, Disp: 4 * s.lanes * i}, v)
		VFMADD231PS(Mem{Base: y, Disp: 4 * s.lanes * i}, v, a)
	}
	ADDQ(U32(16*s.lanes), x)
	ADDQ(U32(16*s.lanes), y)
	SUBQ(U32(4*s.lanes), n)
	JMP(LabelRef("four"))
	each(s, n, func() {
		VMOVUPS(Mem{Base: x}, v)
		VFMADD231PS(Mem{Base: y}, v, acc[0])
	}, map[int][]Register{4: {x, y}})
	VADDPS(acc[1], acc[0], acc[0])
	VADDPS(acc[3], acc[2], acc[2])
	VADDPS(acc[2], acc[0], acc[0])
	Store(reduce(s, acc[0]), ReturnIndex(0))
	VZEROUPPER()
	RET()
}

func axpy(s isa) {
	n, x, y := Load(Param("n"), GP64()), Load(Param("x"), GP64()), Load(Param("y"), GP64())
	alpha, v := s.vec(), s.vec()
	VBROADCASTSS(NewParamAddr("alpha", 8), alpha)
	each(s, n, func() {
		VMOVUPS(Mem{Base: y}, v)
		VFMADD231PS(Mem{Base: x}, alpha, v)
		VMOVUPS(v, Mem{Base: y})
	}, map[int][]Register{4: {x, y}})
	VZEROUPPER()
	RET()
}

func accumulate(s isa) {
	n, dst, src := Load(Param("n"), GP64()), Load(Param("dst"), GP64()), Load(Param("src"), GP64())
	lo, hi := s.vec(), s.vec()
	half := 2 * s.lanes // bytes of half a register of float32
	each(s, n, func() {
		VCVTPS2PD(Mem{Base: src}, lo)
		VCVTPS2PD(Mem{Base: src, Disp: half}, hi)
		VADDPD(Mem{Base: dst}, lo, lo)
		VADDPD(Mem{Base: dst, Disp: 2 * half}, hi, hi)
		VMOVUPD(lo, Mem{Base: dst})
		VMOVUPD(hi, Mem{Base: dst, Disp: 2 * half})
	}, map[int][]Register{4: {src}, 8: {dst}})
	VZEROUPPER()
	RET()
}

func decodeBF16(s isa) {
	n, dst, src := Load(Param("n"), GP64()), Load(Param("dst"), GP64()), Load(Param("src"), GP64())
	v := s.vec()
	each(s, n, func() {
		VPMOVZXWD(Mem{Base: src}, v)
		VPSLLD(Imm(16), v, v)
		VMOVUPS(v, Mem{Base: dst})
	}, map[int][]Register{2: {src}, 4: {dst}})
	VZEROUPPER()
	RET()
}

func decodeF16(s isa) {
	n, dst, src := Load(Param("n"), GP64()), Load(Param("dst"), GP64()), Load(Param("src"), GP64())
	v := s.vec()
	each(s, n, func() {
		VCVTPH2PS(Mem{Base: src}, v)
		VMOVUPS(v, Mem{Base: dst})
	}, map[int][]Register{2: {src}, 4: {dst}})
	VZEROUPPER()
	RET()
}
