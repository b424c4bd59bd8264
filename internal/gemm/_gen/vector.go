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
	elementwise(s, "largest", "func(n int, x *float32) float32",
		"returns the maximum of x[i] but for NaN, -Inf without one,", largest)
	elementwise(s, "maxAbs", "func(n int, x *float32) float32", "returns max |x[i]|, or NaN where an x[i] is not finite,",
		maxAbs)
	elementwise(s, "roundTo", "func(n int, x *float32, scale, top float32)",
		"sets x[i] = scale·clamp(round(x[i]/scale), ±top)", roundTo)
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

// across folds the lanes of v by op until the first holds the result, which it returns.
func across(s isa, v VecVirtual, op func(ops ...Op)) Register {
	t := XMM()
	if s.lanes == 16 {
		h := YMM()
		VEXTRACTF64X4(Imm(1), v, h)
		op(h, v.AsY(), v.AsY())
		VEXTRACTF32X4(Imm(1), v.AsY(), t)
	} else {
		VEXTRACTF128(Imm(1), v, t)
	}
	op(t, v.AsX(), v.AsX())
	VSHUFPS(Imm(0x0e), v.AsX(), v.AsX(), t)
	op(t, v.AsX(), v.AsX())
	VSHUFPS(Imm(0x01), v.AsX(), v.AsX(), t)
	op(t, v.AsX(), v.AsX())
	return v.AsX()
}

func maximum(ops ...Op) { VMAXPS(ops...) }
func sum(ops ...Op)     { VADDPS(ops...) }

// fill sets all lanes of v to the float32 with the given bits.
func fill(s isa, v VecVirtual, bits uint32) {
	r := GP32()
	MOVL(U32(bits), r)
	MOVD(r, v.AsX())
	VBROADCASTSS(v.AsX(), v)
}

func largest(s isa) {
	n, x := Load(Param("n"), GP64()), Load(Param("x"), GP64())
	Comment("Four accumulators hide the latency of the comparison.")
	acc := []VecVirtual{s.vec(), s.vec(), s.vec(), s.vec()}
	v := s.vec()
	for _, a := range acc {
		fill(s, a, 0xff800000)
	}
	Comment("MAXPS returns its last operand, here the accumulator, where one is NaN.")
	Label("four")
	CMPQ(n, U32(4*s.lanes))
	JL(LabelRef("next"))
	for i, a := range acc {
		VMOVUPS(Mem{Base: x, Disp: 4 * s.lanes * i}, v)
		VMAXPS(a, v, a)
	}
	ADDQ(U32(16*s.lanes), x)
	SUBQ(U32(4*s.lanes), n)
	JMP(LabelRef("four"))
	each(s, n, func() {
		VMOVUPS(Mem{Base: x}, v)
		VMAXPS(acc[0], v, acc[0])
	}, map[int][]Register{4: {x}})
	for _, a := range acc[1:] {
		VMAXPS(a, acc[0], acc[0])
	}
	Store(across(s, acc[0], maximum), ReturnIndex(0))
	VZEROUPPER()
	RET()
}

func maxAbs(s isa) {
	n, x := Load(Param("n"), GP64()), Load(Param("x"), GP64())
	Comment("faults sums x-x: zero where all are finite, else NaN.")
	acc, faults := []VecVirtual{s.vec(), s.vec()}, []VecVirtual{s.vec(), s.vec()}
	v, t, magnitude := s.vec(), s.vec(), s.vec()
	fill(s, magnitude, 0x7fffffff)
	for i := range acc {
		VXORPS(acc[i], acc[i], acc[i])
		VXORPS(faults[i], faults[i], faults[i])
	}
	step := func(i int) {
		VMOVUPS(Mem{Base: x, Disp: 4 * s.lanes * i}, v)
		VSUBPS(v, v, t)
		VADDPS(t, faults[i], faults[i])
		VANDPS(magnitude, v, v)
		VMAXPS(acc[i], v, acc[i])
	}
	Label("two")
	CMPQ(n, U32(2*s.lanes))
	JL(LabelRef("next"))
	step(0)
	step(1)
	ADDQ(U32(8*s.lanes), x)
	SUBQ(U32(2*s.lanes), n)
	JMP(LabelRef("two"))
	each(s, n, func() { step(0) }, map[int][]Register{4: {x}})
	VMAXPS(acc[1], acc[0], acc[0])
	VADDPS(faults[1], faults[0], faults[0])
	top, fault := across(s, acc[0], maximum), across(s, faults[0], sum)
	VADDSS(fault, top, top)
	Store(top, ReturnIndex(0))
	VZEROUPPER()
	RET()
}

func roundTo(s isa) {
	n, x := Load(Param("n"), GP64()), Load(Param("x"), GP64())
	scale, top, bottom, v := s.vec(), s.vec(), s.vec(), s.vec()
	VBROADCASTSS(NewParamAddr("scale", 16), scale)
	VBROADCASTSS(NewParamAddr("top", 20), top)
	VXORPS(bottom, bottom, bottom)
	VSUBPS(top, bottom, bottom)
	each(s, n, func() {
		VMOVUPS(Mem{Base: x}, v)
		VDIVPS(scale, v, v)
		if s.lanes == 16 {
			VRNDSCALEPS(Imm(0), v, v)
		} else {
			VROUNDPS(Imm(0), v, v)
		}
		VMINPS(v, top, v)
		VMAXPS(v, bottom, v)
		VMULPS(scale, v, v)
		VMOVUPS(v, Mem{Base: x})
	}, map[int][]Register{4: {x}})
	VZEROUPPER()
	RET()
}
