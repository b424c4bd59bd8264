package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// tileSignature is shared by all micro-kernels: one tile of C from one panel
// of A and one panel of B, both packed.
const tileSignature = "func(kc int, a, b, next, c *float32, ldc int, alpha float32, add bool)"

// tile14x32 keeps a 14x32 tile of C in 28 of the 32 ZMM registers.
//
// A step of k loads two vectors of B, broadcasts 14 elements of A and issues 28
// FMAs: 16 loads for 28 FMAs leaves the two load ports of Zen 4/5 and Intel
// cores idle almost half of the time, so the FMA units are the only limit. Two
// registers alternate for the broadcasts.
func tile14x32() {
	v := make([]VecPhysical, 32)
	for i, z := range []VecPhysical{
		Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15,
		Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23, Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31,
	} {
		v[i] = z
	}
	tile(shape{name: "tile14x32AVX512", rows: 14, aStride: 16, lanes: 16, unroll: 4, regs: v,
		doc: "14x32 tile with AVX-512: 28 accumulators of 16 floats."})
}

// tile6x16 keeps a 6x16 tile of C in 12 of the 16 YMM registers: 8 loads for
// 12 FMAs.
func tile6x16() {
	v := []VecPhysical{Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y7, Y8, Y9, Y10, Y11, Y12, Y13, Y14, Y15}
	tile(shape{name: "tile6x16AVX2", rows: 6, aStride: 8, lanes: 8, unroll: 4, regs: v,
		doc: "6x16 tile with AVX2 and FMA: 12 accumulators of 8 floats."})
}

type shape struct {
	name, doc     string
	rows, aStride int // rows of the tile; floats from one k to the next in packed A
	lanes, unroll int
	regs          []VecPhysical // 2*rows accumulators, 2 of B, 2 of A
}

// tile emits a micro-kernel two vectors wide:
//
//	acc[i,j] = Σ_p a[p*aStride+i]·b[p*2*lanes+j]   0 <= p < kc
//	c[i*ldc+j] = alpha·acc[i,j] (+ c[i*ldc+j] if add)
//
// On the way it asks for kc/unroll cache lines from next on: the caller's next
// panel of A comes from the L3 cache or from memory, and waiting for it costs a
// tenth of the time.
func tile(s shape) {
	TEXT(s.name, NOSPLIT, tileSignature)
	Pragma("noescape")
	Doc(s.name + " computes a " + s.doc)
	kc := Load(Param("kc"), GP64())
	a := Load(Param("a"), GP64())
	b := Load(Param("b"), GP64())
	next := Load(Param("next"), GP64())
	c := Load(Param("c"), GP64())
	ldc := Load(Param("ldc"), GP64())
	SHLQ(Imm(2), ldc)
	width := s.lanes * 4

	acc := func(i, j int) VecPhysical { return s.regs[2*i+j] }
	bv := s.regs[2*s.rows : 2*s.rows+2]
	av := s.regs[2*s.rows+2 : 2*s.rows+4]
	for _, r := range s.regs[:2*s.rows] {
		VXORPS(r, r, r)
	}

	Comment("C is needed in a thousand cycles: ask for it now.")
	row := GP64()
	MOVQ(c, row)
	for range s.rows {
		PREFETCHT0(Mem{Base: row})
		PREFETCHT0(Mem{Base: row, Disp: 2*width - 4})
		ADDQ(ldc, row)
	}

	step := func(p int) {
		for j := range 2 {
			VMOVUPS(Mem{Base: b, Disp: (2*p + j) * width}, bv[j])
		}
		for i := range s.rows {
			t := av[i%2]
			VBROADCASTSS(Mem{Base: a, Disp: (p*s.aStride + i) * 4}, t)
			VFMADD231PS(bv[0], t, acc(i, 0))
			VFMADD231PS(bv[1], t, acc(i, 1))
		}
	}
	loop := func(label string, unroll int) {
		Label(label)
		CMPQ(kc, U32(unroll))
		JL(LabelRef(label + "_done"))
		Label(label + "_next")
		if unroll > 1 {
			PREFETCHT1(Mem{Base: next})
			ADDQ(Imm(64), next)
		}
		for p := range unroll {
			step(p)
		}
		ADDQ(U32(unroll*s.aStride*4), a)
		ADDQ(U32(unroll*2*width), b)
		SUBQ(U32(unroll), kc)
		CMPQ(kc, U32(unroll))
		JGE(LabelRef(label + "_next"))
		Label(label + "_done")
	}
	loop("unrolled", s.unroll)
	loop("single", 1)

	alpha := bv[0]
	VBROADCASTSS(NewParamAddr("alpha", 48), alpha)
	add := Load(Param("add"), GP8())
	TESTB(add, add)
	JNE(LabelRef("add"))
	write := func(add bool) {
		for i := range s.rows {
			for j := range 2 {
				m := Mem{Base: c, Disp: j * width}
				if add {
					VFMADD213PS(m, alpha, acc(i, j))
				} else {
					VMULPS(alpha, acc(i, j), acc(i, j))
				}
				VMOVUPS(acc(i, j), m)
			}
			if i < s.rows-1 {
				ADDQ(ldc, c)
			}
		}
		VZEROUPPER()
		RET()
	}
	write(false)
	Label("add")
	write(true)
}
