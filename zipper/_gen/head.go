package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// How a group stores its scales: the heads of base.go.
const (
	headHalf = iota
	headUnit
	headAffine
	headBilevel
	headE8M0
	headE4M3
	headDouble
	headByteZeros
	headWhole
	headRows
	headOffset
	headChoice
	headShift
)

var headNames = [...]string{"half", "unit", "affine", "bilevel", "e8m0", "e4m3", "double", "bytes", "whole", "rows",
	"offset", "choice", "shift"}

// headKinds are the heads that a kernel meets: levels that are no integers come
// with float activations alone.
func headKinds(s scheme) []int {
	if s == a16 {
		return []int{headUnit, headAffine, headBilevel, headE8M0, headE4M3, headDouble, headByteZeros, headWhole, headRows,
			headOffset, headChoice, headShift}
	}
	return []int{headUnit, headAffine, headBilevel, headE8M0, headE4M3, headByteZeros, headWhole, headRows, headChoice, headShift}
}

// heads emits what reads the head of a group: f for each kind but headHalf, which
// half reads and all streams of integers have.
func heads(s, kind Register, scheme scheme, half func(), f func(kind int)) {
	Comment("Branches that a stream always takes the same way.")
	MOVQ(Mem{Base: s, Disp: headKind}, kind)
	TESTQ(kind, kind)
	JNE(LabelRef("head_other"))
	half()
	JMP(LabelRef("head_done"))
	Label("head_other")
	kinds := headKinds(scheme)
	for i, h := range kinds {
		next := "head_" + headNames[h] + "_no"
		if i < len(kinds)-1 {
			CMPQ(kind, Imm(uint64(h)))
			JNE(LabelRef(next))
		}
		f(h)
		if i < len(kinds)-1 {
			JMP(LabelRef("head_done"))
			Label(next)
		}
	}
	Label("head_done")
}

// lane addresses a part of laneTable.
func (e *engine) lane(part int) Mem { return Mem{Base: e.lanes, Disp: part} }

// head reads the head of the group of so many cells at x, and adds what its
// offsets contribute. It uses code, low
// and high.
func (e *engine) head(x, cells Register) {
	half := func() {
		VCVTPH2PS(Mem{Base: e.w}, e.scale)
		ADDQ(Imm(32), e.w)
	}
	heads(e.s, GP64(), e.scheme, half, func(kind int) {
		switch kind {
		case headUnit:
			half()
			VMULPS(e.lane(laneUnit), e.scale, e.scale)
		case headAffine:
			half()
			e.codes(0, 4, 28, e.high)
			ADDQ(Imm(8), e.w)
			e.offset(x, cells)
		case headByteZeros:
			half()
			VPMOVZXBD(Mem{Base: e.w}, e.high)
			e.constant(byteZero-8, e.low)
			VPSUBD(e.low, e.high, e.high)
			VCVTDQ2PS(e.high, e.high)
			ADDQ(Imm(16), e.w)
			e.offset(x, cells)
		case headWhole:
			VPMOVZXWD(Mem{Base: e.w}, e.scale)
			VCVTDQ2PS(e.scale, e.scale)
			VMULPS(e.lane(laneWhole), e.scale, e.scale)
			ADDQ(Imm(32), e.w)
		case headRows:
			VPMOVZXBD(Mem{Base: e.w}, e.scale)
			VCVTDQ2PS(e.scale, e.scale)
			VMULPS(e.units, e.scale, e.scale)
			e.codes(16, 4, 28, e.high)
			ADDQ(Imm(24), e.w)
			e.offset(x, cells)
		case headChoice:
			e.choice()
			ADDQ(Imm(16), e.w)
		case headShift:
			VMOVUPS(e.units, e.scale)
			e.codes(0, 4, 28, e.high)
			VSCALEFPS(e.high, e.scale, e.scale)
			ADDQ(Imm(8), e.w)
		case headOffset:
			half()
			VCVTPH2PS(Mem{Base: e.w}, e.low)
			e.constant(0xbe000000, e.high) // -1/8
			VMULPS(e.high, e.low, e.low)
			ADDQ(Imm(32), e.w)
			e.addOffset(x, cells)
		case headBilevel:
			e.bilevel()
			ADDQ(Imm(20), e.w)
			e.offset(x, cells)
		case headE8M0:
			VPMOVZXBD(Mem{Base: e.w}, e.scale)
			VPSLLD(Imm(23), e.scale, e.scale)
			Comment("2^-127 is a subnormal number.")
			e.constant(1<<22, e.high)
			VPMAXUD(e.high, e.scale, e.scale)
			VMULPS(e.lane(laneUnit), e.scale, e.scale)
			ADDQ(Imm(16), e.w)
		case headE4M3:
			VPMOVZXBW(Mem{Base: e.w}, e.scale.AsY())
			VPSLLW(Imm(7), e.scale.AsY(), e.scale.AsY())
			VCVTPH2PS(e.scale.AsY(), e.scale)
			VMULPS(e.lane(laneUnit), e.scale, e.scale)
			ADDQ(Imm(16), e.w)
		case headDouble:
			e.double()
			ADDQ(Imm(16), e.w)
		}
	})
}

