package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Byte offsets of the fields of shape (shape.go), all of them ints.
const (
	groups     = 8 * iota // of the panel
	tileGroups            // of a tile
	groupCells            // of a group
	strips                // 1 if the tiles carry strips
	stripRows
	stripCells
	stripHead  // bytes before the codes of a strip
	fullChunks // of a strip of fewer than 16 rows
	chunkCells // of a full chunk
	tailCells  // of the last chunk, if it is not full
	tailBytes
	tailMask    // dwords of the last chunk
	rowMask     // stripRows ones
	sums        // from an activation to the sums of its token
	stepOdd     // float activations: bytes of x from the first 16 dwords of a pair to the second
	stepEven    // and from there to the next pair
	step2First  // the same for pieces of 8, four in turn: from the first and third
	step2Second // from the second
	step2Fourth // from the fourth
	lastCells   // of the last group
	headKind    // how groups store their scales
	headBytes
	prefix    // bytes before the first group
	groupMode // how cells of the base are read
	slots     // of a record
	recordBytes
	xGathered // from an activation to its segment as gather writes it
)

// Byte offsets of the parts of laneTable (shape.go).
const (
	laneDword = 64 * iota
	laneScale
	laneRow
	laneTail
	laneQuad
	laneSum
	laneSum2
	laneStrip
	laneSigns
	laneNumber // two registers
	_
	laneEighth
	laneLevel
	laneDoubled
	laneUnit
	laneShift
	laneGroups
	laneMean
	laneOne
	laneRideLow
	laneRideHigh
	laneBelow
	laneNibble
	laneAloneLow
	laneAloneHigh
	laneStepLow
	laneStepHigh
	laneWhole
	laneTops
	laneE4M3
	laneE4M3Unit
	laneE4M3Shift
	laneScales // 16 registers
)

// scheme is the format of the activations.
type scheme string

const (
	a8  scheme = "A8"  // int8, one scale per token
	a4  scheme = "A4"  // int4 in int8 units, a scale beside each of the sums
	a16 scheme = "A16" // float32
)

// ahead is how far before its use a cache line of the stream is asked for:
// hardware prefetchers stop at the end of a 4 KiB page and start anew. One core
// of the machine this was tried on reads 15 bytes in a nanosecond, so these are
// some 500 ns; half of it made GEMV 10 % slower, twice as much changed nothing.
const ahead = 8192

// engine holds the registers of one panel kernel.
type engine struct {
	scheme  scheme
	tokens  int
	chains  int        // accumulators per token: the latency of VPDPBUSD is four cycles
	w       Register   // next byte of the stream
	s       Register   // shape
	lanes   Register   // laneTable
	ld      []Register // ld, 3·ld, 5·ld, 7·ld
	mask    VecVirtual // 0x0f bytes; with float activations the values of the 16 codes
	table   VecVirtual // laneDoubled; nil with float activations
	acc     []VecVirtual
	sum     []VecVirtual // float32 sums, row of the panel = lane
	scale   VecVirtual
	code    VecVirtual
	low     VecVirtual
	high    VecVirtual
	labels  int
	riding  *riding
	records *records
	out     Register // where sums are, if not in registers

	// Of float activations: -8 times the sum of the next group's; of headDouble the
	// numbers of the next scales, the magnitudes that they are relative to, and where
	// the panel began.
	group, at, largest, start Mem
	// Of headRows the units of 16 rows.
	units Mem
}

