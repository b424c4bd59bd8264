package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// engine2 holds the registers of a panel kernel for AVX2. A panel's 16 rows are
// two registers of 8 lanes, its halves.
type engine2 struct {
	scheme    scheme
	tokens    int
	w         Register // next byte of the stream
	s         Register // shape
	ld        Register
	lanes     Register // laneTable
	mask      VecVirtual
	ones      VecVirtual
	acc, sum  [][2]VecVirtual
	low, high VecVirtual
	x, p      VecVirtual
	scales    Mem // 16 float32
	labels    int
	riding    *riding2

	// What the head of a group is read to: 16 offsets, the second level of Bilevel;
	// and as in engine.
	offsets, second, units    Mem
	sixteens                  Mem // words, for codes of a byte
	integers                  Mem // of headChoice: rows whose codes are integers, by the sign of all bytes
	group, at, largest, start Mem
}

// panelAVX2 emits the kernel of panel for AVX2. VPMADDUBSW multiplies codes by
// activations and adds pairs to 16 bits: at most 2·15·127, twice that with both
// nibbles, so it never saturates. VPMADDWD with ones adds pairs again, to 32 bits.
func panelAVX2(scheme scheme, tokens int) {
	name := fmt.Sprintf("panel%sx%dAVX2", scheme, tokens)
	TEXT(name, NOSPLIT, "func(w *byte, x *byte, ld int, s *int, lanes *int32, out *float32)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s multiplies one panel of the stream by %d %s tokens.", name, tokens, scheme))
	e := &engine2{scheme: scheme, tokens: tokens, scales: AllocLocal(64)}
	e.w = Load(Param("w"), GP64())
	x := Load(Param("x"), GP64())
	e.ld = Load(Param("ld"), GP64())
	e.s = Load(Param("s"), GP64())
	e.lanes = Load(Param("lanes"), GP64())
	e.mask, e.ones = YMM(), YMM()
	e.low, e.high, e.x, e.p = YMM(), YMM(), YMM(), YMM()
	e.constant(0x0f0f0f0f, e.mask)
	e.constant(0x00010001, e.ones)
	e.sixteens = AllocLocal(32)
	VPSLLW(Imm(4), e.ones, e.p)
	VMOVDQU(e.p, e.sixteens)
	for range tokens {
		e.acc = append(e.acc, [2]VecVirtual{YMM(), YMM()})
		z := [2]VecVirtual{YMM(), YMM()}
		VPXOR(z[0], z[0], z[0])
		VPXOR(z[1], z[1], z[1])
		e.sum = append(e.sum, z)
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
	e.head(x, cells, nil)
	e.modes(x, cells)

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
	SHRQ(Imm(4), xs)
	LEAQ(Mem{Base: tile, Index: xs, Scale: 8}, xs)
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
	e.wide(xs, cells, cellsPlain)
	JMP(LabelRef("strip"))

	Label("narrow")
	e.narrow(xs, head)
	JMP(LabelRef("strip"))

	Label("tile_done")
	TESTQ(left, left)
	JNE(LabelRef("tile"))

	out := Load(Param("out"), GP64())
	for t, z := range e.sum {
		VMOVUPS(z[0], Mem{Base: out, Disp: 64 * t})
		VMOVUPS(z[1], Mem{Base: out, Disp: 64*t + 32})
	}
	VZEROUPPER()
	RET()
}

// modes emits wide for all ways to read cells, of which a stream has one.
func (e *engine2) modes(x, cells Register) {
	e.riding = &riding2{}
	mode := GP64()
	MOVQ(Mem{Base: e.s, Disp: groupMode}, mode)
	modes := []int{cellsPlain, cellsLookUp, cellsRiding, cellsWidened, cellsBytes, cellsChoice}
	for i, name := range []string{"look_up", "riding", "widened", "bytes", "choice", ""} {
		m := modes[i]
		if name != "" {
			CMPQ(mode, Imm(uint64(m)))
			JNE(LabelRef(name))
		}
		if m == cellsRiding || m == cellsWidened {
			for h := range 2 {
				VMOVUPS(e.lane(laneUnit, h), e.p)
				VMULPS(e.scales.Offset(32*h), e.p, e.p)
				VMOVUPS(e.p, e.scales.Offset(32*h))
			}
		}
		e.wide(x, cells, m)
		JMP(LabelRef("group"))
		if name != "" {
			Label(name)
		}
	}
}

// token addresses token t < 2 of the activations at base.
func (e *engine2) token(base Register, t, disp int) Mem {
	m := Mem{Base: base, Disp: disp}
	if t == 1 {
		m.Index, m.Scale = e.ld, 1
	}
	return m
}