// choice sets scale, K4 to the rows whose codes are integers, and K5 to their bytes.
func (e *engine) choice() {
	VPMOVZXBW(Mem{Base: e.w}, e.scale.AsY())
	VPSLLW(Imm(9), e.scale.AsY(), e.scale.AsY())
	VPSRLW(Imm(2), e.scale.AsY(), e.scale.AsY())
	VCVTPH2PS(e.scale.AsY(), e.scale)
	VMULPS(e.lane(laneUnit), e.scale, e.scale)
	VPMOVSXBD(Mem{Base: e.w}, e.high)
	VPMOVD2M(e.high, K4)
	VPMOVB2M(e.high, K5)
	e.constant(0x3f5b6db7, e.high) // 6/7
	VMULPS(e.high, e.scale, K4, e.scale)
}

// constant sets all lanes of to.
func (e *engine) constant(bits uint32, to VecVirtual) {
	r := GP32()
	MOVL(U32(bits), r)
	VPBROADCASTD(r, to)
}

// codes sets to to 16 codes as float32 numbers: of 32-shift bits, those of eight
// rows in a dword from w, and those of the other eight some bytes later.
func (e *engine) codes(at, later, shift int, to VecVirtual) {
	upper := GP32()
	MOVL(U32(0xff00), upper)
	KMOVW(upper, K2)
	VPBROADCASTD(Mem{Base: e.w, Disp: at}, to)
	VPBROADCASTD(Mem{Base: e.w, Disp: at + later}, K2, to)
	VPSLLVD(e.lane(laneShift), to, to)
	VPSRLD(Imm(uint64(shift)), to, to)
	VCVTDQ2PS(to, to)
}

// bilevel sets scale, and high to the zeros.
func (e *engine) bilevel() {
	VCVTPH2PS(Mem{Base: e.w}, e.code.AsX())
	VSHUFF32X4(Imm(0), e.code, e.code, e.code)
	e.codes(8, 3, 29, e.low)
	VPERMILPS(Imm(0), e.code, e.scale)
	VPERMILPS(Imm(0x55), e.code, e.high)
	VFMADD213PS(e.high, e.low, e.scale)
	e.codes(14, 3, 29, e.low)
	VPERMILPS(Imm(0xaa), e.code, e.high)
	VPERMILPS(Imm(0xff), e.code, e.code)
	VFMADD213PS(e.code, e.low, e.high)
}

// offset adds to the sums -8·Σx over the group times scale·(zero/8 - 1), the zeros
// of the rows being in high.
func (e *engine) offset(x, cells Register) {
	VMULPS(e.lane(laneEighth), e.high, e.high)
	VSUBPS(e.lane(laneOne), e.high, e.high)
	VMULPS(e.scale, e.high, e.low)
	e.addOffset(x, cells)
}

// addOffset adds to the sums -8·Σx over the group times low.
func (e *engine) addOffset(x, cells Register) {
	q := GP64()
	if e.scheme == a16 {
		MOVQ(e.group, q)
		for t := range e.tokens {
			VFMADD231PS_BCST(e.token(q, t, 0), e.low, e.sum[t])
		}
		ADDQ(Imm(4), e.group)
		return
	}
	MOVQ(Mem{Base: e.s, Disp: sums}, q)
	ADDQ(x, q)
	end := GP64()
	LEAQ(Mem{Base: q, Index: cells, Scale: 8}, end)
	add := func(first int) {
		for t := range e.tokens {
			VPBROADCASTD(e.token(q, t, 0), e.high)
			VPSUBD_BCST(e.token(end, t, 0), e.high, e.high)
			VCVTDQ2PS(e.high, e.high)
			VMULPS(e.low, e.high, e.high)
			if e.scheme == a4 {
				VMULPS_BCST(e.token(q, t, 4), e.high, e.high)
			}
			if e.out == nil {
				VADDPS(e.high, e.sum[t], e.sum[t])
				continue
			}
			sum := Mem{Base: e.out, Disp: 64 * (first + t)}
			VADDPS(sum, e.high, e.high)
			VMOVUPS(e.high, sum)
		}
	}
	add(0)
	if e.out != nil {
		LEAQ(Mem{Base: q, Index: e.ld[0], Scale: 8}, q)
		LEAQ(Mem{Base: end, Index: e.ld[0], Scale: 8}, end)
		add(e.tokens)
	}
}

