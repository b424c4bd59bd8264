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

// IntegerChoice is the bit of a scale of IF4 that says integers.
const IntegerChoice = 0x80

// ChoiceLevels are the 15 levels of a group of IF4 whose scale is the given byte.
func ChoiceLevels(scale uint8) *Levels {
	if scale&IntegerChoice != 0 {
		return sixSevenths
	}
	return e2m1
}

// sixSevenths are the integers ±7 times 6/7; ties go to the even integer.
var sixSevenths = func() *Levels {
	v := make([]float64, 15)
	for u := range v {
		v[u] = float64(u-7) * 6 / 7
	}
	l := NewLevels(v)
	l.ties(func(i int) bool { return i%2 == 0 }) // level i+1 is i-6
	return l
}()

// loadChoice decodes tiles of IF4.
func loadChoice(p *Packed, dst Matrix, n0, k0 int) {
	size, groups := p.Format.Groups(p.K)
	rowLen := PackedLen(p.K, 4)
	for i := range dst.Rows {
		codes := p.Codes[(n0+i)*rowLen : (n0+i+1)*rowLen]
		out := dst.Row(i)
		for j := 0; j < len(out); {
			g := (k0 + j) / size
			scale, _ := choiceScale(p, n0+i, g, groups)
			levels := ChoiceLevels(p.ScaleBytes[(n0+i)*groups+g]).Value
			for end := min(len(out), (g+1)*size-k0); j < end; j++ {
				out[j] = float32(levels[min(14, CodeAt(codes, k0+j, 4))] * scale)
			}
		}
	}
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
