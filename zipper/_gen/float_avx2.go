package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// panelFloatAVX2 emits the kernel of float activations. There is no table of 16
// values in 8 lanes: a code is shifted to the top of its lane and back with its
// sign, which XOR with 8 has made that of its value, and converted. Other levels
// are looked up in two tables of 8. The sums of the panel stay in memory.
func panelFloatAVX2(tokens int) {
	name := fmt.Sprintf("panelA16x%dAVX2", tokens)
	TEXT(name, NOSPLIT, "func(w *byte, x *byte, ld int, s *int, lanes *int32, out *float32)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s multiplies one panel of the stream by %d A16 tokens.", name, tokens))
	e := &engine2{scheme: a16, tokens: tokens, scales: AllocLocal(64)}
	e.w = Load(Param("w"), GP64())
	x := Load(Param("x"), GP64())
	e.ld = Load(Param("ld"), GP64())
	e.s = Load(Param("s"), GP64())
	e.lanes = Load(Param("lanes"), GP64())
	out := Load(Param("out"), GP64())
	e.p, e.x, e.low, e.high = YMM(), YMM(), YMM(), YMM()
	VPXOR(e.p, e.p, e.p)
	for i := range 2 * tokens {
		VMOVUPS(e.p, Mem{Base: out, Disp: 32 * i})
	}
	var acc [8]VecVirtual
	for i := range 4 * tokens {
		acc[i] = YMM()
	}

	left, todo, tile, cells := GP64(), GP64(), GP64(), GP64()
	MOVQ(Mem{Base: e.s, Disp: groups}, left)
	e.begin(x)

	Label("tile")
	MOVQ(x, tile)
	MOVQ(Mem{Base: e.s, Disp: tileGroups}, todo)
	CMPQ(todo, left)
	CMOVQGT(left, todo)
	SUBQ(todo, left)

	Label("group")
	TESTQ(todo, todo)
	JE(LabelRef("dense_done"))
	DECQ(todo)
	PREFETCHT0(Mem{Base: e.w, Disp: ahead})
	cellsOf(e.s, todo, left, cells)
	e.head(x, cells, out)
	for _, m := range []struct {
		mode int
		next string
	}{{cellsPlain, "look_up"}, {cellsLookUp, "bytes"}, {cellsBytes, "e4m3"}, {cellsE4M3, "choice"}, {cellsChoice, "tables"}} {
		CMPQ(Mem{Base: e.s, Disp: groupMode}, Imm(uint64(m.mode)))
		JNE(LabelRef(m.next))
		e.wideFloat(acc[:], x, cells, out, m.mode)
		JMP(LabelRef("group"))
		Label(m.next)
	}
	e.tabled(acc[:2*tokens], x, cells, out)
	JMP(LabelRef("group"))

	Label("dense_done")
	CMPQ(Mem{Base: e.s, Disp: strips}, Imm(0))
	JE(LabelRef("tile_done"))
	count := GP64()
	MOVL(Mem{Base: e.w}, count.As32())
	ADDQ(Imm(4), e.w)

	Label("strip")
	TESTQ(count, count)
	JE(LabelRef("tile_done"))
	DECQ(count)
	head, xs := GP64(), GP64()
	PREFETCHT0(Mem{Base: e.w, Disp: ahead})
	MOVWQZX(Mem{Base: e.w}, head)
	MOVQ(head, xs)
	ANDQ(I8(-16), xs)
	LEAQ(Mem{Base: tile, Index: xs, Scale: 2}, xs)
	VMOVDQU(Mem{Base: e.lanes, Disp: laneScale}, e.x)
	VCVTPH2PS(Mem{Base: e.w, Disp: 2}, e.p)
	VPERMPS(e.p, e.x, e.p)
	VMOVUPS(e.p, e.scales)
	CMPQ(Mem{Base: e.s, Disp: stripHead}, Imm(2+2*16))
	JNE(LabelRef("scaled"))
	VCVTPH2PS(Mem{Base: e.w, Disp: 2 + 16}, e.p)
	Label("scaled")
	VMOVUPS(e.p, e.scales.Offset(32))
	ADDQ(Mem{Base: e.s, Disp: stripHead}, e.w)
	CMPQ(Mem{Base: e.s, Disp: stripRows}, Imm(16))
	JNE(LabelRef("narrow"))
	MOVQ(Mem{Base: e.s, Disp: stripCells}, cells)
	e.wideFloat(acc[:], xs, cells, out, cellsPlain)
	JMP(LabelRef("strip"))

	Label("narrow")
	ANDQ(Imm(15), head)
	e.narrowFloat(acc[:], xs, head, out)
	JMP(LabelRef("strip"))

	Label("tile_done")
	TESTQ(left, left)
	JNE(LabelRef("tile"))
	VZEROUPPER()
	RET()
}

