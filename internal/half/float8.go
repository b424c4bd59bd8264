package half

import (
	"math"
)

// MaxE4M3 is the largest finite E4M3 number.
const MaxE4M3 = 448

// ToE4M3 rounds x >= 0 to a float8 of four bits of exponent and three of
// mantissa (E4M3FN: bias 7, no infinities), ties to even. Numbers beyond the
// range become 448, as the OCP rule for saturation has it.
func ToE4M3(x float64) uint8 {
	if !(x > 0) {
		return 0
	}
	if x >= MaxE4M3 {
		return 0x7e
	}
	// A binade has 8 steps; below 2^-6 steps stay 2^-9.
	_, e := math.Frexp(x) // x in [2^(e-1), 2^e)
	e = max(e-1, -6)
	m := int(math.RoundToEven(math.Ldexp(x, 3-e))) // 8..16, or 0..8 for subnormals
	// A mantissa that rounds up to 16 carries into the exponent, as it should.
	return uint8((e+6)<<3 + m)
}

// FromE4M3 returns the value of an E4M3 number; 0x7f is NaN.
func FromE4M3(b uint8) float64 {
	e, m := int(b>>3&15), float64(b&7)
	switch {
	case b&0x7f == 0x7f:
		return math.NaN()
	case e == 0:
		m = math.Ldexp(m, -9)
	default:
		m = math.Ldexp(8+m, e-10)
	}
	if b >= 0x80 {
		return -m
	}
	return m
}

// maxExponent is that of the largest E8M0 scale used here: 6·2^126 would exceed
// float32.
const MaxE8M0 = 125

// ToE8M0 is the power of two 2^e as a byte, e clamped to -127..125.
func ToE8M0(e int) uint8 { return uint8(max(-127, min(MaxE8M0, e)) + 127) }

// FromE8M0 returns the value of an E8M0 number; 0xff is NaN.
func FromE8M0(b uint8) float64 {
	if b == 0xff {
		return math.NaN()
	}
	return math.Ldexp(1, int(b)-127)
}
