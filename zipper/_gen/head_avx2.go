package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// lane addresses half h of a part of laneTable.
func (e *engine2) lane(part, h int) Mem { return Mem{Base: e.lanes, Disp: part + 32*h} }

// constant sets all lanes of to.
func (e *engine2) constant(v uint32, to VecVirtual) {
	r := GP32()
	MOVL(U32(v), r)
	VMOVD(r, to.AsX())
	VPBROADCASTD(to.AsX(), to)
}

// head reads the head of the group of so many cells at x, and adds what its
// offsets contribute, with integers to the sums and otherwise to out. It uses p, x,
// low and high.
func (e *engine2) head(x, cells, out Register) {
	half := func(scale bool) {
		for h := range 2 {
			VCVTPH2PS(Mem{Base: e.w, Disp: 16 * h}, e.p)
			if scale {
				VMULPS(e.lane(laneUnit, h), e.p, e.p)
			}
			VMOVUPS(e.p, e.scales.Offset(32*h))
		}
		ADDQ(Imm(32), e.w)
	}
	heads(e.s, GP64(), e.scheme, func() { half(false) }, func(kind int) {
		switch kind {
		case headUnit:
			half(true)
		case headAffine:
			half(false)
			for h := range 2 {
				e.codes(4*h, 28)
				e.keepOffset(h, e.low)
			}
			ADDQ(Imm(8), e.w)
			e.offset(x, cells, out)
		case headByteZeros:
			half(false)
			for h := range 2 {
				VPMOVZXBD(Mem{Base: e.w, Disp: 8 * h}, e.low)
				e.constant(byteZero-8, e.high)
				VPSUBD(e.high, e.low, e.low)
				VCVTDQ2PS(e.low, e.low)
				e.keepOffset(h, e.low)
			}
			ADDQ(Imm(16), e.w)
			e.offset(x, cells, out)
		case headWhole:
			for h := range 2 {
				VPMOVZXWD(Mem{Base: e.w, Disp: 16 * h}, e.p)
				VCVTDQ2PS(e.p, e.p)
				VMULPS(e.lane(laneWhole, h), e.p, e.p)
				VMOVUPS(e.p, e.scales.Offset(32*h))
			}
			ADDQ(Imm(32), e.w)
		case headRows:
			for h := range 2 {
				VPMOVZXBD(Mem{Base: e.w, Disp: 8 * h}, e.p)
				VCVTDQ2PS(e.p, e.p)
				VMULPS(e.units.Offset(32*h), e.p, e.p)
				VMOVUPS(e.p, e.scales.Offset(32*h))
				e.codes(16+4*h, 28)
				e.keepOffset(h, e.low)
			}
			ADDQ(Imm(24), e.w)
			e.offset(x, cells, out)
		case headChoice:
			for h := range 2 {
				VPMOVSXBD(Mem{Base: e.w, Disp: 8 * h}, e.x)
				VMOVDQU(e.x, e.integers.Offset(32*h))
				VPMOVZXBW(Mem{Base: e.w, Disp: 8 * h}, e.p.AsX())
				VPSLLW(Imm(9), e.p.AsX(), e.p.AsX())
				VPSRLW(Imm(2), e.p.AsX(), e.p.AsX())
				VCVTPH2PS(e.p.AsX(), e.p)
				VMULPS(e.lane(laneUnit, h), e.p, e.p)
				e.constant(0x3f5b6db7, e.low) // 6/7
				VMULPS(e.low, e.p, e.low)
				VBLENDVPS(e.x, e.low, e.p, e.p)
				VMOVUPS(e.p, e.scales.Offset(32*h))
			}
			ADDQ(Imm(16), e.w)
		case headShift:
			e.constant(0x3f800000, e.x)
			for h := range 2 {
				VPBROADCASTD(Mem{Base: e.w, Disp: 4 * h}, e.p)
				VPSLLVD(e.lane(laneShift, 0), e.p, e.p)
				VPSRLD(Imm(28), e.p, e.p)
				VPSLLD(Imm(23), e.p, e.p)
				VPADDD(e.x, e.p, e.p)
				VMULPS(e.units.Offset(32*h), e.p, e.p)
				VMOVUPS(e.p, e.scales.Offset(32*h))
			}
			ADDQ(Imm(8), e.w)
		case headOffset:
			half(false)
			e.constant(0xbe000000, e.x) // -1/8
			for h := range 2 {
				VCVTPH2PS(Mem{Base: e.w, Disp: 16 * h}, e.p)
				VMULPS(e.x, e.p, e.p)
				VMOVUPS(e.p, e.offsets.Offset(32*h))
			}
			ADDQ(Imm(32), e.w)
			e.offset(x, cells, out)
		case headBilevel:
			e.bilevel()
			ADDQ(Imm(20), e.w)
			e.offset(x, cells, out)
		case headE8M0:
			Comment("2^-127 is a subnormal number.")
			e.constant(1<<22, e.x)
			for h := range 2 {
				VPMOVZXBD(Mem{Base: e.w, Disp: 8 * h}, e.p)
				VPSLLD(Imm(23), e.p, e.p)
				VPMAXUD(e.x, e.p, e.p)
				VMULPS(e.lane(laneUnit, h), e.p, e.p)
				VMOVUPS(e.p, e.scales.Offset(32*h))
			}
			ADDQ(Imm(16), e.w)
		case headE4M3:
			for h := range 2 {
				VPMOVZXBW(Mem{Base: e.w, Disp: 8 * h}, e.p.AsX())
				VPSLLW(Imm(7), e.p.AsX(), e.p.AsX())
				VCVTPH2PS(e.p.AsX(), e.p)
				VMULPS(e.lane(laneUnit, h), e.p, e.p)
				VMOVUPS(e.p, e.scales.Offset(32*h))
			}
			ADDQ(Imm(16), e.w)
		case headDouble:
			e.double()
			ADDQ(Imm(16), e.w)
		}
	})
}