// wideFloat is wide for float activations; 4 accumulators per token are two
// chains of two halves.
func (e *engine2) wideFloat(acc []VecVirtual, x, cells, out Register, mode int) {
	e.labels++
	loop := fmt.Sprintf("wide%d", e.labels)
	done := loop + "_done"
	for i := range 4 * e.tokens {
		VPXOR(acc[i], acc[i], acc[i])
	}
	Label(loop)
	DECQ(cells)
	JL(LabelRef(done))
	codes := []VecVirtual{e.low, e.high}
	upper := YMM()
	for col := range 8 {
		for h, c := range codes {
			at := Mem{Base: e.w, Disp: 32 * h}
			if mode == cellsBytes || mode == cellsE4M3 {
				if at.Disp += 16 * col; col%4 == 0 {
					VMOVDQU(at, c)
				}
				e.byteCodes(c, mode, col%4)
				for t := range e.tokens {
					VBROADCASTSS(e.token(x, t, 4*col), e.x)
					VFMADD231PS(e.x, e.p, acc[4*t+2*(col%2)+h])
				}
				continue
			}
			if col == 0 {
				VMOVDQU(at, c)
				if mode == cellsPlain {
					VPXOR(Mem{Base: e.lanes, Disp: laneSigns}, c, c)
				}
			}
			if mode == cellsLookUp || mode == cellsChoice {
				bit := 8*(col%4) + col/4*4
				e.lookUp(c, bit, upper)
				if mode == cellsChoice {
					VPXOR(Mem{Base: e.lanes, Disp: laneSigns}, c, upper)
					VPSLLD(Imm(uint64(28-bit)), upper, upper)
					VPSRAD(Imm(28), upper, upper)
					VCVTDQ2PS(upper, upper)
					VMOVUPS(e.integers.Offset(32*h), e.x)
					VBLENDVPS(e.x, upper, e.p, e.p)
				}
				for t := range e.tokens {
					VBROADCASTSS(e.token(x, t, 4*col), e.x)
					VFMADD231PS(e.x, e.p, acc[4*t+2*(col%2)+h])
				}
				continue
			}
			from := c
			if up := 28 - (8*(col%4) + col/4*4); up > 0 {
				VPSLLD(Imm(uint64(up)), c, e.p)
				from = e.p
			}
			VPSRAD(Imm(28), from, e.p)
			VCVTDQ2PS(e.p, e.p)
			for t := range e.tokens {
				VBROADCASTSS(e.token(x, t, 4*col), e.x)
				VFMADD231PS(e.x, e.p, acc[4*t+2*(col%2)+h])
			}
		}
	}
	PREFETCHT0(Mem{Base: e.w, Disp: ahead})
	if mode == cellsBytes || mode == cellsE4M3 {
		ADDQ(U32(128), e.w)
	} else {
		ADDQ(Imm(64), e.w)
	}
	ADDQ(Imm(32), x)
	JMP(LabelRef(loop))
	Label(done)
	for t := range e.tokens {
		for h := range 2 {
			a := acc[4*t+h]
			VADDPS(acc[4*t+2+h], a, a)
			sum := Mem{Base: out, Disp: 64*t + 32*h}
			VMOVUPS(sum, e.p)
			VFMADD231PS(e.scales.Offset(32*h), a, e.p)
			VMOVUPS(e.p, sum)
		}
	}
}

