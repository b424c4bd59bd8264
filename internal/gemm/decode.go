package gemm

import (
	"encoding/binary"
	"fmt"
	"math"
	"unsafe"
)

// DecodeBF16 widens the little-endian bfloat16 values in src to float32. It is
// exact. src must hold 2*len(dst) bytes.
func DecodeBF16(dst []float32, src []byte) {
	checkDecode("DecodeBF16", dst, src)
	k := active
	if n := len(dst) / k.lanes * k.lanes; n > 0 {
		k.decodeBF16(n, &dst[0], &src[0])
		dst, src = dst[n:], src[2*n:]
	}
	if len(dst) > 0 {
		decodeBF16Generic(len(dst), &dst[0], &src[0])
	}
}

// DecodeF16 widens the little-endian IEEE 754 half floats in src to float32. It
// is exact; a signalling NaN becomes a quiet one. src must hold 2*len(dst) bytes.
func DecodeF16(dst []float32, src []byte) {
	checkDecode("DecodeF16", dst, src)
	k := active
	if n := len(dst) / k.lanes * k.lanes; n > 0 {
		k.decodeF16(n, &dst[0], &src[0])
		dst, src = dst[n:], src[2*n:]
	}
	if len(dst) > 0 {
		decodeF16Generic(len(dst), &dst[0], &src[0])
	}
}

func checkDecode(name string, dst []float32, src []byte) {
	if len(src) != 2*len(dst) {
		panic(fmt.Sprintf("gemm: %s: %d values need %d bytes, got %d", name, len(dst), 2*len(dst), len(src)))
	}
}

// decodeBF16Generic appends 16 zero bits: bfloat16 is the upper half of a float32.
func decodeBF16Generic(n int, dst *float32, src *byte) {
	d, s := unsafe.Slice(dst, n), unsafe.Slice(src, 2*n)
	for i := range d {
		d[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(s[2*i:])) << 16)
	}
}

// decodeF16Generic moves the 5-bit exponent (bias 15) to 8 bits (bias 127).
func decodeF16Generic(n int, dst *float32, src *byte) {
	d, s := unsafe.Slice(dst, n), unsafe.Slice(src, 2*n)
	for i := range d {
		h := uint32(binary.LittleEndian.Uint16(s[2*i:]))
		sign, exponent, fraction := h>>15<<31, h>>10&31, h&1023
		switch exponent {
		case 0: // zero and subnormals: fraction·2^-24, exact in float32
			d[i] = math.Float32frombits(sign | math.Float32bits(float32(fraction)*0x1p-24))
		case 31: // infinity and NaN, made quiet as the hardware does
			if fraction != 0 {
				fraction |= 512
			}
			d[i] = math.Float32frombits(sign | 255<<23 | fraction<<13)
		default:
			d[i] = math.Float32frombits(sign | (exponent+112)<<23 | fraction<<13)
		}
	}
}
