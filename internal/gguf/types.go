package gguf

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/mosaicquant/mosaicquant/internal/half"
)

// Type is a form in which numbers are stored: blocks of Block elements in Bytes
// bytes each.
type Type struct {
	Name  string // as ggml spells it: "Q4_1"
	Block int
	Bytes int
	// decode writes the elements of one block. It computes what the Python package
	// gguf does, operation by operation in float32.
	decode func(dst []float32, src []byte)
}

// BitsPerWeight is what an element takes.
func (t *Type) BitsPerWeight() float64 { return 8 * float64(t.Bytes) / float64(t.Block) }

// Decode writes the len(dst) elements from index first on of the blocks in data
// into dst. It panics where data has fewer.
func (t *Type) Decode(dst []float32, data []byte, first int) {
	if first < 0 || (first+len(dst)+t.Block-1)/t.Block*t.Bytes > len(data) {
		panic(fmt.Sprintf("gguf: elements %d to %d of %s in %d bytes", first, first+len(dst), t.Name, len(data)))
	}
	var whole [superBlock]float32
	for len(dst) > 0 {
		block, skip := first/t.Block, first%t.Block
		src := data[block*t.Bytes : (block+1)*t.Bytes]
		n := min(t.Block-skip, len(dst))
		if n == t.Block {
			t.decode(dst[:n], src)
		} else {
			t.decode(whole[:t.Block], src)
			copy(dst[:n], whole[skip:])
		}
		dst, first = dst[n:], first+n
	}
}

// superBlock is the number of elements in a block of the K types, the largest.
const superBlock = 256

// typeByID has the types that can be read, by their number in a file. The comment
// beside each lists the fields of a block in order; h is a float16.
var typeByID = map[uint32]*Type{
	0:  {"F32", 1, 4, f32},
	1:  {"F16", 1, 2, func(dst []float32, src []byte) { dst[0] = f16(src) }},
	2:  {"Q4_0", 32, 18, q4_0},    // h d; 16 B codes
	3:  {"Q4_1", 32, 20, q4_1},    // h d, m; 16 B codes
	6:  {"Q5_0", 32, 22, q5_0},    // h d; 4 B fifth bits; 16 B codes
	7:  {"Q5_1", 32, 24, q5_1},    // h d, m; 4 B fifth bits; 16 B codes
	8:  {"Q8_0", 32, 34, q8_0},    // h d; 32 int8
	10: {"Q2_K", 256, 84, q2K},    // 16 B scales and minima; 64 B codes; h d, dmin
	11: {"Q3_K", 256, 110, q3K},   // 32 B third bits; 64 B codes; 12 B scales; h d
	12: {"Q4_K", 256, 144, q4K},   // h d, dmin; 12 B scales and minima; 128 B codes
	13: {"Q5_K", 256, 176, q5K},   // h d, dmin; 12 B scales and minima; 32 B fifth bits; 128 B codes
	14: {"Q6_K", 256, 210, q6K},   // 128 B low bits; 64 B high bits; 16 int8 scales; h d
	20: {"IQ4_NL", 32, 18, iq4NL}, // h d; 16 B codes
	30: {"BF16", 1, 2, bf16},
	39: {"MXFP4", 32, 17, mxfp4}, // E8M0 scale; 16 B codes
}

// otherTypes are those that a file may have and this package does not read.
var otherTypes = map[uint32]string{
	9: "Q8_1", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS",
	24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0",
}

// TypeByName returns the type of that name, nil where there is none.
func TypeByName(name string) *Type {
	for _, t := range typeByID {
		if t.Name == name {
			return t
		}
	}
	return nil
}

func f32(dst []float32, src []byte) { dst[0] = math.Float32frombits(binary.LittleEndian.Uint32(src)) }

func bf16(dst []float32, src []byte) {
	dst[0] = half.FromBF16(binary.LittleEndian.Uint16(src))
}

// f16 widens a little-endian half-precision number.
func f16(src []byte) float32 { return half.FromF16(binary.LittleEndian.Uint16(src)) }

// The conversions float32(x*y) below forbid a fused multiply-add, which rounds
// once where the definition rounds twice.

func q4_0(dst []float32, src []byte) {
	d := f16(src)
	for i, c := range src[2:18] {
		dst[i] = d * float32(int(c&15)-8)
		dst[16+i] = d * float32(int(c>>4)-8)
	}
}

func q4_1(dst []float32, src []byte) {
	d, m := f16(src), f16(src[2:])
	dst = dst[:32]
	for i, c := range src[4:20] {
		dst[i] = float32(d*float32(c&15)) + m
		dst[16+i] = float32(d*float32(c>>4)) + m
	}
}

func q5_0(dst []float32, src []byte) {
	d, high := f16(src), binary.LittleEndian.Uint32(src[2:])
	for i, c := range src[6:22] {
		dst[i] = d * float32(int(c&15)|int(high>>i&1)<<4-16)
		dst[16+i] = d * float32(int(c>>4)|int(high>>(16+i)&1)<<4-16)
	}
}

