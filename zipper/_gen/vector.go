package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func vectors() {
	maxAbs()
	quantize()
	sum()
}

// maxAbs compares bit patterns: without the sign they are ordered like the
// numbers, and what is not finite comes out largest.
func maxAbs() {
	TEXT("maxAbsAVX512", NOSPLIT, "func(n int, x *float32) uint32")
	Pragma("noescape")
	Doc("maxAbsAVX512 returns the largest bit pattern of |x[i]|. n must be a multiple of 16.")
	n := Load(Param("n"), GP64())
	x := Load(Param("x"), GP64())
	top, v, abs := ZMM(), ZMM(), ZMM()
	bits := GP32()
	MOVL(U32(0x7fffffff), bits)
	VPBROADCASTD(bits, abs)
	VPXORD(top, top, top)
	Label("next")
	SUBQ(Imm(16), n)
	JL(LabelRef("done"))
	VPANDD(Mem{Base: x}, abs, v)
	VPMAXUD(v, top, top)
	ADDQ(Imm(64), x)
	JMP(LabelRef("next"))
	Label("done")
	for d := uint64(8); d >= 1; d /= 2 {
		VALIGND(Imm(d), top, top, v)
		VPMAXUD(v, top, top)
	}
	VMOVD(top.AsX(), bits)
	Store(bits, ReturnIndex(0))
	VZEROUPPER()
	RET()
}

func quantize() {
	TEXT("quantizeAVX512", NOSPLIT, "func(n int, dst *byte, x *float32, scale float32, limit int32)")
	Pragma("noescape")
	Doc("quantizeAVX512 sets dst[i] = x[i]/scale, rounded to even and kept within ±limit.",
		"n must be a multiple of 16.")
	n := Load(Param("n"), GP64())
	dst := Load(Param("dst"), GP64())
	x := Load(Param("x"), GP64())
	scale, top, bottom, v := ZMM(), ZMM(), ZMM(), ZMM()
	VBROADCASTSS(NewParamAddr("scale", 24), scale)
	limit := GP32()
	Load(Param("limit"), limit)
	VPBROADCASTD(limit, top)
	NEGL(limit)
	VPBROADCASTD(limit, bottom)
	Label("next")
	SUBQ(Imm(16), n)
	JL(LabelRef("done"))
	VMOVUPS(Mem{Base: x}, v)
	VDIVPS(scale, v, v)
	VCVTPS2DQ(v, v)
	VPMINSD(top, v, v)
	VPMAXSD(bottom, v, v)
	VPMOVSDB(v, Mem{Base: dst})
	ADDQ(Imm(64), x)
	ADDQ(Imm(16), dst)
	JMP(LabelRef("next"))
	Label("done")
	VZEROUPPER()
	RET()
}

// sum reads as fast as memory delivers: it is the yardstick of the others.
func sum() {
	TEXT("sumAVX512", NOSPLIT, "func(n int, p *byte) uint64")
	Pragma("noescape")
	Doc("sumAVX512 returns the sum of n bytes. n must be a multiple of 256.")
	n := Load(Param("n"), GP64())
	p := Load(Param("p"), GP64())
	var acc, v [4]VecVirtual
	zero := ZMM()
	VPXORD(zero, zero, zero)
	for i := range acc {
		acc[i], v[i] = ZMM(), ZMM()
		VPXORD(acc[i], acc[i], acc[i])
	}
	Label("next")
	SUBQ(U32(256), n)
	JL(LabelRef("done"))
	for i := range acc {
		PREFETCHT0(Mem{Base: p, Disp: 64*i + ahead})
		VPSADBW(Mem{Base: p, Disp: 64 * i}, zero, v[i])
		VPADDQ(v[i], acc[i], acc[i])
	}
	ADDQ(U32(256), p)
	JMP(LabelRef("next"))
	Label("done")
	VPADDQ(acc[1], acc[0], acc[0])
	VPADDQ(acc[3], acc[2], acc[2])
	VPADDQ(acc[2], acc[0], acc[0])
	for d := uint64(4); d >= 1; d /= 2 {
		VALIGNQ(Imm(d), acc[0], acc[0], v[0])
		VPADDQ(v[0], acc[0], acc[0])
	}
	r := GP64()
	VMOVQ(acc[0].AsX(), r)
	Store(r, ReturnIndex(0))
	VZEROUPPER()
	RET()
}
