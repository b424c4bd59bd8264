package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// wideFloat is wide for float activations. A code finds its value in a table of
// 16 lanes: VPERMPS looks at 4 bits of an index only, so one shift makes a
// column of codes the indices of 16 rows.
func (e *engine) wideFloat(x, cells Register, cell func(x Register)) {
	loop := fmt.Sprintf("wide%d", e.labels)
	done := loop + "_done"
	for _, z := range e.acc {
		VPXORD(z, z, z)
	}
	Label(loop)
	DECQ(cells)
	JL(LabelRef(done))
	cell(x)
	JMP(LabelRef(loop))
	Label(done)
	e.joinChains()
	for t := range e.tokens {
		VFMADD231PS(e.scale, e.acc[t], e.sum[t])
	}
}

// floatBytes is floatCell for codes of a byte, 128 too large: with the upper bit turned they
// are signed. It uses mask.
func (e *engine) floatBytes(x Register) {
	VMOVDQU64(e.lane(laneTops), e.mask)
	for half := range 2 {
		VPXORD(Mem{Base: e.w, Disp: 64 * half}, e.mask, e.code)
		PREFETCHT0(Mem{Base: e.w, Disp: 64*half + ahead})
		for i := range 4 {
			v := e.code
			if i < 3 {
				VPSLLD(Imm(uint64(24-8*i)), e.code, e.high)
				v = e.high
			}
			VPSRAD(Imm(24), v, e.high)
			VCVTDQ2PS(e.high, e.low)
			col := 4*half + i
			for t := range e.tokens {
				VFMADD231PS_BCST(e.token(x, t, 4*col), e.low, e.acc[col%e.chains*e.tokens+t])
			}
		}
	}
	ADDQ(U32(128), e.w)
	ADDQ(Imm(32), x)
}

// floatE4M3 is floatCell for E4M3 and E5M2 numbers: at the top of a lane, with the exponent
// moved to where float32 has its last bits, they are float32 numbers that are too small by a power of two.
func (e *engine) floatE4M3(x Register) {
	for half := range 2 {
		VMOVDQU64(Mem{Base: e.w, Disp: 64 * half}, e.code)
		PREFETCHT0(Mem{Base: e.w, Disp: 64*half + ahead})
		for i := range 4 {
			v := e.code
			if i < 3 {
				VPSLLD(Imm(uint64(24-8*i)), e.code, e.high)
				v = e.high
			}
			VPSRAVD(e.lane(laneE4M3Shift), v, e.high)
			VPANDD(e.lane(laneE4M3), e.high, e.high)
			VMULPS(e.lane(laneE4M3Unit), e.high, e.low)
			col := 4*half + i
			for t := range e.tokens {
				VFMADD231PS_BCST(e.token(x, t, 4*col), e.low, e.acc[col%e.chains*e.tokens+t])
			}
		}
	}
	ADDQ(U32(128), e.w)
	ADDQ(Imm(32), x)
}

// floatCell multiplies a cell; w and x move on.
func (e *engine) floatCell(x Register) { e.floatNibbles(x, func(Register) {}) }

// floatChoice is floatCell where rows of K4 have integers.
func (e *engine) floatChoice(x Register) {
	e.floatNibbles(x, func(index Register) { VPERMPS(e.lane(laneStrip), index, K4, e.low) })
}

// floatNibbles is floatCell; change sees the indices of each column, and its levels in low.
func (e *engine) floatNibbles(x Register, change func(index Register)) {
	VMOVDQU64(Mem{Base: e.w}, e.code)
	PREFETCHT0(Mem{Base: e.w, Disp: ahead})
	for col := range 8 {
		index := e.code
		if shift := 8*(col%4) + col/4*4; shift > 0 {
			VPSRLD(Imm(uint64(shift)), e.code, e.high)
			index = e.high
		}
		VPERMPS(e.mask, index, e.low)
		change(index)
		for t := range e.tokens {
			VFMADD231PS_BCST(e.token(x, t, 4*col), e.low, e.acc[col%e.chains*e.tokens+t])
		}
	}
	ADDQ(Imm(64), e.w)
	ADDQ(Imm(32), x)
}

// joinChains sums the accumulators of each token.
func (e *engine) joinChains() {
	for n := e.chains / 2; n >= 1; n /= 2 {
		for i := range n * e.tokens {
			VADDPS(e.acc[n*e.tokens+i], e.acc[i], e.acc[i])
		}
	}
}

