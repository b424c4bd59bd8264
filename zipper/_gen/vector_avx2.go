package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func vectorsAVX2() {
	maxAbsAVX2()
	quantizeAVX2()
	sumAVX2()
}

func maxAbsAVX2() {
	TEXT("maxAbsAVX2", NOSPLIT, "func(n int, x *float32) uint32")
	Pragma("noescape")
	Doc("maxAbsAVX2 returns the largest bit pattern of |x[i]|. n must be a multiple of 8.")
	n := Load(Param("n"), GP64())
	x := Load(Param("x"), GP64())
	top, v, abs := YMM(), YMM(), YMM()
	VPCMPEQD(abs, abs, abs)
	VPSRLD(Imm(1), abs, abs)
	VPXOR(top, top, top)
	Label("next")
	SUBQ(Imm(8), n)
	JL(LabelRef("done"))
	VPAND(Mem{Base: x}, abs, v)
	VPMAXUD(v, top, top)
	ADDQ(Imm(32), x)
	JMP(LabelRef("next"))
	Label("done")
	VPERMQ(Imm(0x4e), top, v)
	VPMAXUD(v, top, top)
	VPSHUFD(Imm(0x4e), top, v)
	VPMAXUD(v, top, top)
	VPSHUFD(Imm(0xb1), top, v)
	VPMAXUD(v, top, top)
	bits := GP32()
	VMOVD(top.AsX(), bits)
	Store(bits, ReturnIndex(0))
	VZEROUPPER()
	RET()
}

func quantizeAVX2() {
	TEXT("quantizeAVX2", NOSPLIT, "func(n int, dst *byte, x *float32, scale float32, limit int32)")
	Pragma("noescape")
	Doc("quantizeAVX2 sets dst[i] = x[i]/scale, rounded to even and kept within ±limit.",
		"n must be a multiple of 8.")
	n := Load(Param("n"), GP64())
	dst := Load(Param("dst"), GP64())
	x := Load(Param("x"), GP64())
	scale, top, bottom, v := YMM(), YMM(), YMM(), YMM()
	w := XMM()
	VBROADCASTSS(NewParamAddr("scale", 24), scale)
	limit := GP32()
	Load(Param("limit"), limit)
	VMOVD(limit, top.AsX())
	VPBROADCASTD(top.AsX(), top)
	NEGL(limit)
	VMOVD(limit, bottom.AsX())
	VPBROADCASTD(bottom.AsX(), bottom)
	Label("next")
	SUBQ(Imm(8), n)
	JL(LabelRef("done"))
	VMOVUPS(Mem{Base: x}, v)
	VDIVPS(scale, v, v)
	VCVTPS2DQ(v, v)
	VPMINSD(top, v, v)
	VPMAXSD(bottom, v, v)
	VEXTRACTI128(Imm(1), v, w)
	VPACKSSDW(w, v.AsX(), w)
	VPACKSSWB(w, w, w)
	VMOVQ(w, Mem{Base: dst})
	ADDQ(Imm(32), x)
	ADDQ(Imm(8), dst)
	JMP(LabelRef("next"))
	Label("done")
	VZEROUPPER()
	RET()
}

func sumAVX2() {
	TEXT("sumAVX2", NOSPLIT, "func(n int, p *byte) uint64")
	Pragma("noescape")
	Doc("sumAVX2 returns the sum of n bytes. n must be a multiple of 256.")
	n := Load(Param("n"), GP64())
	p := Load(Param("p"), GP64())
	var acc, v [4]VecVirtual
	zero := YMM()
	VPXOR(zero, zero, zero)
	for i := range acc {
		acc[i], v[i] = YMM(), YMM()
		VPXOR(acc[i], acc[i], acc[i])
	}
	Label("next")
	SUBQ(U32(128), n)
	JL(LabelRef("done"))
	for i := range acc {
		if i%2 == 0 {
			PREFETCHT0(Mem{Base: p, Disp: 32*i + ahead})
		}
		VPSADBW(Mem{Base: p, Disp: 32 * i}, zero, v[i])
		VPADDQ(v[i], acc[i], acc[i])
	}
	ADDQ(U32(128), p)
	JMP(LabelRef("next"))
	Label("done")
	VPADDQ(acc[1], acc[0], acc[0])
	VPADDQ(acc[3], acc[2], acc[2])
	VPADDQ(acc[2], acc[0], acc[0])
	VPERMQ(Imm(0x4e), acc[0], v[0])
	VPADDQ(v[0], acc[0], acc[0])
	VPSHUFD(Imm(0x4e), acc[0], v[0])
	VPADDQ(v[0], acc[0], acc[0])
	r := GP64()
	VMOVQ(acc[0].AsX(), r)
	Store(r, ReturnIndex(0))
	VZEROUPPER()
	RET()
}
