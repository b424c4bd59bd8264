package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// How the value of a state is computed (quant.TrellisCode).
const (
	mul1      = "Mul1"
	oneMAD    = "OneMAD"
	threeInst = "ThreeInst"
)

var trellisCodes = []string{mul1, oneMAD, threeInst}

// Constants of the codes, as trellisConstants returns them.
const (
	trellisTimes  = iota // what a state is multiplied by
	trellisPlus          // and what is added
	trellisSum           // what is added to the sum of bytes
	trellisFactor        // what the sum is multiplied by, float32
	trellisOffset        // and what is added, float32
	trellisMask          // bits of a half-precision number, as float32 has them, that a state sets
	trellisFlip          // what those are turned by
	trellisTop           // sign and exponent of float32
	trellisRound         // 3/2·2^13: added to a number of exponent 0, it leaves 10 bits behind the point
	trellisOnes          // bytes
	trellisWords         // ones of 16 bits
)

// trellisConstants are the constants of a code.
func trellisConstants(code string) map[int]uint32 {
	round := map[int]uint32{trellisTop: 0xff800000, trellisRound: math.Float32bits(12288)}
	switch code {
	case oneMAD:
		return map[int]uint32{trellisTimes: 34038481, trellisPlus: 76625530, trellisSum: uint32(0x100000000 - 510),
			trellisOnes: 0x01010101, trellisWords: 0x00010001}
	case mul1:
		round[trellisTimes], round[trellisSum] = 0x83dcd12d, 1024
		round[trellisFactor] = math.Float32bits(float32(1774) / (1 << 18)) // 0x1eee in half precision
		round[trellisOffset] = math.Float32bits(-float32(1329) / (1 << 7)) // 0xc931
		round[trellisOnes], round[trellisWords] = 0x01010101, 0x00010001
	case threeInst:
		round[trellisTimes], round[trellisPlus] = 89226354, 64248484
		round[trellisMask], round[trellisFlip] = 0x81ffe000, 0x3f6c0000
	}
	return round
}

// window returns the word of a row, of 16 bits, in which the code of column c ends, and how
// many bits follow it there.
func window(bits, c int) (word, after int) {
	end := bits * (c + 1)
	word = (end - 1) / 16
	return word, 16*(word+1) - end
}

// decoder holds the registers of a kernel that decodes trellis codes.
type decoder struct {
	code      string
	bits      int
	constants map[int]VecVirtual
	mask      VecVirtual
	src       Register
}

// decodeTrellis emits the kernel that decodes tiles of trellis codes: see trellis.go of the
// package.
func decodeTrellis(code string, bits int) {
	name := fmt.Sprintf("decode%sx%dAVX512", code, bits)
	TEXT(name, NOSPLIT, "func(dst *float32, src *byte, tiles int, mask uint32)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s writes the levels of tiles of %d-bit %s codes, states having the bits of mask.", name, bits, code))
	d := newDecoder(code, bits)
	dst := Load(Param("dst"), GP64())
	store := func(c int, level VecVirtual) { VMOVUPS(level, Mem{Base: dst, Disp: 64 * c}) }
	d.tiles(store, func() { ADDQ(U32(1024), dst) })
	VZEROUPPER()
	RET()
}

// panelTrellis emits the kernel that multiplies tiles by one token as it decodes them.
func panelTrellis(code string, bits int) {
	name := fmt.Sprintf("panel%sx%dAVX512", code, bits)
	TEXT(name, NOSPLIT, "func(out *float32, src *byte, tiles int, mask uint32, x *byte)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s adds to out the products of tiles of %d-bit %s codes with one token.", name, bits, code))
	d := newDecoder(code, bits)
	x := Load(Param("x"), GP64())
	e := &engine{tokens: 1, chains: 4, acc: []VecVirtual{ZMM(), ZMM(), ZMM(), ZMM()}}
	for _, z := range e.acc {
		VPXORD(z, z, z)
	}
	multiply := func(c int, level VecVirtual) {
		VFMADD231PS_BCST(Mem{Base: x, Disp: 4 * c}, level, e.acc[c%e.chains])
	}
	d.tiles(multiply, func() { ADDQ(Imm(64), x) })
	e.joinChains()
	out := Load(Param("out"), GP64())
	VADDPS(Mem{Base: out}, e.acc[0], e.acc[0])
	VMOVUPS(e.acc[0], Mem{Base: out})
	VZEROUPPER()
	RET()
}

func newDecoder(code string, bits int) *decoder {
	d := &decoder{code: code, bits: bits, constants: map[int]VecVirtual{}, mask: ZMM()}
	d.src = Load(Param("src"), GP64())
	VPBROADCASTD(Load(Param("mask"), GP32()), d.mask)
	constants := trellisConstants(code)
	for c := range trellisWords {
		if v, ok := constants[c]; ok {
			d.constants[c] = ZMM()
			r := GP32()
			MOVL(U32(v), r)
			VPBROADCASTD(r, d.constants[c])
		}
	}
	return d
}

// tiles emits f for the levels of each column of the tiles, and next after each tile.
func (d *decoder) tiles(f func(column int, level VecVirtual), next func()) {
	tiles := Load(Param("tiles"), GP64())
	Label("tile")
	words := d.words()
	for c := range 16 {
		word, after := window(d.bits, c)
		f(c, d.level(words[word], after))
	}
	for line := 0; line < 32*d.bits; line += 64 {
		PREFETCHT0(Mem{Base: d.src, Disp: line + ahead})
	}
	ADDQ(U32(32*d.bits), d.src)
	next()
	DECQ(tiles)
	JNE(LabelRef("tile"))
}

