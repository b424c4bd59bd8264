package half

import "math"

// ToBF16 rounds x to bfloat16, the upper half of a float32, ties to even. A NaN
// stays one.
func ToBF16(x float32) uint16 {
	b := math.Float32bits(x)
	if x != x {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// FromBF16 returns the value of a bfloat16 number; it is exact.
func FromBF16(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }
