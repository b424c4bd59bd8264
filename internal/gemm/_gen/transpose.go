package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

const transposeSignature = "func(dst *float32, dstStride int, src *float32, srcStride, blocks int)"

// transpose16 moves 16x16 floats through the registers in four rounds of 16
// shuffles; in scalar code packing would take a quarter of a 1024³ product.
func transpose16() {
	TEXT("transpose16AVX512", NOSPLIT, transposeSignature)
	Pragma("noescape")
	Doc("transpose16AVX512 writes src[r*srcStride+p] to dst[p*dstStride+r] for",
		"0 <= r < 16, 0 <= p < 16*blocks.")
	transpose(16, func(r, t []VecVirtual) []VecVirtual {
		for g := 0; g < 16; g += 4 {
			quads(r[g:g+4], t[g:g+4])
		}
		// r[4g+c] holds in its 128-bit lane l column 4l+c of rows 4g..4g+3.
		for c := range 4 {
			VSHUFF32X4(Imm(0x88), r[4+c], r[c], t[c])
			VSHUFF32X4(Imm(0xdd), r[4+c], r[c], t[4+c])
			VSHUFF32X4(Imm(0x88), r[12+c], r[8+c], t[8+c])
			VSHUFF32X4(Imm(0xdd), r[12+c], r[8+c], t[12+c])
		}
		for c := range 4 {
			VSHUFF32X4(Imm(0x88), t[8+c], t[c], r[c])
			VSHUFF32X4(Imm(0xdd), t[8+c], t[c], r[8+c])
			VSHUFF32X4(Imm(0x88), t[12+c], t[4+c], r[4+c])
			VSHUFF32X4(Imm(0xdd), t[12+c], t[4+c], r[12+c])
		}
		return r
	}, ZMM)
}

// transpose8 is the same for 8x8 floats and 16 registers.
func transpose8() {
	TEXT("transpose8AVX2", NOSPLIT, transposeSignature)
	Pragma("noescape")
	Doc("transpose8AVX2 writes src[r*srcStride+p] to dst[p*dstStride+r] for",
		"0 <= r < 8, 0 <= p < 8*blocks.")
	transpose(8, func(r, t []VecVirtual) []VecVirtual {
		quads(r[:4], t[:4])
		quads(r[4:], t[4:])
		for c := range 4 {
			VPERM2F128(Imm(0x20), r[4+c], r[c], t[c])
			VPERM2F128(Imm(0x31), r[4+c], r[c], t[4+c])
		}
		return t
	}, YMM)
}

// quads transposes the 4x4 blocks in the 128-bit lanes of r; t is scratch.
func quads(r, t []VecVirtual) {
	VUNPCKLPS(r[1], r[0], t[0])
	VUNPCKHPS(r[1], r[0], t[1])
	VUNPCKLPS(r[3], r[2], t[2])
	VUNPCKHPS(r[3], r[2], t[3])
	VUNPCKLPD(t[2], t[0], r[0])
	VUNPCKHPD(t[2], t[0], r[1])
	VUNPCKLPD(t[3], t[1], r[2])
	VUNPCKHPD(t[3], t[1], r[3])
}

func transpose(n int, shuffle func(r, t []VecVirtual) []VecVirtual, vec func() VecVirtual) {
	dst := Load(Param("dst"), GP64())
	dstStride := Load(Param("dstStride"), GP64())
	src := Load(Param("src"), GP64())
	srcStride := Load(Param("srcStride"), GP64())
	blocks := Load(Param("blocks"), GP64())
	SHLQ(Imm(2), dstStride)
	SHLQ(Imm(2), srcStride)
	r, t := make([]VecVirtual, n), make([]VecVirtual, n)
	for i := range n {
		r[i], t[i] = vec(), vec()
	}
	Label("next")
	TESTQ(blocks, blocks)
	JEQ(LabelRef("done"))
	row := GP64()
	MOVQ(src, row)
	for i := range n {
		VMOVUPS(Mem{Base: row}, r[i])
		ADDQ(srcStride, row)
	}
	for _, o := range shuffle(r, t) {
		VMOVUPS(o, Mem{Base: dst})
		ADDQ(dstStride, dst)
	}
	ADDQ(U32(4*n), src)
	DECQ(blocks)
	JMP(LabelRef("next"))
	Label("done")
	VZEROUPPER()
	RET()
}