// panel emits the kernel that multiplies a panel of 16 rows of W by some tokens.
// W's rows lie in the 16 lanes of a register. Codes 0..15 are the unsigned
// operand of VPDPBUSD and activations the signed one, so that unpacking is one
// AND or one shift and AND for 64 products; the 8 that every code is too large
// by is taken back through the sums of activations, once in a group.
func panel(scheme scheme, tokens int) {
	name := fmt.Sprintf("panel%sx%dAVX512", scheme, tokens)
	TEXT(name, NOSPLIT, "func(w *byte, x *byte, ld int, s *int, lanes *int32, out *float32)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s multiplies one panel of the stream by %d %s tokens.", name, tokens, scheme))
	e := &engine{scheme: scheme, tokens: tokens, chains: 2}
	switch {
	case scheme == a16 && tokens <= 4:
		e.chains = 4
	case scheme != a16 && tokens > 4:
		e.chains = 1
	}
	e.w = Load(Param("w"), GP64())
	x := Load(Param("x"), GP64())
	ld := Load(Param("ld"), GP64())
	e.s = Load(Param("s"), GP64())
	e.lanes = Load(Param("lanes"), GP64())
	e.multiples(ld)
	e.mask, e.scale, e.code, e.low, e.high = ZMM(), ZMM(), ZMM(), ZMM(), ZMM()
	if scheme != a16 {
		e.constant(0x0f0f0f0f, e.mask)
		e.table = ZMM()
		VMOVDQU64(e.lane(laneDoubled), e.table)
		e.riding = e.rider()
	}
	for range tokens * e.chains {
		e.acc = append(e.acc, ZMM())
	}
	for range tokens {
		z := ZMM()
		VPXORD(z, z, z)
		e.sum = append(e.sum, z)
	}

	// Registers are short with 8 tokens; these are needed rarely.
	left, tile, count := AllocLocal(8), AllocLocal(8), AllocLocal(8)
	todo, cells := GP64(), GP64()
	MOVQ(Mem{Base: e.s, Disp: groups}, todo)
	MOVQ(todo, left)
	e.begin(x)
	e.records = recordKeeper()

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
	e.head(x, cells)
	if scheme == a16 {
		VMOVUPS(e.lane(laneLevel), e.mask)
		CMPQ(Mem{Base: e.s, Disp: groupMode}, Imm(cellsExact))
		JE(LabelRef("records"))
		CMPQ(Mem{Base: e.s, Disp: groupMode}, Imm(cellsBytes))
		JE(LabelRef("bytes"))
		CMPQ(Mem{Base: e.s, Disp: groupMode}, Imm(cellsE4M3))
		JE(LabelRef("e4m3"))
		CMPQ(Mem{Base: e.s, Disp: groupMode}, Imm(cellsTables))
		JE(LabelRef("tables"))
		CMPQ(Mem{Base: e.s, Disp: groupMode}, Imm(cellsChoice))
		JE(LabelRef("choice"))
		e.wide(x, cells, cellsPlain)
		JMP(LabelRef("group"))
		Label("e4m3")
		e.labels++
		e.wideFloat(x, cells, e.floatE4M3)
		JMP(LabelRef("group"))
		Label("choice")
		e.labels++
		e.wideFloat(x, cells, e.floatChoice)
		JMP(LabelRef("group"))
		Label("tables")
		e.tabled(x, cells)
		JMP(LabelRef("group"))
		Label("records")
		e.exactFloat(x, cells)
		JMP(LabelRef("group"))
		Label("bytes")
		e.labels++
		e.wideFloat(x, cells, e.floatBytes)
		JMP(LabelRef("group"))
	} else {
		e.modes(x, cells)
	}

	Label("dense_done")
	CMPQ(Mem{Base: e.s, Disp: strips}, Imm(0))
	JE(LabelRef("tile_done"))
	strips := GP64()
	MOVL(Mem{Base: e.w}, strips.As32())
	MOVQ(strips, count)
	ADDQ(Imm(4), e.w)

	Label("strip")
	DECQ(count)
	JL(LabelRef("tile_done"))
	head, xs := GP64(), GP64()
	PREFETCHT0(Mem{Base: e.w, Disp: ahead})
	MOVWQZX(Mem{Base: e.w}, head)
	MOVQ(head, xs)
	ANDQ(I8(-16), xs)
	if scheme == a16 { // a cell is 32 bytes of x, otherwise 8
		ADDQ(xs, xs)
	} else {
		SHRQ(Imm(1), xs)
	}
	ADDQ(tile, xs)
	VCVTPH2PS(Mem{Base: e.w, Disp: 2}, e.scale)
	VMOVDQU32(Mem{Base: e.lanes, Disp: laneScale}, e.code)
	VPERMPS(e.scale, e.code, e.scale)
	if scheme == a16 {
		VMOVUPS(e.lane(laneStrip), e.mask)
	}
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
	CMPQ(left, Imm(0))
	JNE(LabelRef("tile"))

	out := Load(Param("out"), GP64())
	for t, z := range e.sum {
		VMOVUPS(z, Mem{Base: out, Disp: 64 * t})
	}
	VZEROUPPER()
	RET()
}

// cellsOf sets cells to those of a group after which todo are left in its tile
// and left beyond: the last one of the panel may be shorter.
func cellsOf(s, todo Register, left Op, cells Register) {
	MOVQ(left, cells)
	ADDQ(todo, cells)
	MOVQ(Mem{Base: s, Disp: groupCells}, cells)
	CMOVQEQ(Mem{Base: s, Disp: lastCells}, cells)
}

// multiples prepares the registers of token.
func (e *engine) multiples(ld Register) {
	e.ld = []Register{ld}
	for i := 3; i < e.tokens; i += 2 {
		m := GP64()
		if i == 7 {
			LEAQ(Mem{Base: e.ld[1], Index: ld, Scale: 4}, m)
		} else {
			LEAQ(Mem{Base: ld, Index: ld, Scale: uint8(i - 1)}, m)
		}
		e.ld = append(e.ld, m)
	}
}

