package quant

import (
	"math"

	"github.com/mosaicquant/mosaicquant/internal/half"
)

// PowerLevels are the 15 levels of Power4 with exponent a: the q-th of ±7 is
// ±(|q|/7)^(1/a).
func PowerLevels(a float64) *Levels {
	v := make([]float64, 15)
	for u := range v {
		q := float64(u-7) / 7
		v[u] = math.Copysign(math.Pow(math.Abs(q), 1/a), q)
	}
	v[7] = 0
	return NewLevels(v)
}

// FireLevels are the 15 levels of FireQ4 under the scale of the given byte: u times its
// E4M3 number as an E4M3 number, over that number.
func FireLevels(scale uint8) *Levels { return fireLevels[scale] }

var fireLevels = func() (list [0x7f]*Levels) {
	for b := range list {
		s := half.FromE4M3(uint8(b))
		v := make([]float64, 15)
		for u := range v {
			v[u] = float64(u - 7)
			if p := math.Abs(v[u]) * s; s > 0 && p <= half.MaxE4M3 {
				v[u] = math.Copysign(half.FromE4M3(half.ToE4M3(p))/s, v[u])
			}
		}
		v[7] = 0
		list[b] = NewLevels(v)
	}
	return list
}()