// words returns, for each word of 16 bits of the rows of a tile, a register that has it in
// the lower half of a lane and the one before it in the upper half.
func (d *decoder) words() []VecVirtual {
	funnel := func(high, low VecVirtual) VecVirtual {
		a, b := ZMM(), ZMM()
		VPSLLD(Imm(16), high, a)
		VPSRLD(Imm(16), low, b)
		VPORD(a, b, a)
		return a
	}
	above := func(v VecVirtual) VecVirtual {
		a := ZMM()
		VALIGND(Imm(15), v, v, a)
		return a
	}
	first, second := ZMM(), ZMM()
	VMOVDQU32(Mem{Base: d.src}, first)
	switch d.bits {
	case 2:
		return []VecVirtual{funnel(above(first), first), first}
	case 3:
		VPMOVZXWD(Mem{Base: d.src, Disp: 64}, second)
		last := ZMM()
		VPSLLD(Imm(16), first, last)
		VPORD(second, last, last)
		return []VecVirtual{funnel(above(second), first), first, last}
	}
	VMOVDQU32(Mem{Base: d.src, Disp: 64}, second)
	return []VecVirtual{funnel(above(second), first), first, funnel(first, second), second}
}

// product returns the states that lie so many bits from the ends of the lanes of words, as
// the code multiplies them.
func (d *decoder) product(words VecVirtual, after int) VecVirtual {
	s := ZMM()
	if after > 0 {
		VPSRLD(Imm(uint64(after)), words, s)
		words = s
	}
	VPANDD(d.mask, words, s)
	VPMULLD(d.constants[trellisTimes], s, s)
	if plus, ok := d.constants[trellisPlus]; ok {
		VPADDD(plus, s, s)
	}
	return s
}

// level returns the levels of these states.
func (d *decoder) level(words VecVirtual, after int) VecVirtual {
	s := d.product(words, after)
	if d.code == threeInst {
		low := ZMM()
		VPSLLD(Imm(16), s, low)
		for _, v := range []VecVirtual{s, low} {
			Comment("A half-precision number becomes float32.")
			VPSRAD(Imm(3), v, v)
			VPTERNLOGD(Imm(0x6a), d.constants[trellisFlip], d.constants[trellisMask], v) // (v & mask) ^ flip
		}
		VADDPS(low, s, s)
		return d.rounded(s)
	}
	sum := ZMM()
	VMOVDQA32(d.constants[trellisSum], sum)
	VPDPBUSD(d.constants[trellisOnes], s, sum)
	VCVTDQ2PS(sum, sum)
	if d.code == oneMAD {
		return sum
	}
	VFMADD213PS(d.constants[trellisOffset], d.constants[trellisFactor], sum)
	return d.rounded(sum)
}

// rounded returns v with 11 bits of mantissa, rounded to even: a number that is larger by
// 3/2·2^13 than its power of two has no others.
func (d *decoder) rounded(v VecVirtual) VecVirtual {
	top, large := ZMM(), ZMM()
	VPANDD(d.constants[trellisTop], v, top)
	VMOVAPS(top, large)
	VFMADD213PS(v, d.constants[trellisRound], large)
	VFNMADD231PS(d.constants[trellisRound], top, large)
	return large
}

// panelDecoded emits the kernel that multiplies levels by some tokens.
func panelDecoded(tokens int) {
	name := fmt.Sprintf("panelDecodedx%dAVX512", tokens)
	TEXT(name, NOSPLIT, "func(w *byte, x *byte, ld int, s *int, lanes *int32, out *float32)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s adds the products of 16 rows of float32 levels with %d tokens to out.", name, tokens))
	e := &engine{tokens: tokens, chains: 8}
	if tokens > 1 {
		e.chains = 16 / tokens
	}
	e.w = Load(Param("w"), GP64())
	x := Load(Param("x"), GP64())
	ld := Load(Param("ld"), GP64())
	e.s = Load(Param("s"), GP64())
	out := Load(Param("out"), GP64())
	e.multiples(ld)
	e.code = ZMM()
	for i := range tokens * e.chains {
		z := ZMM()
		if i < tokens {
			VMOVUPS(Mem{Base: out, Disp: 64 * i}, z)
		} else {
			VPXORD(z, z, z)
		}
		e.acc = append(e.acc, z)
	}
	cells := GP64()
	MOVQ(Mem{Base: e.s, Disp: groupCells}, cells)
	Label("cell")
	for col := range 8 {
		VMOVUPS(Mem{Base: e.w, Disp: 64 * col}, e.code)
		for t := range tokens {
			VFMADD231PS_BCST(e.token(x, t, 4*col), e.code, e.acc[col%e.chains*tokens+t])
		}
	}
	ADDQ(U32(512), e.w)
	ADDQ(Imm(32), x)
	DECQ(cells)
	JNE(LabelRef("cell"))
	e.joinChains()
	for t := range tokens {
		VMOVUPS(e.acc[t], Mem{Base: out, Disp: 64 * t})
	}
	VZEROUPPER()
	RET()
}