// token addresses the activations of token t whose first token is at base.
func (e *engine) token(base Register, t, disp int) Mem {
	m := Mem{Base: base, Disp: disp}
	switch t {
	case 0:
	case 1, 2, 4:
		m.Index, m.Scale = e.ld[0], uint8(t)
	case 6:
		m.Index, m.Scale = e.ld[1], 2
	default: // 3, 5, 7
		m.Index, m.Scale = e.ld[t/2], 1
	}
	return m
}

// unpack splits e.code into the two codes of every byte.
func (e *engine) unpack() {
	VPSRLW(Imm(4), e.code, e.high)
	VPANDD(e.mask, e.code, e.low)
	VPANDD(e.mask, e.high, e.high)
}

// wide adds to the sums the products of 16 rows by as many cells, which it
// counts down; x moves on.
func (e *engine) wide(x, cells Register, mode int) {
	e.labels++
	if e.scheme == a16 {
		e.wideFloat(x, cells, e.floatCell)
		return
	}
	label := func(s string) string { return fmt.Sprintf("wide%d_%s", e.labels, s) }
	q := GP64()
	MOVQ(Mem{Base: e.s, Disp: sums}, q)
	ADDQ(x, q)
	for t := range e.tokens {
		VPBROADCASTD(e.token(q, t, 0), e.acc[t])
	}
	LEAQ(Mem{Base: q, Index: cells, Scale: 8}, q)
	for t := range e.tokens {
		VPSUBD_BCST(e.token(q, t, 0), e.acc[t], e.acc[t])
	}
	for _, z := range e.acc[:e.tokens] {
		switch mode {
		case cellsLookUp, cellsExact, cellsChoice:
			VPADDD(z, z, z)
		case cellsRiding, cellsWidened:
			VPSLLD(Imm(2), z, z)
		case cellsBytes:
			VPSLLD(Imm(4), z, z)
		}
	}
	for _, z := range e.acc[e.tokens:] {
		VPXORD(z, z, z)
	}
	if mode == cellsRiding {
		e.riding.begin(e.w, cells)
	}
	if mode == cellsExact {
		e.parts("exact", x, cells, 8, func(n Register) { e.exactCells("exact", x, n) }, func() {
			e.gatherProducts("exact", e.tokens, func() func(t, disp int) Mem {
				q := GP64()
				MOVQ(e.records.segment, q)
				return func(t, disp int) Mem { return e.token(q, t, disp) }
			})
		})
	} else {
		e.wideCells(label, x, cells, mode)
	}
	if mode == cellsRiding {
		MOVQ(e.riding.words, e.w)
	}
	e.sumsAt(x, q)
	for t := range e.tokens {
		a := e.acc[t]
		if e.chains == 2 {
			VPADDD(e.acc[e.tokens+t], a, a)
		}
		// Not fused, so that every kernel gives the same bits.
		VCVTDQ2PS(a, a)
		VMULPS(e.scale, a, a)
		if e.scheme == a4 {
			VMULPS_BCST(e.token(q, t, -4), a, a)
		}
		VADDPS(a, e.sum[t], e.sum[t])
	}
}

// wideCells multiplies cells, which it counts down, four and one at a time.
func (e *engine) wideCells(label func(string) string, x, cells Register, mode int) {
	for _, unroll := range []int{4, 1} {
		loop, done := label(fmt.Sprint(unroll)), label(fmt.Sprintf("%d_done", unroll))
		Label(loop)
		SUBQ(Imm(uint64(unroll)), cells)
		JL(LabelRef(done))
		for i := range unroll {
			e.cell(i, mode)
			for t := range e.tokens {
				VPDPBUSD_BCST(e.token(x, t, 8*i), e.low, e.acc[t])
			}
			for t := range e.tokens {
				VPDPBUSD_BCST(e.token(x, t, 8*i+4), e.high, e.acc[len(e.acc)-e.tokens+t])
			}
		}
		switch mode {
		case cellsWidened, cellsBytes:
			ADDQ(U32(128*unroll), e.w)
		case cellsRiding:
			ADDQ(Imm(uint64(2*unroll)), e.riding.masks)
			fallthrough
		default:
			ADDQ(U32(64*unroll), e.w)
		}
		ADDQ(U32(8*unroll), x)
		JMP(LabelRef(loop))
		Label(done)
		ADDQ(Imm(uint64(unroll)), cells)
	}
}

