package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// How the cells of a group are read (riding.go).
const (
	cellsPlain = iota
	cellsLookUp
	cellsRiding
	cellsWidened
)

// riding holds what adds a residual to the codes of a group.
type riding struct {
	masks, words, count Register
	even                VecVirtual // 0x1e bytes
	low, high           VecVirtual // laneRideLow, laneRideHigh
	below               VecVirtual // laneBelow
	word                VecVirtual
}

// rider loads the tables.
func (e *engine) rider() *riding {
	r := &riding{even: ZMM(), low: ZMM(), high: ZMM(), word: ZMM(), below: ZMM()}
	VMOVDQU32(e.lane(laneBelow), r.below)
	e.constant(0x1e1e1e1e, r.even)
	table := GP64()
	Comment("Records have words of their own to look up.")
	LEAQ(e.lane(laneRideLow), table)
	other := GP64()
	LEAQ(e.lane(laneAloneLow), other)
	CMPQ(Mem{Base: e.s, Disp: groupMode}, Imm(cellsExact))
	CMOVQEQ(other, table)
	VMOVDQU64(Mem{Base: table}, r.low)
	VMOVDQU64(Mem{Base: table, Disp: laneRideHigh - laneRideLow}, r.high)
	return r
}

// begin finds masks, words and codes of a group of so many cells; w moves to the
// codes.
func (r *riding) begin(w, cells Register) {
	r.masks, r.words, r.count = GP64(), GP64(), GP64()
	MOVQ(w, r.masks)
	LEAQ(Mem{Base: w, Index: cells, Scale: 2}, w)
	MOVQ(cells, r.words)
	SHLQ(Imm(6), r.words)
	ADDQ(w, r.words)
	PREFETCHT0(Mem{Base: r.words, Disp: ahead})
}

// ride sets low and high to the bytes of a cell, base and residual. The words of its
// kept rows are spread to the lanes of these rows, two bytes to four nibbles: a row
// finds its word by the number of kept rows before it. VPEXPANDD would do as much in
// one instruction, but one that takes as long as four others from VPDPBUSD.
func (e *engine) ride(r *riding, cell int) {
	KMOVW(Mem{Base: r.masks, Disp: 2 * cell}, K2)
	MOVWLZX(Mem{Base: r.masks, Disp: 2 * cell}, r.count.(GPVirtual).As32())
	POPCNTL(r.count.(GPVirtual).As32(), r.count.(GPVirtual).As32())
	VPMOVZXBW(Mem{Base: r.words}, r.word)
	VPANDD_BCST(Mem{Base: r.masks, Disp: 2 * cell}, r.below, e.high)
	VPOPCNTD(e.high, e.high)
	VPERMD_Z(r.word, e.high, K2, r.word)
	LEAQ(Mem{Base: r.words, Index: r.count, Scale: 2}, r.words)
	VMOVDQU64(Mem{Base: e.w, Disp: 64 * cell}, e.code)
	PREFETCHT0(Mem{Base: e.w, Disp: 64*cell + ahead})
	VPSLLW(Imm(4), r.word, e.high)
	VPTERNLOGD(Imm(0xa8), e.mask, r.word, e.high) // (high | word) & mask
	VPSHUFB(e.high, r.low, r.word)
	VPADDB(e.code, e.code, e.low)
	VPANDD(r.even, e.low, e.low)
	VPADDB(r.word, e.low, e.low)
	VPSHUFB(e.high, r.high, r.word)
	VPSRLW(Imm(3), e.code, e.high)
	VPANDD(r.even, e.high, e.high)
	VPADDB(r.word, e.high, e.high)
}

