package quant

import (
	"math"

	"github.com/mosaicquant/mosaicquant/internal/half"
)

// Rows that share a second level, and the width of a code of the first.
const (
	BilevelRows = 16
	BilevelBits = 3
)

// BilevelDecode returns scale and offset of a group, as float32 numbers.
func BilevelDecode(second []uint16, scaleCode, zeroCode uint8) (scale, offset float64) {
	at := func(s []uint16, code uint8) float64 {
		return float64(half.FromF16(s[1])) + float64(code)*float64(half.FromF16(s[0]))
	}
	scale = float64(float32(at(second[:2], scaleCode)))
	return scale, float64(float32(-at(second[2:], zeroCode) * scale))
}

// DoubleBlock is how many scales of NF4DQ share a largest magnitude.
const DoubleBlock = 256

// Dynamic are the 256 levels of bitsandbytes' signed dynamic map (Dettmers 2015,
// arXiv:1511.04561): 2^i of each sign in the decade from 10^(i-7) to 10^(i-6), i =
// 0..6, each in the middle of one of as many equal parts, and 0 and 1.
var Dynamic = func() *Levels {
	var values []float64
	for i := 6; i >= 0; i-- {
		n := 1 << i
		for j := n - 1; j >= 0; j-- {
			values = append(values, -dynamicLevel(i, j, n))
		}
	}
	values = append(values, 0)
	for i := range 7 {
		for j := range 1 << i {
			values = append(values, dynamicLevel(i, j, 1<<i))
		}
	}
	return NewLevels(append(values, 1))
}()

// dynamicLevel is the middle of part j of n of the decade i.
func dynamicLevel(i, j, n int) float64 {
	return float64(float32(math.Pow10(i-6) * (.1 + .9*(float64(j)+.5)/float64(n))))
}

// DoubleDecode returns the scale of a code.
func DoubleDecode(code uint8, largest, mean float32) float64 {
	return float64(float32(Dynamic.Value[code]*float64(largest)) + mean)
}
