package main

import (
	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// spread is where ride finds, for each set of 8 rows as a byte, 8 bytes: of row r the
// number of rows in the set before it, or -128 if it is not there.
var spread Mem

func spreadTable() {
	spread = GLOBL("spread", attr.RODATA|attr.NOPTR)
	for set := range 256 {
		var v uint64
		n := uint64(0)
		for r := range 8 {
			if set>>r&1 == 1 {
				v |= n << (8 * r)
				n++
			} else {
				v |= 0x80 << (8 * r)
			}
		}
		DATA(8*set, U64(v))
	}
}

// riding2 holds what adds a residual to the codes of a group.
type riding2 struct {
	masks, words, set, spread Register
}

// begin finds masks, words and codes of a group of so many cells; w moves to the
// codes.
func (r *riding2) begin(w, cells Register) {
	r.masks, r.words, r.set, r.spread = GP64(), GP64(), GP64(), GP64()
	LEAQ(spread, r.spread)
	MOVQ(w, r.masks)
	LEAQ(Mem{Base: w, Index: cells, Scale: 2}, w)
	MOVQ(cells, r.words)
	SHLQ(Imm(6), r.words)
	ADDQ(w, r.words)
	PREFETCHT0(Mem{Base: r.words, Disp: ahead})
}

// ride sets low and high to the bytes of half h of the next cell, base and residual.
func (e *engine2) ride(r *riding2, h int) {
	MOVBQZX(Mem{Base: r.masks, Disp: h}, r.set)
	VPMOVSXBD(Mem{Base: r.spread, Index: r.set, Scale: 8}, e.p)
	VPMOVZXBW(Mem{Base: r.words}, e.x)
	VPERMD(e.x, e.p, e.x)
	VPSRAD(Imm(31), e.p, e.p)
	VPANDN(e.x, e.p, e.x)
	POPCNTL(r.set.(GPVirtual).As32(), r.set.(GPVirtual).As32())
	LEAQ(Mem{Base: r.words, Index: r.set, Scale: 2}, r.words)
	VPSLLW(Imm(4), e.x, e.p)
	VPOR(e.p, e.x, e.x)
	VPAND(e.mask, e.x, e.x)
	VMOVDQU(Mem{Base: e.w, Disp: 32 * h}, e.low)
	VPSRLW(Imm(4), e.low, e.high)
	for _, v := range []struct {
		code  VecVirtual
		table int
	}{{e.low, laneRideLow}, {e.high, laneRideHigh}} {
		VPAND(e.mask, v.code, v.code)
		VPADDB(v.code, v.code, v.code)
		VMOVDQU(e.lane(v.table, 0), e.p)
		VPSHUFB(e.x, e.p, e.p)
		VPADDB(e.p, v.code, v.code)
	}
}

// widenAVX2 is widen for AVX2.
func widenAVX2() {
	TEXT("widenAVX2", NOSPLIT, "func(dst *byte, src *byte, s *int, lanes *int32)")
	Pragma("noescape")
	Doc("widenAVX2 writes a panel whose residual rides in its codes as bytes.")
	e := &engine2{mask: YMM(), x: YMM(), p: YMM(), low: YMM(), high: YMM()}
	dst := Load(Param("dst"), GP64())
	e.w = Load(Param("src"), GP64())
	e.s = Load(Param("s"), GP64())
	e.lanes = Load(Param("lanes"), GP64())
	e.constant(0x0f0f0f0f, e.mask)
	r := &riding2{}
	todo, cells := GP64(), GP64()
	MOVQ(Mem{Base: e.s, Disp: groups}, todo)
	Label("group")
	SUBQ(Imm(1), todo)
	JL(LabelRef("done"))
	MOVQ(Mem{Base: e.s, Disp: groupCells}, cells)
	TESTQ(todo, todo)
	CMOVQEQ(Mem{Base: e.s, Disp: lastCells}, cells)
	copyHead(e.s, e.w, dst, e.low)
	r.begin(e.w, cells)
	Label("cell")
	DECQ(cells)
	JL(LabelRef("cells_done"))
	for h := range 2 {
		e.ride(r, h)
		VMOVDQU(e.low, Mem{Base: dst, Disp: 32 * h})
		VMOVDQU(e.high, Mem{Base: dst, Disp: 64 + 32*h})
	}
	PREFETCHT0(Mem{Base: e.w, Disp: ahead})
	ADDQ(Imm(64), e.w)
	ADDQ(Imm(2), r.masks)
	ADDQ(U32(128), dst)
	JMP(LabelRef("cell"))
	Label("cells_done")
	MOVQ(r.words, e.w)
	JMP(LabelRef("group"))
	Label("done")
	VZEROUPPER()
	RET()
}

// copyHead copies the head of a group, of at most 40 bytes; more than the head is
// written, but never beyond the group.
func copyHead(s, w, dst Register, t VecVirtual) {
	VMOVDQU(Mem{Base: w}, t.AsY())
	VMOVDQU(t.AsY(), Mem{Base: dst})
	size := GP64()
	MOVQ(Mem{Base: w, Disp: 32}, size)
	MOVQ(size, Mem{Base: dst, Disp: 32})
	MOVQ(Mem{Base: s, Disp: headBytes}, size)
	ADDQ(size, w)
	ADDQ(size, dst)
}