// narrowFloat is narrow for float activations. 16 bytes of the strip become 16
// lanes, dword by dword: their low codes meet 4 activations each, and so do their
// high ones further on. Pairs of such pieces add to two accumulators, because the
// dwords of 8 rows fill two.
func (e *engine) narrowFloat(x Register) {
	xIndex, low, high, xs := ZMM(), e.low, e.high, e.code
	VMOVDQU32(Mem{Base: e.lanes, Disp: laneQuad}, xIndex)
	acc := [2][]VecVirtual{e.acc[:e.tokens], e.acc[e.tokens : 2*e.tokens]}
	for _, z := range e.acc[:2*e.tokens] {
		VPXORD(z, z, z)
	}
	chunk := func(name string, bytes, cells Register) {
		half := GP64()
		SHLQ(Imm(4), cells)
		LEAQ(Mem{Base: x, Index: cells, Scale: 1}, half)
		Label(name + "_pair")
		ones := GP32()
		MOVL(I32(-1), ones)
		BZHIL(bytes.(GPVirtual).As32(), ones, ones)
		KMOVW(ones, K2)
		SHRL(Imm(16), ones)
		KMOVW(ones, K3)
		for i, k := range []Register{K2, K3} {
			VPMOVZXBD(Mem{Base: e.w, Disp: 16 * i}, high)
			VPERMPS(e.mask, high, low)
			VPSRLD(Imm(4), high, high)
			VPERMPS(e.mask, high, high)
			for t := range e.tokens {
				VPERMPS_Z(e.token(x, t, 0), xIndex, k, xs)
				VFMADD231PS(xs, low, acc[i][t])
				VPERMPS_Z(e.token(half, t, 0), xIndex, k, xs)
				VFMADD231PS(xs, high, acc[i][t])
			}
			step := Mem{Base: e.s, Disp: []int{stepOdd, stepEven}[i]}
			ADDQ(step, x)
			ADDQ(step, half)
		}
		PREFETCHT0(Mem{Base: e.w, Disp: ahead})
		ADDQ(Imm(32), e.w)
		SUBQ(Imm(32), bytes)
		JG(LabelRef(name + "_pair"))
		Comment("A last pair that was not full went too far.")
		ADDQ(bytes, e.w)
		MOVQ(half, x)
	}
	chunks, cells, bytes := GP64(), GP64(), GP64()
	MOVQ(Mem{Base: e.s, Disp: fullChunks}, chunks)
	Label("chunk")
	DECQ(chunks)
	JL(LabelRef("chunks_done"))
	MOVQ(Mem{Base: e.s, Disp: chunkCells}, cells)
	MOVQ(U32(64), bytes)
	chunk("full", bytes, cells)
	JMP(LabelRef("chunk"))
	Label("chunks_done")
	MOVQ(Mem{Base: e.s, Disp: tailCells}, cells)
	TESTQ(cells, cells)
	JE(LabelRef("tail_done"))
	MOVQ(Mem{Base: e.s, Disp: tailBytes}, bytes)
	chunk("tail", bytes, cells)

	Label("tail_done")
	index := xIndex
	VMOVDQU32(Mem{Base: e.lanes, Disp: laneSum}, index)
	quads := func(v VecVirtual) {
		for _, shuffle := range []uint64{0x4e, 0xb1} {
			VPERMILPS(Imm(shuffle), v, low)
			VADDPS(low, v, v)
		}
	}
	CMPQ(Mem{Base: e.s, Disp: stripRows}, Imm(8))
	JE(LabelRef("eight"))
	for t, v := range acc[0] {
		VADDPS(acc[1][t], v, v)
	}
	for d, shuffle := range []uint64{0x4e, 0xb1} {
		CMPQ(Mem{Base: e.s, Disp: stripRows}, Imm(uint64(2-d)))
		JG(LabelRef("summed"))
		for _, v := range acc[0] {
			VSHUFF32X4(Imm(shuffle), v, v, low)
			VADDPS(low, v, v)
		}
	}
	JMP(LabelRef("summed"))
	Label("eight")
	for _, v := range acc[1] {
		quads(v)
	}
	Label("summed")
	for t, v := range acc[0] {
		quads(v)
		VPERMT2PS(acc[1][t], index, v)
		VFMADD231PS(e.scale, v, K1, e.sum[t])
	}
}

// panelBF16 emits the kernel of panels of 16-bit weights, which have no scales:
// a line of 64 bytes holds two columns of 16 rows.
func panelBF16(tokens int) {
	name := fmt.Sprintf("panelBF16x%dAVX512", tokens)
	TEXT(name, NOSPLIT, "func(w *byte, x *byte, ld int, s *int, lanes *int32, out *float32)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s multiplies one panel of 16-bit weights by %d tokens.", name, tokens))
	e := &engine{tokens: tokens, chains: 8}
	if tokens > 1 {
		e.chains = 16 / tokens
	}
	e.w = Load(Param("w"), GP64())
	x := Load(Param("x"), GP64())
	ld := Load(Param("ld"), GP64())
	e.s = Load(Param("s"), GP64())
	e.multiples(ld)
	e.mask, e.code, e.low, e.high = ZMM(), ZMM(), ZMM(), ZMM()
	VPTERNLOGD(Imm(0xff), e.mask, e.mask, e.mask)
	VPSLLD(Imm(16), e.mask, e.mask)
	for range tokens * e.chains {
		z := ZMM()
		VPXORD(z, z, z)
		e.acc = append(e.acc, z)
	}
	cells := GP64()
	MOVQ(Mem{Base: e.s, Disp: groupCells}, cells)
	Label("cell")
	for i := range 4 {
		VMOVDQU64(Mem{Base: e.w, Disp: 64 * i}, e.code)
		PREFETCHT0(Mem{Base: e.w, Disp: 64*i + ahead})
		VPSLLD(Imm(16), e.code, e.low)
		VPANDD(e.mask, e.code, e.high)
		for h, v := range []VecVirtual{e.low, e.high} {
			for t := range tokens {
				VFMADD231PS_BCST(e.token(x, t, 8*i+4*h), v, e.acc[(2*i+h)%e.chains*tokens+t])
			}
		}
	}
	ADDQ(U32(256), e.w)
	ADDQ(Imm(32), x)
	DECQ(cells)
	JNE(LabelRef("cell"))
	e.joinChains()
	out := Load(Param("out"), GP64())
	for t := range tokens {
		VMOVUPS(e.acc[t], Mem{Base: out, Disp: 64 * t})
	}
	VZEROUPPER()
	RET()
}
