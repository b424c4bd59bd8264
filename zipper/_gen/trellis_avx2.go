package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// decoder2 is decoder for AVX2: the 16 rows of a tile are two halves of 8 lanes, and
// constants lie in memory.
type decoder2 struct {
	code      string
	bits      int
	constants map[int]Mem
	src       Register
}

func decodeTrellisAVX2(code string, bits int, constants map[int]Mem) {
	name := fmt.Sprintf("decode%sx%dAVX2", code, bits)
	TEXT(name, NOSPLIT, "func(dst *float32, src *byte, tiles int, mask uint32)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s writes the levels of tiles of %d-bit %s codes, states having the bits of mask.", name, bits, code))
	d := &decoder2{code: code, bits: bits, constants: constants}
	dst := Load(Param("dst"), GP64())
	d.src = Load(Param("src"), GP64())
	tiles := Load(Param("tiles"), GP64())
	mask := YMM()
	VMOVD(Load(Param("mask"), GP32()), mask.AsX())
	VPBROADCASTD(mask.AsX(), mask)
	Label("tile")
	for h := range 2 {
		words := d.words(h)
		for c := range 16 {
			word, after := window(bits, c)
			VMOVUPS(d.level(words[word], mask, after), Mem{Base: dst, Disp: 64*c + 32*h})
		}
	}
	for line := 0; line < 32*bits; line += 64 {
		PREFETCHT0(Mem{Base: d.src, Disp: line + ahead})
	}
	ADDQ(U32(32*bits), d.src)
	ADDQ(U32(1024), dst)
	DECQ(tiles)
	JNE(LabelRef("tile"))
	VZEROUPPER()
	RET()
}

// trellisData writes the constants of a code to memory.
func trellisData(code string) map[int]Mem {
	at := map[int]Mem{}
	constants := trellisConstants(code)
	for c := range trellisWords + 1 {
		if v, ok := constants[c]; ok {
			at[c] = GLOBL(fmt.Sprintf("trellis%s%d", code, c), attr.RODATA|attr.NOPTR)
			for lane := range 8 {
				DATA(4*lane, U32(v))
			}
		}
	}
	return at
}

// words is that of decoder for half h.
func (d *decoder2) words(h int) []VecVirtual {
	funnel := func(high, low VecVirtual) VecVirtual {
		a, b := YMM(), YMM()
		VPSLLD(Imm(16), high, a)
		VPSRLD(Imm(16), low, b)
		VPOR(a, b, a)
		return a
	}
	// above returns the lanes before those of v; the other half ends or begins with the rest.
	above := func(v, other VecVirtual) VecVirtual {
		a := YMM()
		VPERM2I128(Imm(0x21), v, other, a) // the upper part of the other half, the lower one of this
		VPALIGNR(Imm(12), a, v, a)
		return a
	}
	first, second, other := YMM(), YMM(), YMM()
	VMOVDQU(Mem{Base: d.src, Disp: 32 * h}, first)
	switch d.bits {
	case 2:
		VMOVDQU(Mem{Base: d.src, Disp: 32 - 32*h}, other)
		return []VecVirtual{funnel(above(first, other), first), first}
	case 3:
		VPMOVZXWD(Mem{Base: d.src, Disp: 64 + 16*h}, second)
		VPMOVZXWD(Mem{Base: d.src, Disp: 80 - 16*h}, other)
		last := YMM()
		VPSLLD(Imm(16), first, last)
		VPOR(second, last, last)
		return []VecVirtual{funnel(above(second, other), first), first, last}
	}
	VMOVDQU(Mem{Base: d.src, Disp: 64 + 32*h}, second)
	VMOVDQU(Mem{Base: d.src, Disp: 96 - 32*h}, other)
	return []VecVirtual{funnel(above(second, other), first), first, funnel(first, second), second}
}

// level is that of decoder.
func (d *decoder2) level(words, mask VecVirtual, after int) VecVirtual {
	s, t := YMM(), YMM()
	if after > 0 {
		VPSRLD(Imm(uint64(after)), words, s)
		words = s
	}
	VPAND(mask, words, s)
	VPMULLD(d.constants[trellisTimes], s, s)
	if plus, ok := d.constants[trellisPlus]; ok {
		VPADDD(plus, s, s)
	}
	if d.code == threeInst {
		VPSLLD(Imm(16), s, t)
		for _, v := range []VecVirtual{s, t} {
			VPSRAD(Imm(3), v, v)
			VPAND(d.constants[trellisMask], v, v)
			VPXOR(d.constants[trellisFlip], v, v)
		}
		VADDPS(t, s, s)
		return d.rounded(s, t)
	}
	VPMADDUBSW(d.constants[trellisOnes], s, s)
	VPMADDWD(d.constants[trellisWords], s, s)
	VPADDD(d.constants[trellisSum], s, s)
	VCVTDQ2PS(s, s)
	if d.code == oneMAD {
		return s
	}
	VMOVUPS(d.constants[trellisFactor], t)
	VFMADD213PS(d.constants[trellisOffset], t, s)
	return d.rounded(s, t)
}

// rounded is that of decoder.
func (d *decoder2) rounded(v, top VecVirtual) VecVirtual {
	large := YMM()
	VPAND(d.constants[trellisTop], v, top)
	VMOVUPS(d.constants[trellisRound], large)
	VFMADD213PS(v, top, large)
	VFNMADD231PS(d.constants[trellisRound], top, large)
	return large
}

// panelDecodedAVX2 is panelDecoded with 16 rows in two registers.
func panelDecodedAVX2(tokens int) {
	name := fmt.Sprintf("panelDecodedx%dAVX2", tokens)
	TEXT(name, NOSPLIT, "func(w *byte, x *byte, ld int, s *int, lanes *int32, out *float32)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s adds the products of 16 rows of float32 levels with %d tokens to out.", name, tokens))
	chains := 4 / tokens
	w := Load(Param("w"), GP64())
	x := Load(Param("x"), GP64())
	ld := Load(Param("ld"), GP64())
	s := Load(Param("s"), GP64())
	out := Load(Param("out"), GP64())
	xs := []Register{x}
	for range tokens - 1 {
		next := GP64()
		LEAQ(Mem{Base: xs[len(xs)-1], Index: ld, Scale: 1}, next)
		xs = append(xs, next)
	}
	acc := make([]VecVirtual, 2*tokens*chains)
	for i := range acc {
		acc[i] = YMM()
		if i < 2*tokens {
			VMOVUPS(Mem{Base: out, Disp: 32 * i}, acc[i])
		} else {
			VPXOR(acc[i], acc[i], acc[i])
		}
	}
	cells, at := GP64(), GP64()
	MOVQ(Mem{Base: s, Disp: groupCells}, cells)
	XORQ(at, at)
	v, halves := YMM(), [2]VecVirtual{YMM(), YMM()}
	Label("cell")
	for col := range 8 {
		for h, half := range halves {
			VMOVUPS(Mem{Base: w, Disp: 64*col + 32*h}, half)
		}
		for t := range tokens {
			VBROADCASTSS(Mem{Base: xs[t], Index: at, Scale: 4, Disp: 4 * col}, v)
			for h, half := range halves {
				VFMADD231PS(half, v, acc[col%chains*2*tokens+2*t+h])
			}
		}
	}
	ADDQ(U32(512), w)
	ADDQ(Imm(8), at)
	DECQ(cells)
	JNE(LabelRef("cell"))
	for c := chains / 2; c >= 1; c /= 2 {
		for i := range c * 2 * tokens {
			VADDPS(acc[c*2*tokens+i], acc[i], acc[i])
		}
	}
	for i := range 2 * tokens {
		VMOVUPS(acc[i], Mem{Base: out, Disp: 32 * i})
	}
	VZEROUPPER()
	RET()
}