// half sets low and high to what is multiplied of half h of the cell at w.
func (e *engine2) half(h, mode int) {
	switch mode {
	case cellsRiding:
		e.ride(e.riding, h)
		return
	case cellsWidened:
		VMOVDQU(Mem{Base: e.w, Disp: 32 * h}, e.low)
		VMOVDQU(Mem{Base: e.w, Disp: 64 + 32*h}, e.high)
		return
	}
	VMOVDQU(Mem{Base: e.w, Disp: 32 * h}, e.low)
	e.unpack()
	if mode == cellsLookUp {
		VMOVDQU(e.lane(laneDoubled, 0), e.x)
		VPSHUFB(e.low, e.x, e.low)
		VPSHUFB(e.high, e.x, e.high)
	}
	if mode == cellsChoice {
		for _, v := range []VecVirtual{e.low, e.high} {
			VPADDB(v, v, e.p)
			VMOVDQU(e.lane(laneDoubled, 0), e.x)
			VPSHUFB(v, e.x, v)
			VMOVDQU(e.integers.Offset(32*h), e.x)
			VPBLENDVB(e.x, e.p, v, v)
		}
	}
}

// unpack splits low into the two codes of every byte.
func (e *engine2) unpack() {
	VPSRLW(Imm(4), e.low, e.high)
	VPAND(e.mask, e.low, e.low)
	VPAND(e.mask, e.high, e.high)
}

// products adds to half h the products of low and high; the functions load the
// activations of a token.
func (e *engine2) products(h int, low, high func(t int)) {
	e.productsTimes(h, e.ones, low, high)
}

// productsTimes is products with a factor of 16 lanes.
func (e *engine2) productsTimes(h int, factor Op, low, high func(t int)) {
	for t := range e.tokens {
		low(t)
		VPMADDUBSW(e.x, e.low, e.p)
		high(t)
		VPMADDUBSW(e.x, e.high, e.x)
		VPADDW(e.x, e.p, e.p)
		VPMADDWD(factor, e.p, e.p)
		VPADDD(e.p, e.acc[t][h], e.acc[t][h])
	}
}

// byteProducts is products for codes of a byte, whose pairs would exceed 16 bits: their
// lower and their upper halves are multiplied apart.
func (e *engine2) byteProducts(h int, first, second func(t int)) {
	for part, factor := range []Op{e.ones, e.sixteens} {
		for i, v := range []VecVirtual{e.low, e.high} {
			VMOVDQU(Mem{Base: e.w, Disp: 64*i + 32*h}, v)
			if part == 1 {
				VPSRLW(Imm(4), v, v)
			}
			VPAND(e.mask, v, v)
		}
		e.productsTimes(h, factor, first, second)
	}
}

// wide adds to the sums the products of 16 rows by as many cells, which it
// counts down; x moves on.
func (e *engine2) wide(x, cells Register, mode int) {
	e.labels++
	loop, done := fmt.Sprintf("wide%d", e.labels), fmt.Sprintf("wide%d_done", e.labels)
	q := GP64()
	MOVQ(Mem{Base: e.s, Disp: sums}, q)
	ADDQ(x, q)
	for t := range e.tokens {
		VPBROADCASTD(e.token(q, t, 0), e.acc[t][0])
	}
	LEAQ(Mem{Base: q, Index: cells, Scale: 8}, q)
	for t := range e.tokens {
		VPBROADCASTD(e.token(q, t, 0), e.x)
		VPSUBD(e.x, e.acc[t][0], e.acc[t][0])
		switch mode {
		case cellsLookUp, cellsChoice:
			VPADDD(e.acc[t][0], e.acc[t][0], e.acc[t][0])
		case cellsRiding, cellsWidened:
			VPSLLD(Imm(2), e.acc[t][0], e.acc[t][0])
		case cellsBytes:
			VPSLLD(Imm(4), e.acc[t][0], e.acc[t][0])
		}
		VMOVDQA(e.acc[t][0], e.acc[t][1])
	}
	if mode == cellsRiding {
		e.riding.begin(e.w, cells)
	}
	Label(loop)
	DECQ(cells)
	JL(LabelRef(done))
	first := func(t int) { VPBROADCASTD(e.token(x, t, 0), e.x) }
	second := func(t int) { VPBROADCASTD(e.token(x, t, 4), e.x) }
	for h := range 2 {
		if mode == cellsBytes {
			e.byteProducts(h, first, second)
			continue
		}
		e.half(h, mode)
		e.products(h, first, second)
	}
	PREFETCHT0(Mem{Base: e.w, Disp: ahead})
	switch mode {
	case cellsWidened, cellsBytes:
		ADDQ(U32(128), e.w)
	case cellsRiding:
		ADDQ(Imm(2), e.riding.masks)
		fallthrough
	default:
		ADDQ(Imm(64), e.w)
	}
	ADDQ(Imm(8), x)
	JMP(LabelRef(loop))
	Label(done)
	if mode == cellsRiding {
		MOVQ(e.riding.words, e.w)
	}
	for t := range e.tokens {
		for h, a := range e.acc[t] {
			VCVTDQ2PS(a, a)
			VMULPS(e.scales.Offset(32*h), a, a)
			e.scaleToken(q, t, -4, a)
			VADDPS(a, e.sum[t][h], e.sum[t][h])
		}
	}
}