// widen emits the kernel that adds the residual of a panel to its codes once, for
// many tokens.
func widen() {
	TEXT("widenAVX512", NOSPLIT, "func(dst *byte, src *byte, s *int, lanes *int32)")
	Pragma("noescape")
	Doc("widenAVX512 writes a panel whose residual rides in its codes as bytes.")
	e := &engine{mask: ZMM(), code: ZMM(), low: ZMM(), high: ZMM()}
	dst := Load(Param("dst"), GP64())
	e.w = Load(Param("src"), GP64())
	e.s = Load(Param("s"), GP64())
	e.lanes = Load(Param("lanes"), GP64())
	e.constant(0x0f0f0f0f, e.mask)
	r := e.rider()
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
	e.ride(r, 0)
	VMOVDQU64(e.low, Mem{Base: dst})
	VMOVDQU64(e.high, Mem{Base: dst, Disp: 64})
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

// panel16 emits the kernel that multiplies a panel whose residual rides in its codes,
// widened or not, by 16 tokens: the more tokens, the less it costs each. Their sums
// stay in memory.
func panel16(scheme scheme) {
	const tokens = 16
	name := fmt.Sprintf("panel%sx%dAVX512", scheme, tokens)
	TEXT(name, NOSPLIT, "func(w *byte, x *byte, ld int, s *int, lanes *int32, out *float32)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s multiplies one panel whose residual rides in it by %d %s tokens.", name, tokens, scheme))
	e := &engine{scheme: scheme, tokens: 8, scale: ZMM(), code: ZMM(), low: ZMM(), high: ZMM(), mask: ZMM()}
	e.w = Load(Param("w"), GP64())
	x := Load(Param("x"), GP64())
	ld := Load(Param("ld"), GP64())
	e.s = Load(Param("s"), GP64())
	e.lanes = Load(Param("lanes"), GP64())
	e.out = Load(Param("out"), GP64())
	e.multiples(ld)
	VPXORD(e.code, e.code, e.code)
	for t := range tokens {
		VMOVUPS(e.code, Mem{Base: e.out, Disp: 64 * t})
	}
	e.constant(0x0f0f0f0f, e.mask)
	e.riding = e.rider()
	for range tokens {
		e.acc = append(e.acc, ZMM())
	}
	acc := e.acc
	todo, cells := GP64(), GP64()
	left := AllocLocal(8)
	e.records = recordKeeper()
	e.begin(x)
	MOVQ(Mem{Base: e.s, Disp: groups}, todo)
	MOVQ(todo, left)

	Label("group")
	DECQ(left)
	JL(LabelRef("done"))
	MOVQ(Mem{Base: e.s, Disp: groupCells}, cells)
	CMPQ(left, Imm(0))
	CMOVQEQ(Mem{Base: e.s, Disp: lastCells}, cells)
	PREFETCHT0(Mem{Base: e.w, Disp: ahead})
	e.head(x, cells)
	VMULPS(e.lane(laneUnit), e.scale, e.scale)
	// Each half of the tokens has a base of its own.
	q := GP64()
	halves := func(base Register, f func(t int, m func(disp int) Mem)) {
		for half := range 2 {
			if half == 1 {
				LEAQ(Mem{Base: base, Index: ld, Scale: 8}, base)
			}
			for t := range 8 {
				f(8*half+t, func(disp int) Mem { return e.token(base, t, disp) })
			}
		}
	}
	MOVQ(Mem{Base: e.s, Disp: sums}, q)
	ADDQ(x, q)
	halves(q, func(t int, m func(int) Mem) { VPBROADCASTD(m(0), acc[t]) })
	MOVQ(Mem{Base: e.s, Disp: sums}, q)
	ADDQ(x, q)
	LEAQ(Mem{Base: q, Index: cells, Scale: 8}, q)
	halves(q, func(t int, m func(int) Mem) {
		VPSUBD_BCST(m(0), acc[t], acc[t])
		VPSLLD(Imm(2), acc[t], acc[t])
	})
	second := GP64()
	LEAQ(Mem{Base: x, Index: ld, Scale: 8}, second)
	CMPQ(Mem{Base: e.s, Disp: groupMode}, Imm(cellsExact))
	JE(LabelRef("exact"))
	CMPQ(Mem{Base: e.s, Disp: groupMode}, Imm(cellsRiding))
	JNE(LabelRef("widened"))
	e.riding.begin(e.w, cells)
	for _, mode := range []int{cellsRiding, cellsWidened} {
		loop := []string{"riding", "widened"}[mode-cellsRiding]
		Label(loop)
		e.cell(0, mode)
		for h, v := range []VecVirtual{e.low, e.high} {
			for t := range tokens {
				VPDPBUSD_BCST(e.token([]Register{x, second}[t/8], t%8, 4*h), v, acc[t])
			}
		}
		if mode == cellsRiding {
			ADDQ(Imm(64), e.w)
			ADDQ(Imm(2), e.riding.masks)
		} else {
			ADDQ(U32(128), e.w)
		}
		ADDQ(Imm(8), x)
		ADDQ(Imm(8), second)
		DECQ(cells)
		JNE(LabelRef(loop))
		if mode == cellsRiding {
			MOVQ(e.riding.words, e.w)
		}
		JMP(LabelRef("multiplied"))
	}
	Label("exact")
	e.exact16(x, second, cells, ld)
	Label("multiplied")
	MOVQ(Mem{Base: e.s, Disp: sums}, q)
	ADDQ(x, q)
	halves(q, func(t int, m func(int) Mem) {
		VCVTDQ2PS(acc[t], acc[t])
		VMULPS(e.scale, acc[t], acc[t])
		if scheme == a4 {
			VMULPS_BCST(m(-4), acc[t], acc[t])
		}
		sum := Mem{Base: e.out, Disp: 64 * t}
		VADDPS(sum, acc[t], acc[t])
		VMOVUPS(acc[t], sum)
	})
	JMP(LabelRef("group"))
	Label("done")
	VZEROUPPER()
	RET()
}
