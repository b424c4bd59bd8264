package hf

import (
	"encoding/binary"
	"math"
)

func decodeBF16(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
	}
}

func decodeF16(dst []float32, src []byte) {
	for i := range dst {
		h := uint32(binary.LittleEndian.Uint16(src[2*i:]))
		sign, exp, frac := h>>15<<31, h>>10&31, h&1023
		switch exp {
		case 0: // zero and subnormals: frac * 2^-24 is exact
			dst[i] = math.Float32frombits(sign | math.Float32bits(float32(frac)*0x1p-24))
		case 31:
			dst[i] = math.Float32frombits(sign | 0x7f800000 | frac<<13)
		default:
			dst[i] = math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
		}
	}
}
