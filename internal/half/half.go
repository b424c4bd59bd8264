package half

import (
	"math"
)

// MaxF16 is the largest finite half-precision number.
const MaxF16 = 65504

// ToF16 rounds x to half precision (IEEE 754 binary16), ties to even. Numbers
// beyond the range become infinities, and tiny ones subnormals or zero.
func ToF16(x float32) uint16 {
	b := math.Float32bits(x)
	sign := uint16(b >> 16 & 0x8000)
	abs := b & 0x7fffffff
	switch {
	case abs > 0x7f800000:
		return sign | 0x7e00
	case abs >= 0x477ff000: // rounds to 65520 or more
		return sign | 0x7c00
	case abs >= 0x38800000: // normal: 2^-14 and above
		// Adding half a unit, less one where the kept bit is even, and letting
		// the carry run into the exponent is round-to-nearest-even.
		abs += 0xfff + abs>>13&1
		return sign | uint16((abs-0x38000000)>>13)
	}
	// Subnormal: a multiple of 2^-24. The product is exact in float64.
	return sign | uint16(math.RoundToEven(float64(math.Float32frombits(abs))*(1<<24)))
}

// FromF16 returns the value of a half-precision number. It is exact; a signalling
// NaN becomes a quiet one, as in hardware.
func FromF16(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exp := uint32(h>>10) & 0x1f
	man := uint32(h & 0x3ff)
	switch exp {
	case 0:
		v := float32(man) / (1 << 24)
		return math.Float32frombits(math.Float32bits(v) | sign)
	case 31:
		if man != 0 {
			man |= 1 << 9
		}
		return math.Float32frombits(sign | 0x7f800000 | man<<13)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | man<<13)
}
