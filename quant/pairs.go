package quant

import (
	"fmt"
	"slices"

	"github.com/mosaicquant/mosaicquant/internal/half"
)

// Victim is the code of a weight of Pairs whose partner is an outlier: it is 0.
const Victim = 8

// PairLevels returns the levels of Pairs, ascending, in units of the border between normal
// weights and outliers: eighths up to 7/8 or, with flint, numbers that are denser near 0;
// and outliers up to 12, numbers with two bits of exponent and one of mantissa. PairCode
// has their codes.
func PairLevels(flint bool) *Levels {
	if flint {
		return pairLevels[1]
	}
	return pairLevels[0]
}

// PairCode returns the code of the level of that rank, and whether it is an outlier's: the
// two's complement of a normal level's rank above the middle one, or the sign and the
// three bits of the number of an outlier.
func PairCode(rank uint8) (code uint8, outlier bool) {
	const middle = pairSides
	switch d := int(rank) - middle; {
	case d > pairNormal:
		return uint8(d - pairNormal), true
	case d < -pairNormal:
		return uint8(-d-pairNormal) | 8, true
	default:
		return uint8(d) & 15, false
	}
}

// Of the levels on each side of 0, pairNormal are normal, and as many are outliers.
const (
	pairNormal = 7
	pairSides  = 2 * pairNormal
)

var pairLevels = func() (l [2]*Levels) {
	outliers := []float64{48, 64, 96, 128, 192, 256, 384}
	for i, normal := range [][]float64{{4, 8, 12, 16, 20, 24, 28}, {2, 4, 6, 8, 12, 16, 32}} {
		magnitudes := slices.Concat(normal, outliers)
		v := make([]float64, 2*pairSides+1)
		for m, x := range magnitudes { // in 32nds, as the authors have them
			v[pairSides+1+m], v[pairSides-1-m] = x/32, -x/32
		}
		l[i] = NewLevels(v)
	}
	return l
}()

// PairTop is the largest normal level.
func PairTop(flint bool) float64 { return PairLevels(flint).Value[pairSides+pairNormal] }

// pairValue decodes the code of a weight beside that of its partner.
func pairValue(l *Levels, code, partner uint8) float64 {
	switch {
	case code == Victim:
		return 0
	case partner != Victim:
		return l.Value[pairSides+int(int8(code<<4)>>4)]
	case code&8 != 0:
		return l.Value[pairSides-pairNormal-int(code&7)]
	}
	return l.Value[pairSides+pairNormal+int(code)]
}

// loadPairs decodes a tile of Pairs.
func (p *Packed) loadPairs(dst Matrix, n0, k0 int) {
	size, groups := p.Format.Groups(p.K)
	l := PairLevels(p.Tables[0] == 1)
	for i := range dst.Rows {
		row := p.Codes[(n0+i)*p.K/2 : (n0+i+1)*p.K/2]
		out := dst.Row(i)
		for j := range out {
			k := k0 + j
			scale := half.FromF16(p.Scales[(n0+i)*groups+k/size])
			out[j] = float32(pairValue(l, CodeAt(row, k, 4), CodeAt(row, k^1, 4)) * float64(scale))
		}
	}
}

// validPairs reports a choice of levels that is none, and outliers without a number.
func validPairs(p *Packed) error {
	if p.Tables[0] > 1 {
		return fmt.Errorf("levels of pairs %d, want 0 or 1", p.Tables[0])
	}
	for i, b := range p.Codes {
		if lo, hi := b&15, b>>4; lo == Victim && hi&7 == 0 || hi == Victim && lo&7 == 0 {
			return fmt.Errorf("pair %d is the byte %#x, a victim without an outlier", i, b)
		}
	}
	return nil
}
