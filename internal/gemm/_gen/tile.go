package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// tileSignature is shared by all micro-kernels: one tile of C from one panel
// of A and one panel of B, both packed.
const tileSignature = "func(kc int, a, b, next, c *float32, ldc int, alpha float32, add bool)"

// tilesAVX512 keep a tile of up to 14x32 floats of C in 28 of the 32 ZMM
// registers; the smaller ones are for the edges of C, where a whole tile would
// mostly compute padding.
//
// A step of k loads two vectors of B, broadcasts 14 elements of A and issues 28
// FMAs: 16 loads for 28 FMAs leaves the two load ports of Zen 4/5 and Intel
// cores idle almost half of the time, so the FMA units are the only limit. Two
// registers alternate for the broadcasts.
func tilesAVX512() {
	v := make([]VecPhysical, 32)
	for i, z := range []VecPhysical{
		Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15,
		Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23, Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31,
	} {
		v[i] = z
	}
	for _, s := range []shape{{rows: 14, width: 2}, {rows: 8, width: 2}, {rows: 4, width: 2}, {rows: 14, width: 1}} {
		s.aStride, s.lanes, s.regs, s.suffix = 16, 16, v, "AVX512"
		tile(s)
	}
}

// tilesAVX2 keep up to 6x16 floats of C in 12 of the 16 YMM registers: 8 loads
// for 12 FMAs.
func tilesAVX2() {
	v := []VecPhysical{Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y7, Y8, Y9, Y10, Y11, Y12, Y13, Y14, Y15}
	for _, s := range []shape{{rows: 6, width: 2}, {rows: 3, width: 2}, {rows: 6, width: 1}} {
		s.aStride, s.lanes, s.regs, s.suffix = 8, 8, v, "AVX2"
		tile(s)
	}
}

type shape struct {
	rows, width int           // of the tile; its width in registers
	aStride     int           // floats from one k to the next in packed A
	lanes       int           // floats in a register
	regs        []VecPhysical // rows*width accumulators, width of B, 2 of A
	suffix      string
}

// unroll is the number of k in one round of the main loop.
const unroll = 4

// tile emits a micro-kernel; packed B is two registers wide whatever the tile is:
//
//	acc[i,j] = Σ_p a[p*aStride+i]·b[p*2*lanes+j]   0 <= p < kc
//	c[i*ldc+j] = alpha·acc[i,j] (+ c[i*ldc+j] if add)
//
// On the way it asks for kc/unroll cache lines from next on: the caller's next
// panel of A comes from the L3 cache or from memory, and waiting for it costs a
// tenth of the time.
func tile(s shape) {
	name := fmt.Sprintf("tile%dx%d%s", s.rows, s.width*s.lanes, s.suffix)
	TEXT(name, NOSPLIT, tileSignature)
	Pragma("noescape")
	Doc(fmt.Sprintf("%s computes a %dx%d tile of C in %d registers.", name, s.rows, s.width*s.lanes, s.rows*s.width))
	kc := Load(Param("kc"), GP64())
	a := Load(Param("a"), GP64())
	b := Load(Param("b"), GP64())
	next := Load(Param("next"), GP64())
	c := Load(Param("c"), GP64())
	ldc := Load(Param("ldc"), GP64())
	SHLQ(Imm(2), ldc)
	bytes := s.lanes * 4

	acc := func(i, j int) VecPhysical { return s.regs[s.width*i+j] }
	free := s.regs[s.width*s.rows:]
	bv, av := free[:s.width], free[s.width:s.width+2]
	for _, r := range s.regs[:s.width*s.rows] {
		VXORPS(r, r, r)
	}

	Comment("C is needed in a thousand cycles: ask for it now.")
	row := GP64()
	MOVQ(c, row)
	for range s.rows {
		for at := 0; at < s.width*bytes; at += 64 {
			PREFETCHT0(Mem{Base: row, Disp: at})
		}
		PREFETCHT0(Mem{Base: row, Disp: s.width*bytes - 4})
		ADDQ(ldc, row)
	}

	step := func(p int) {
		for j := range s.width {
			VMOVUPS(Mem{Base: b, Disp: (2*p + j) * bytes}, bv[j])
		}
		for i := range s.rows {
			t := av[i%2]
			VBROADCASTSS(Mem{Base: a, Disp: (p*s.aStride + i) * 4}, t)
			for j := range s.width {
				VFMADD231PS(bv[j], t, acc(i, j))
			}
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
		ADDQ(U32(unroll*2*bytes), b)
		SUBQ(U32(unroll), kc)
		CMPQ(kc, U32(unroll))
		JGE(LabelRef(label + "_next"))
		Label(label + "_done")
	}
	loop("unrolled", unroll)
	loop("single", 1)

	alpha := bv[0]
	VBROADCASTSS(NewParamAddr("alpha", 48), alpha)
	add := Load(Param("add"), GP8())
	TESTB(add, add)
	JNE(LabelRef("add"))
	write := func(add bool) {
		for i := range s.rows {
			for j := range s.width {
				m := Mem{Base: c, Disp: j * bytes}
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