// cell sets low and high to what is multiplied of cell i from w on.
func (e *engine) cell(i, mode int) {
	switch mode {
	case cellsRiding:
		e.ride(e.riding, i)
		return
	case cellsWidened:
		PREFETCHT0(Mem{Base: e.w, Disp: 128*i + 1024}) // from the L2 cache
		PREFETCHT0(Mem{Base: e.w, Disp: 128*i + 1024 + 64})
		VMOVDQU64(Mem{Base: e.w, Disp: 128 * i}, e.low)
		VMOVDQU64(Mem{Base: e.w, Disp: 128*i + 64}, e.high)
		return
	case cellsBytes:
		PREFETCHT0(Mem{Base: e.w, Disp: 128*i + ahead})
		PREFETCHT0(Mem{Base: e.w, Disp: 128*i + ahead + 64})
		VMOVDQU64(Mem{Base: e.w, Disp: 128 * i}, e.low)
		VMOVDQU64(Mem{Base: e.w, Disp: 128*i + 64}, e.high)
		return
	}
	VMOVDQU64(Mem{Base: e.w, Disp: 64 * i}, e.code)
	PREFETCHT0(Mem{Base: e.w, Disp: 64*i + ahead})
	e.unpack()
	switch mode {
	case cellsLookUp:
		VPSHUFB(e.low, e.table, e.low)
		VPSHUFB(e.high, e.table, e.high)
	case cellsChoice:
		VPADDB(e.low, e.low, e.code)
		VPSHUFB(e.low, e.table, e.low)
		VMOVDQU8(e.code, K5, e.low)
		VPADDB(e.high, e.high, e.code)
		VPSHUFB(e.high, e.table, e.high)
		VMOVDQU8(e.code, K5, e.high)
	}
}

// modes emits wide for all ways to read cells, of which a stream has one.
func (e *engine) modes(x, cells Register) {
	mode := GP64()
	MOVQ(Mem{Base: e.s, Disp: groupMode}, mode)
	modes := []int{cellsPlain, cellsLookUp, cellsRiding, cellsWidened, cellsExact, cellsBytes, cellsChoice}
	for i, name := range []string{"look_up", "riding", "widened", "exact", "bytes", "choice", ""} {
		m := modes[i]
		if name != "" {
			CMPQ(mode, Imm(uint64(m)))
			JNE(LabelRef(name))
		}
		if m >= cellsRiding && m <= cellsExact {
			VMULPS(e.lane(laneUnit), e.scale, e.scale)
		}
		e.wide(x, cells, m)
		JMP(LabelRef("group"))
		if name != "" {
			Label(name)
		}
	}
}

// sumsAt lets q point to the sum at x, 4 bytes after the scale of the cell
// before it, if tokens have scales of their own.
func (e *engine) sumsAt(x, q Register) {
	if e.scheme == a4 {
		MOVQ(Mem{Base: e.s, Disp: sums}, q)
		ADDQ(x, q)
	}
}

