package baseline

import (
	"math"

	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
)

// OliVe rounds weights to nearest in pairs along a row (Guo et al. 2023, arXiv:2304.07493):
// a weight beyond the border is an outlier with levels of its own, and the other weight of
// its pair, the victim, becomes 0, so that its code can say so; of two outliers the first
// stays. The border of a group is searched, in steps of .02 from .75 to 2.48 of the larger
// of |mean ± 3 deviations|, for the least squared error. Normal levels are integers or
// flint, whichever loses less in the matrix by the mean of its groups.
//
// Departures: the border is half precision; groups are ours, as are formats of inputs,
// which the authors pair in the same way.
type OliVe struct {
	Group int // weights along K that share a scale, an even number; 0: the row
}

// Quantize implements quant.Quantizer.
func (q OliVe) Quantize(p quant.Problem) (*quant.Quantized, error) {
	f := quant.Format{Bits: 4, Group: q.Group, Kind: quant.Pairs}
	if err := grid.Check(p, f, grid.Scale{Rule: grid.AbsMax}, false); err != nil {
		return nil, err
	}
	var best *quant.Packed
	least := math.Inf(1)
	for _, flint := range []bool{false, true} {
		base, loss, err := paired(p, f, flint)
		if err != nil {
			return nil, err
		}
		if best == nil || loss < least {
			best, least = base, loss
		}
	}
	return &quant.Quantized{Base: best}, nil
}

// paired rounds the weights of p with normal levels of one kind, and returns the sum of the
// mean squared errors of all groups.
func paired(p quant.Problem, f quant.Format, flint bool) (base *quant.Packed, loss float64, err error) {
	n, k := p.Weights.Dims()
	size, groups := f.Groups(k)
	base = quant.NewPacked(n, k, f)
	if flint {
		base.Tables[0] = 1
	}
	levels, losses := quant.PairLevels(flint), make([]float64, n)
	top := quant.PairTop(flint)
	err = parallel.For(n, func(i int) error {
		codes := make([]uint8, k)
		for g := range groups {
			k0, k1 := g*size, min((g+1)*size, k)
			w := p.Weights.Row(i)[k0:k1]
			reach, best, least := spread3(w), uint16(0), math.Inf(1)
			for step := 75; step < 250; step += 2 {
				s := half.ToF16(float32(reach * float64(step) * .01 / top))
				if e := pairLoss(levels, w, float64(half.FromF16(s))); e < least {
					best, least = s, e
				}
			}
			if !(least < math.Inf(1)) {
				return p.Errorf("row %d, group %d: scale %g exceeds half precision", i, g, reach/top)
			}
			base.Scales[i*groups+g] = best
			for j := 0; j < len(w); j += 2 {
				codes[k0+j], codes[k0+j+1] = pairCodes(levels, w[j], w[j+1], float64(half.FromF16(best)))
			}
			losses[i] += least / float64(len(w))
		}
		quant.PackBits(base.Codes[i*k/2:(i+1)*k/2], codes, 4)
		return nil
	})
	for _, l := range losses {
		loss += l
	}
	return base, loss, err
}

// spread3 is the larger of |mean ± 3 standard deviations|.
func spread3(w []float32) float64 {
	var sum, squares float64
	for _, v := range w {
		sum += float64(v)
	}
	mean := sum / float64(len(w))
	for _, v := range w {
		squares += (float64(v) - mean) * (float64(v) - mean)
	}
	return math.Abs(mean) + 3*math.Sqrt(squares/float64(len(w)-1))
}

// pair rounds a and b, in units of the border, to the ranks of levels; zero is the rank of
// a victim.
func pair(l *quant.Levels, a, b float64) (x, y uint8) {
	x, y = l.Nearest(a), l.Nearest(b)
	if _, outlier := quant.PairCode(x); outlier {
		return x, l.Zero
	}
	if _, outlier := quant.PairCode(y); outlier {
		return l.Zero, y
	}
	return x, y
}

func pairLoss(l *quant.Levels, w []float32, scale float64) (sum float64) {
	if math.IsInf(scale, 0) {
		return math.Inf(1)
	}
	for j := 0; j < len(w); j += 2 {
		a, b := float64(w[j]), float64(w[j+1])
		if scale > 0 {
			x, y := pair(l, a/scale, b/scale)
			a, b = a-l.Value[x]*scale, b-l.Value[y]*scale
		}
		sum += a*a + b*b
	}
	return sum
}

func pairCodes(l *quant.Levels, a, b float32, scale float64) (x, y uint8) {
	if scale == 0 {
		return 0, 0
	}
	i, j := pair(l, float64(a)/scale, float64(b)/scale)
	x, first := quant.PairCode(i)
	y, second := quant.PairCode(j)
	if first {
		y = quant.Victim
	}
	if second {
		x = quant.Victim
	}
	return x, y
}