// codes sets low to 8 codes of 32-shift bits as float32 numbers.
func (e *engine2) codes(at, shift int) {
	VPBROADCASTD(Mem{Base: e.w, Disp: at}, e.low)
	VPSLLVD(e.lane(laneShift, 0), e.low, e.low)
	VPSRLD(Imm(uint64(shift)), e.low, e.low)
	VCVTDQ2PS(e.low, e.low)
}

// keepOffset stores scale·(zero/8 - 1) for half h.
func (e *engine2) keepOffset(h int, zero VecVirtual) {
	VMULPS(e.lane(laneEighth, h), zero, zero)
	VSUBPS(e.lane(laneOne, h), zero, zero)
	VMULPS(e.scales.Offset(32*h), zero, zero)
	VMOVUPS(zero, e.offsets.Offset(32*h))
}

func (e *engine2) bilevel() {
	VCVTPH2PS(Mem{Base: e.w}, e.p.AsX())
	VMOVUPS(e.p.AsX(), e.second)
	for h := range 2 {
		for i, at := range []int{8, 14} {
			e.codes(at+3*h, 29)
			VBROADCASTSS(e.second.Offset(8*i), e.x)
			VBROADCASTSS(e.second.Offset(8*i+4), e.p)
			VFMADD213PS(e.p, e.low, e.x)
			if i == 0 {
				VMOVUPS(e.x, e.scales.Offset(32*h))
			}
		}
		e.keepOffset(h, e.x)
	}
}