// scaleToken multiplies v by the scale of token t, disp bytes from the sum at q.
func (e *engine2) scaleToken(q Register, t, disp int, v VecVirtual) {
	if e.scheme == a4 {
		VBROADCASTSS(e.token(q, t, disp), e.x)
		VMULPS(e.x, v, v)
	}
}

// narrow adds to the sums the products of a strip of 1, 2, 4 or 8 rows.
func (e *engine2) narrow(x Register, head GPVirtual) {
	ANDQ(Imm(15), head)
	for t := range e.tokens {
		for _, a := range e.acc[t] {
			VPXOR(a, a, a)
		}
	}
	chunks, cells, half, second := GP64(), GP64(), GP64(), GP64()
	Comment("The second half of a chunk of one row meets 8 more dwords; otherwise all are within 8.")
	XORQ(second, second)
	CMPQ(Mem{Base: e.s, Disp: stripRows}, Imm(1))
	JNE(LabelRef("within"))
	MOVQ(U32(32), second)
	Label("within")
	index := YMM()
	chunk := func(load func(h int)) {
		LEAQ(Mem{Base: x, Index: cells, Scale: 4}, half)
		for h := range 2 {
			if h == 1 {
				ADDQ(second, x)
				ADDQ(second, half)
			}
			load(h)
			e.unpack()
			VMOVDQU(Mem{Base: e.lanes, Disp: laneDword + 32*h}, index)
			e.products(h,
				func(t int) { VPERMD(e.token(x, t, 0), index, e.x) },
				func(t int) { VPERMD(e.token(half, t, 0), index, e.x) })
		}
		SUBQ(second, x)
		LEAQ(Mem{Base: x, Index: cells, Scale: 8}, x)
	}
	MOVQ(Mem{Base: e.s, Disp: fullChunks}, chunks)
	MOVQ(Mem{Base: e.s, Disp: chunkCells}, cells)
	Label("chunk")
	DECQ(chunks)
	JL(LabelRef("chunks_done"))
	chunk(func(h int) { VMOVDQU(Mem{Base: e.w, Disp: 32 * h}, e.low) })
	ADDQ(Imm(64), e.w)
	JMP(LabelRef("chunk"))

	Label("chunks_done")
	MOVQ(Mem{Base: e.s, Disp: tailCells}, cells)
	TESTQ(cells, cells)
	JE(LabelRef("tail_done"))
	chunk(func(h int) {
		VMOVDQU(Mem{Base: e.lanes, Disp: laneTail + 32*h}, e.high)
		VPMASKMOVD(Mem{Base: e.w, Disp: 32 * h}, e.high, e.low)
	})
	ADDQ(Mem{Base: e.s, Disp: tailBytes}, e.w)

	Label("tail_done")
	Comment("Lane l holds a share of row l mod stripRows: turn the shares onto each other.")
	for t := range e.tokens {
		VPADDD(e.acc[t][1], e.acc[t][0], e.acc[t][0])
	}
	for _, d := range []uint64{4, 2, 1} {
		CMPQ(Mem{Base: e.s, Disp: stripRows}, Imm(d))
		JGT(LabelRef("reduced"))
		for t := range e.tokens {
			a := e.acc[t][0]
			switch d {
			case 4:
				VPERMQ(Imm(0x4e), a, e.x)
			case 2:
				VPSHUFD(Imm(0x4e), a, e.x)
			case 1:
				VPSHUFD(Imm(0xb1), a, e.x)
			}
			VPADDD(e.x, a, a)
		}
	}
	Label("reduced")
	VMOVD(head.As32(), e.p.AsX())
	VPBROADCASTD(e.p.AsX(), e.p)
	q := GP64()
	MOVQ(Mem{Base: e.s, Disp: sums}, q)
	ADDQ(x, q)
	for t := range e.tokens {
		VPBROADCASTD(e.token(q, t, 0), e.x)
		VPSUBD(e.x, e.acc[t][0], e.acc[t][0])
	}
	MOVQ(Mem{Base: e.s, Disp: stripCells}, cells)
	SHLQ(Imm(3), cells)
	SUBQ(cells, q)
	for t := range e.tokens {
		a := e.acc[t][0]
		VPBROADCASTD(e.token(q, t, 0), e.x)
		VPADDD(e.x, a, a)
		VCVTDQ2PS(a, a)
		VMULPS(e.scales, a, a)
		e.scaleToken(q, t, 4, a)
		for h := range 2 {
			VPCMPEQD(Mem{Base: e.lanes, Disp: laneRow + 32*h}, e.p, e.x)
			VPAND(e.x, a, e.x)
			VADDPS(e.x, e.sum[t][h], e.sum[t][h])
		}
	}
}