func q5_1(dst []float32, src []byte) {
	d, m, high := f16(src), f16(src[2:]), binary.LittleEndian.Uint32(src[4:])
	for i, c := range src[8:24] {
		dst[i] = float32(d*float32(int(c&15)|int(high>>i&1)<<4)) + m
		dst[16+i] = float32(d*float32(int(c>>4)|int(high>>(16+i)&1)<<4)) + m
	}
}

func q8_0(dst []float32, src []byte) {
	d := f16(src)
	dst = dst[:32]
	for i, c := range src[2:34] {
		dst[i] = d * float32(int8(c))
	}
}

// q2K has 16 groups of 16, each with a scale and a minimum of 4 bits. A byte of
// codes holds elements 32 apart.
func q2K(dst []float32, src []byte) {
	scales, codes := src[:16], src[16:80]
	d, dmin := f16(src[80:]), f16(src[82:])
	for i := range dst {
		s := scales[i/16]
		scale, low := d*float32(s&15), dmin*float32(s>>4)
		c := codes[i/128*32+i%32] >> (i / 32 % 4 * 2) & 3
		dst[i] = float32(scale*float32(c)) - low
	}
}

// q3K has 16 groups of 16, each with a scale of 6 bits, four bits of it in one
// byte and two in another. A third bit that is clear takes 4 off the code.
func q3K(dst []float32, src []byte) {
	high, codes, packed := src[:32], src[32:96], src[96:108]
	d := f16(src[108:])
	for i := range dst {
		j := i / 16
		s := int(packed[j%8]>>(j/8*4)&15) | int(packed[8+j%4]>>(j/4*2)&3)<<4
		c := int(codes[i/128*32+i%32] >> (i / 32 % 4 * 2) & 3)
		if high[i%32]>>(i/32)&1 == 0 {
			c -= 4
		}
		dst[i] = float32(d*float32(s-32)) * float32(c)
	}
}

// scaleMin returns the scale and the minimum, 6 bits each, of group j of 8: the
// first four stand in the low bits of bytes 0 to 3 and 4 to 7; of the others the
// lower four bits share bytes 8 to 11 and the upper two are on top of the first.
func scaleMin(p []byte, j int) (scale, low byte) {
	if j < 4 {
		return p[j] & 63, p[4+j] & 63
	}
	return p[4+j]&15 | p[j-4]>>6<<4, p[4+j]>>4 | p[j]>>6<<4
}

func q4K(dst []float32, src []byte) {
	d, dmin, packed, codes := f16(src), f16(src[2:]), src[4:16], src[16:144]
	for j := range 8 {
		s, m := scaleMin(packed, j)
		scale, low := d*float32(s), dmin*float32(m)
		for i, c := range codes[j/2*32 : j/2*32+32] {
			dst[32*j+i] = float32(scale*float32(c>>(j%2*4)&15)) - low
		}
	}
}

func q5K(dst []float32, src []byte) {
	d, dmin, packed, high, codes := f16(src), f16(src[2:]), src[4:16], src[16:48], src[48:176]
	for j := range 8 {
		s, m := scaleMin(packed, j)
		scale, low := d*float32(s), dmin*float32(m)
		for i, c := range codes[j/2*32 : j/2*32+32] {
			v := c>>(j%2*4)&15 | high[i]>>j&1<<4
			dst[32*j+i] = float32(scale*float32(v)) - low
		}
	}
}

// q6K has 16 groups of 16 with int8 scales. A byte of low bits holds elements 64
// apart, one of high bits elements 32 apart.
func q6K(dst []float32, src []byte) {
	low, high, scales := src[:128], src[128:192], src[192:208]
	d := f16(src[208:])
	for i := range dst {
		l := low[i/128*64+i%64] >> (i / 64 % 2 * 4) & 15
		h := high[i/128*32+i%32] >> (i / 32 % 4 * 2) & 3
		dst[i] = float32(d*float32(int8(scales[i/16]))) * float32(int(l|h<<4)-32)
	}
}

var iq4NLValues = [16]float32{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}

func iq4NL(dst []float32, src []byte) {
	d := f16(src)
	for i, c := range src[2:18] {
		dst[i] = d * iq4NLValues[c&15]
		dst[16+i] = d * iq4NLValues[c>>4]
	}
}

// mxfp4Values are those of E2M1, doubled.
var mxfp4Values = [16]float32{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}

func mxfp4(dst []float32, src []byte) {
	bits := uint32(0x00200000) << src[0] // half of 2^(e-127), a subnormal
	if src[0] >= 2 {
		bits = uint32(src[0]-1) << 23
	}
	d := math.Float32frombits(bits)
	for i, c := range src[1:17] {
		dst[i] = d * mxfp4Values[c&15]
		dst[16+i] = d * mxfp4Values[c>>4]
	}
}