// narrow adds to the sums the products of a strip of 1, 2, 4 or 8 rows.
func (e *engine) narrow(x, head Register) {
	row, rows := GP64(), GP64()
	MOVQ(head, row)
	ANDQ(Imm(15), row)
	MOVQ(Mem{Base: e.s, Disp: rowMask}, rows)
	SHLXQ(row, rows, rows)
	KMOVW(rows.As32(), K1)
	if e.scheme == a16 {
		e.narrowFloat(x)
		return
	}
	xIndex := ZMM()
	VMOVDQU32(Mem{Base: e.lanes, Disp: laneDword}, xIndex)
	chunks, cells, half := GP64(), GP64(), GP64()
	Comment("The lanes of the first columns start from what the codes are too large by.")
	KMOVW(Mem{Base: e.s, Disp: rowMask}, K3)
	q := GP64()
	MOVQ(Mem{Base: e.s, Disp: sums}, q)
	ADDQ(x, q)
	for t := range e.tokens {
		VPBROADCASTD_Z(e.token(q, t, 0), K3, e.acc[t])
	}
	MOVQ(Mem{Base: e.s, Disp: stripCells}, cells)
	LEAQ(Mem{Base: q, Index: cells, Scale: 8}, q)
	for t := range e.tokens {
		VPSUBD_BCST(e.token(q, t, 0), e.acc[t], K3, e.acc[t])
	}
	for _, z := range e.acc[e.tokens:] {
		VPXORD(z, z, z)
	}
	t0, t1 := ZMM(), ZMM()
	products := func() {
		LEAQ(Mem{Base: x, Index: cells, Scale: 4}, half)
		e.unpack()
		for t := range e.tokens {
			VPERMD(e.token(x, t, 0), xIndex, t0)
			VPDPBUSD(t0, e.low, e.acc[t])
			VPERMD(e.token(half, t, 0), xIndex, t1)
			VPDPBUSD(t1, e.high, e.acc[len(e.acc)-e.tokens+t])
		}
		LEAQ(Mem{Base: x, Index: cells, Scale: 8}, x)
	}
	MOVQ(Mem{Base: e.s, Disp: fullChunks}, chunks)
	MOVQ(Mem{Base: e.s, Disp: chunkCells}, cells)
	Label("chunk")
	DECQ(chunks)
	JL(LabelRef("chunks_done"))
	VMOVDQU64(Mem{Base: e.w}, e.code)
	PREFETCHT0(Mem{Base: e.w, Disp: ahead})
	products()
	ADDQ(Imm(64), e.w)
	JMP(LabelRef("chunk"))

	Label("chunks_done")
	MOVQ(Mem{Base: e.s, Disp: tailCells}, cells)
	TESTQ(cells, cells)
	JE(LabelRef("tail_done"))
	tail := GP64()
	MOVQ(Mem{Base: e.s, Disp: tailMask}, tail)
	KMOVW(tail.As32(), K2)
	VMOVDQU32_Z(Mem{Base: e.w}, K2, e.code)
	PREFETCHT0(Mem{Base: e.w, Disp: ahead})
	products()
	ADDQ(Mem{Base: e.s, Disp: tailBytes}, e.w)

	Label("tail_done")
	e.sumsAt(x, q)
	if e.chains == 2 {
		for t := range e.tokens {
			VPADDD(e.acc[e.tokens+t], e.acc[t], e.acc[t])
		}
	}
	if e.tokens%4 == 0 {
		CMPQ(Mem{Base: e.s, Disp: stripRows}, Imm(4))
		JGT(LabelRef("apart"))
		for t := 0; t < e.tokens; t += 4 {
			e.reduce4(q, t, t0, t1)
		}
		JMP(LabelRef("narrow_done"))
		Label("apart")
	}
	Comment("Lane l holds a share of row l mod stripRows: turn the shares onto each other.")
	for d := uint64(8); d >= 1; d /= 2 {
		if d < 8 {
			CMPQ(Mem{Base: e.s, Disp: stripRows}, Imm(d))
			JGT(LabelRef("reduced"))
		}
		for t := range e.tokens {
			u := []VecVirtual{t0, t1}[t%2]
			VALIGND(Imm(d), e.acc[t], e.acc[t], u)
			VPADDD(u, e.acc[t], e.acc[t])
		}
	}
	Label("reduced")
	for t := range e.tokens {
		a := e.acc[t]
		VCVTDQ2PS(a, a)
		VMULPS(e.scale, a, a)
		if e.scheme == a4 {
			VMULPS_BCST(e.token(q, t, -4), a, a)
		}
		VADDPS(a, e.sum[t], K1, e.sum[t])
	}
	Label("narrow_done")
}

// reduce4 sums the shares of strips of 1, 2 or 4 rows for four tokens from t on,
// halving lanes and registers together: 13 instructions where one token after
// another would take 32.
func (e *engine) reduce4(q Register, t int, t0, t1 VecVirtual) {
	a := e.acc[t : t+4]
	half := func(low, high uint64, x, y, to VecVirtual) {
		VSHUFI64X2(Imm(low), y, x, t0)
		VSHUFI64X2(Imm(high), y, x, t1)
		VPADDD(t0, t1, to)
	}
	half(0x44, 0xee, a[0], a[1], a[0])
	half(0x44, 0xee, a[2], a[3], a[2])
	half(0x88, 0xdd, a[0], a[2], a[0])
	Comment("Each token has a quarter of the register now.")
	done := fmt.Sprintf("quarter%d", t)
	for d, shuffle := range []uint64{0x4e, 0xb1} {
		CMPQ(Mem{Base: e.s, Disp: stripRows}, Imm(uint64(2-d)))
		JGT(LabelRef(done))
		VPSHUFD(Imm(shuffle), a[0], t0)
		VPADDD(t0, a[0], a[0])
	}
	Label(done)
	VCVTDQ2PS(a[0], a[0])
	VMULPS(e.scale, a[0], a[0])
	for i := range uint64(4) {
		u := []VecVirtual{t0, t1}[i%2]
		VSHUFF32X4(Imm(i*0x55), a[0], a[0], u)
		if e.scheme == a4 {
			VMULPS_BCST(e.token(q, t+int(i), -4), u, u)
		}
		VADDPS(u, e.sum[t+int(i)], K1, e.sum[t+int(i)])
	}
}