// byteCodes sets p to what byte i of the lanes of c stands for; see floatBytes and floatE4M3.
func (e *engine2) byteCodes(c VecVirtual, mode, i int) {
	if mode == cellsBytes {
		VPXOR(e.lane(laneTops, 0), c, e.p)
		if i < 3 {
			VPSLLD(Imm(uint64(24-8*i)), e.p, e.p)
		}
		VPSRAD(Imm(24), e.p, e.p)
		VCVTDQ2PS(e.p, e.p)
		return
	}
	from := c
	if i < 3 {
		VPSLLD(Imm(uint64(24-8*i)), c, e.p)
		from = e.p
	}
	VPSRAVD(e.lane(laneE4M3Shift, 0), from, e.p)
	VPAND(e.lane(laneE4M3, 0), e.p, e.p)
	VMULPS(e.lane(laneE4M3Unit, 0), e.p, e.p)
}

// lookUp sets p to the levels of the codes at a bit of c.
func (e *engine2) lookUp(c VecVirtual, bit int, upper VecVirtual) {
	index := c
	if bit > 0 {
		VPSRLD(Imm(uint64(bit)), c, e.p)
		index = e.p
	}
	VPERMPS(e.lane(laneLevel, 0), index, e.x)
	VPERMPS(e.lane(laneLevel, 1), index, upper)
	VPSLLD(Imm(28), index, e.p)
	VBLENDVPS(e.p, upper, e.x, e.p)
}