// double sets scale from the bytes of quant.NF4DQ: mean + largest·level, with the
// largest magnitude of the block of 256 scales that the row's lies in.
func (e *engine) double() {
	e.scaleLevels()
	VMULPS(e.largest, e.scale, e.scale)
	VADDPS(e.lane(laneMean), e.scale, e.scale)
	Comment("Where the next scale of a row begins a block, the magnitudes are read anew.")
	VMOVDQU32(e.at, e.low)
	e.constant(1, e.high)
	VPADDD(e.high, e.low, e.low)
	VMOVDQU32(e.low, e.at)
	e.constant(255, e.high)
	VPTESTNMD(e.high, e.low, K2)
	KORTESTW(K2, K2)
	JE(LabelRef("same_blocks"))
	e.blocks()
	Label("same_blocks")
}

// scaleLevels sets scale to what the 16 bytes at w stand for. Levels are symmetric but
// for the last: half of them are looked up, 32 at a time, at |byte-127|-1, which takes
// half as long as a gather. It uses the accumulators.
func (e *engine) scaleLevels() {
	d, index, t := e.high, e.low, e.acc
	VPMOVZXBD(Mem{Base: e.w}, d)
	e.constant(127, index)
	VPSUBD(index, d, d)
	VPABSD(d, index)
	VPTERNLOGD(Imm(0xff), e.code, e.code, e.code)
	VPADDD(e.code, index, index)
	Comment("Bits 5 and 6 of the index say which of the four.")
	for i, k := range []Register{K2, K3} {
		VPSLLD(Imm(uint64(26-i)), index, e.code)
		VPMOVD2M(e.code, k)
	}
	for i := range 4 {
		at := laneScales + 4*(128+32*i)
		VMOVUPS(e.lane(at), t[i])
		VPERMT2PS(e.lane(at+64), index, t[i])
	}
	VBLENDMPS(t[1], t[0], K2, t[0])
	VBLENDMPS(t[3], t[2], K2, t[2])
	VBLENDMPS(t[2], t[0], K3, t[0])
	Comment("Zero where byte-127 is, or its sign.")
	VPTESTMD(d, d, K2)
	VPSRLD(Imm(31), d, d)
	VPSLLD(Imm(31), d, d)
	VPXORD_Z(d, t[0], K2, e.scale)
}

// byteZero is the zero of codes of a byte.
const byteZero = 128

// begin skips the prefix of the panel and keeps what heads need of it.
func (e *engine) begin(x Register) {
	e.units = AllocLocal(64)
	CMPQ(Mem{Base: e.s, Disp: headKind}, Imm(headShift))
	JE(LabelRef("units"))
	CMPQ(Mem{Base: e.s, Disp: headKind}, Imm(headRows))
	JNE(LabelRef("no_units"))
	Label("units")
	VCVTPH2PS(Mem{Base: e.w}, e.low)
	VMOVUPS(e.low, e.units)
	ADDQ(Mem{Base: e.s, Disp: prefix}, e.w)
	Label("no_units")
	if e.scheme != a16 {
		return
	}
	e.at, e.largest, e.start, e.group = AllocLocal(64), AllocLocal(64), AllocLocal(8), AllocLocal(8)
	q := GP64()
	MOVQ(Mem{Base: e.s, Disp: sums}, q)
	ADDQ(x, q)
	MOVQ(q, e.group)
	MOVQ(e.w, e.start)
	CMPQ(Mem{Base: e.s, Disp: headKind}, Imm(headOffset))
	JE(LabelRef("tabled_prefix"))
	CMPQ(Mem{Base: e.s, Disp: headKind}, Imm(headDouble))
	JNE(LabelRef("no_prefix"))
	VPBROADCASTD(Mem{Base: e.w}, e.low)
	VPADDD(e.lane(laneGroups), e.low, e.low)
	VMOVDQU32(e.low, e.at)
	e.blocks()
	Label("tabled_prefix")
	ADDQ(Mem{Base: e.s, Disp: prefix}, e.w)
	Label("no_prefix")
}

// blocks reads the largest magnitudes of the blocks of the scales in low.
func (e *engine) blocks() {
	q := GP64()
	MOVQ(e.start, q)
	VPSRLD(Imm(8), e.low, e.low)
	KXNORW(K2, K2, K2)
	VGATHERDPS(Mem{Base: q, Disp: 4, Index: e.low, Scale: 4}, K2, e.high)
	VMOVUPS(e.high, e.largest)
}