// offset adds -8·Σx over the group times the offsets.
func (e *engine2) offset(x, cells, out Register) {
	q := GP64()
	if e.scheme == a16 {
		MOVQ(e.group, q)
		for t := range e.tokens {
			VBROADCASTSS(e.token(q, t, 0), e.x)
			for h := range 2 {
				sum := Mem{Base: out, Disp: 64*t + 32*h}
				VMOVUPS(sum, e.p)
				VFMADD231PS(e.offsets.Offset(32*h), e.x, e.p)
				VMOVUPS(e.p, sum)
			}
		}
		ADDQ(Imm(4), e.group)
		return
	}
	MOVQ(Mem{Base: e.s, Disp: sums}, q)
	ADDQ(x, q)
	end := GP64()
	LEAQ(Mem{Base: q, Index: cells, Scale: 8}, end)
	for t := range e.tokens {
		VPBROADCASTD(e.token(q, t, 0), e.low)
		VPBROADCASTD(e.token(end, t, 0), e.high)
		VPSUBD(e.high, e.low, e.low)
		VCVTDQ2PS(e.low, e.low)
		for h := range 2 {
			VMULPS(e.offsets.Offset(32*h), e.low, e.p)
			e.scaleToken(q, t, 4, e.p)
			VADDPS(e.p, e.sum[t][h], e.sum[t][h])
		}
	}
}

func (e *engine2) double() {
	hits, more := GP32(), GP32()
	for h := range 2 {
		VPMOVZXBD(Mem{Base: e.w, Disp: 8 * h}, e.p)
		VPCMPEQD(e.x, e.x, e.x)
		VGATHERDPS(e.x, Mem{Base: e.lanes, Disp: laneScales, Index: e.p, Scale: 4}, e.low)
		VMULPS(e.largest.Offset(32*h), e.low, e.low)
		VADDPS(e.lane(laneMean, h), e.low, e.low)
		VMOVUPS(e.low, e.scales.Offset(32*h))
		Comment("The number of the row's next scale; where it begins a block, the magnitudes are read anew.")
		VPCMPEQD(e.x, e.x, e.x)
		VMOVDQU(e.at.Offset(32*h), e.low)
		VPSUBD(e.x, e.low, e.low)
		VMOVDQU(e.low, e.at.Offset(32*h))
		VPSLLD(Imm(24), e.low, e.low)
		VPXOR(e.p, e.p, e.p)
		VPCMPEQD(e.p, e.low, e.low)
		if h == 0 {
			VMOVMSKPS(e.low, hits)
		} else {
			VMOVMSKPS(e.low, more)
		}
	}
	ORL(more, hits)
	JE(LabelRef("same_blocks"))
	e.blocks()
	Label("same_blocks")
}

// begin skips the prefix of the panel and keeps what heads need of it.
func (e *engine2) begin(x Register) {
	e.offsets, e.second, e.units = AllocLocal(64), AllocLocal(16), AllocLocal(64)
	e.integers = AllocLocal(64)
	CMPQ(Mem{Base: e.s, Disp: headKind}, Imm(headShift))
	JE(LabelRef("units"))
	CMPQ(Mem{Base: e.s, Disp: headKind}, Imm(headRows))
	JNE(LabelRef("no_units"))
	Label("units")
	for h := range 2 {
		VCVTPH2PS(Mem{Base: e.w, Disp: 16 * h}, e.p)
		VMOVUPS(e.p, e.units.Offset(32*h))
	}
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
	for h := range 2 {
		VPADDD(e.lane(laneGroups, h), e.low, e.p)
		VMOVDQU(e.p, e.at.Offset(32*h))
	}
	e.blocks()
	Label("tabled_prefix")
	ADDQ(Mem{Base: e.s, Disp: prefix}, e.w)
	Label("no_prefix")
}

// blocks reads the largest magnitudes of the blocks of the scales at.
func (e *engine2) blocks() {
	q := GP64()
	MOVQ(e.start, q)
	for h := range 2 {
		VMOVDQU(e.at.Offset(32*h), e.p)
		VPSRLD(Imm(8), e.p, e.p)
		VPCMPEQD(e.x, e.x, e.x)
		VGATHERDPS(e.x, Mem{Base: q, Disp: 4, Index: e.p, Scale: 4}, e.low)
		VMOVUPS(e.low, e.largest.Offset(32*h))
	}
}