// narrowFloat is narrow for float activations. 8 bytes of the strip become 8
// lanes, two dwords; four such pieces in turn add to four accumulators, because
// the dwords of 8 rows fill four.
func (e *engine2) narrowFloat(acc []VecVirtual, x Register, head GPVirtual, out Register) {
	for i := range 4 * e.tokens {
		VPXOR(acc[i], acc[i], acc[i])
	}
	chunk := func(name string, bytes, cells Register) {
		half := GP64()
		SHLQ(Imm(4), cells)
		LEAQ(Mem{Base: x, Index: cells, Scale: 1}, half)
		Label(name + "_four")
		for i := range 4 {
			Comment("Lanes beyond the strip meet no activation, which might not be finite.")
			VMOVD(bytes.(GPVirtual).As32(), e.p.AsX())
			VPBROADCASTD(e.p.AsX(), e.p)
			VPCMPGTD(Mem{Base: e.lanes, Disp: laneNumber + 32*i}, e.p, e.p)
			VPMOVZXBD(Mem{Base: e.w, Disp: 8 * i}, e.low)
			VPXOR(Mem{Base: e.lanes, Disp: laneSigns}, e.low, e.low)
			VPSLLD(Imm(24), e.low, e.high)
			VPSLLD(Imm(28), e.low, e.low)
			for j, v := range []VecVirtual{e.low, e.high} {
				VPSRAD(Imm(28), v, v)
				VCVTDQ2PS(v, v)
				for t := range e.tokens {
					VMOVDQU(Mem{Base: e.lanes, Disp: laneQuad}, e.x)
					VPERMPS(e.token([]Register{x, half}[j], t, 0), e.x, e.x)
					VPAND(e.p, e.x, e.x)
					VFMADD231PS(e.x, v, acc[4*t+i])
				}
			}
			step := Mem{Base: e.s, Disp: []int{step2First, step2Second, step2First, step2Fourth}[i]}
			ADDQ(step, x)
			ADDQ(step, half)
		}
		PREFETCHT0(Mem{Base: e.w, Disp: ahead})
		ADDQ(Imm(32), e.w)
		SUBQ(Imm(32), bytes)
		JG(LabelRef(name + "_four"))
		Comment("The last pieces, if there were none, went too far.")
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
	VMOVD(head.As32(), e.p.AsX())
	VPBROADCASTD(e.p.AsX(), e.p)
	for t := range e.tokens {
		a := acc[4*t : 4*t+4]
		Comment("Lane i of each half: the share of accumulator i.")
		VHADDPS(a[1], a[0], a[0])
		VHADDPS(a[3], a[2], a[2])
		VHADDPS(a[2], a[0], a[0])
		done := fmt.Sprintf("summed%d", t)
		for d, shuffle := range []uint64{0x4e, 0xb1} {
			CMPQ(Mem{Base: e.s, Disp: stripRows}, Imm(uint64(4>>d)))
			JG(LabelRef(done))
			VPERMILPS(Imm(shuffle), a[0], e.x)
			VADDPS(e.x, a[0], a[0])
		}
		CMPQ(Mem{Base: e.s, Disp: stripRows}, Imm(1))
		JG(LabelRef(done))
		VPERM2F128(Imm(1), a[0], a[0], e.x)
		VADDPS(e.x, a[0], a[0])
		Label(done)
		VMOVDQU(Mem{Base: e.lanes, Disp: laneSum2}, e.x)
		VPERMPS(a[0], e.x, a[0])
		VMULPS(e.scales, a[0], a[0])
		for h := range 2 {
			VPCMPEQD(Mem{Base: e.lanes, Disp: laneRow + 32*h}, e.p, e.x)
			VPAND(e.x, a[0], e.x)
			sum := Mem{Base: out, Disp: 64*t + 32*h}
			VADDPS(sum, e.x, e.x)
			VMOVUPS(e.x, sum)
		}
	}
}

// panelBF16AVX2 is panelBF16 with 16 rows in two registers.
func panelBF16AVX2(tokens int) {
	name := fmt.Sprintf("panelBF16x%dAVX2", tokens)
	TEXT(name, NOSPLIT, "func(w *byte, x *byte, ld int, s *int, lanes *int32, out *float32)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s multiplies one panel of 16-bit weights by %d tokens.", name, tokens))
	e := &engine2{tokens: tokens}
	e.w = Load(Param("w"), GP64())
	x := Load(Param("x"), GP64())
	e.ld = Load(Param("ld"), GP64())
	e.s = Load(Param("s"), GP64())
	e.mask, e.x, e.low, e.high = YMM(), YMM(), YMM(), YMM()
	VPCMPEQD(e.mask, e.mask, e.mask)
	VPSLLD(Imm(16), e.mask, e.mask)
	acc := make([]VecVirtual, 4*tokens)
	for i := range acc {
		acc[i] = YMM()
		VPXOR(acc[i], acc[i], acc[i])
	}
	cells := GP64()
	MOVQ(Mem{Base: e.s, Disp: groupCells}, cells)
	Label("cell")
	for i := range 4 {
		PREFETCHT0(Mem{Base: e.w, Disp: 64*i + ahead})
		for h := range 2 {
			VMOVDQU(Mem{Base: e.w, Disp: 64*i + 32*h}, e.high)
			VPSLLD(Imm(16), e.high, e.low)
			VPAND(e.mask, e.high, e.high)
			for j, v := range []VecVirtual{e.low, e.high} {
				for t := range tokens {
					VBROADCASTSS(e.token(x, t, 8*i+4*j), e.x)
					VFMADD231PS(e.x, v, acc[4*t+2*j+h])
				}
			}
		}
	}
	ADDQ(U32(256), e.w)
	ADDQ(Imm(32), x)
	DECQ(cells)
	JNE(LabelRef("cell"))
	out := Load(Param("out"), GP64())
	for t := range tokens {
		for h := range 2 {
			a := acc[4*t+h]
			VADDPS(acc[4*t+2+h], a, a)
			VMOVUPS(a, Mem{Base: out, Disp: 64*t + 32*h})
		}
	}
	VZEROUPPER()
	RET()
}
