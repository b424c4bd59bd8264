package codebook

import (
	"errors"
	"math"
	"slices"
	"sort"

	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
)

// GOBO rounds weights to the centroids of their matrix, and keeps as outliers those that
// are improbable under the normal distribution of its mean and deviation (Zadeh et al.
// 2020, arXiv:2005.03842). Centroids begin as means of bins of as many weights each, and
// move as in k-means until the mean absolute error stands.
//
// Departures: outliers are half precision, with an index as SpQR's, where the authors keep
// 32 bits; no code is published, so that the rule of outliers and the end of the loop are
// as the paper tells them.
type GOBO struct {
	Bits int // of a weight, 2 to 4
	// LogDensity is that of the normal distribution of the matrix below which a weight is
	// an outlier, -4 in the paper. It depends on the units of W.
	LogDensity float64
}

// Quantize implements quant.Quantizer.
func (q GOBO) Quantize(p quant.Problem) (*quant.Quantized, error) {
	f := quant.Format{Bits: q.Bits, Kind: quant.Codebook}
	c := quant.Codebooks{Vector: 1, First: q.Bits}
	n, k := p.Weights.Dims()
	if err := errors.Join(f.Validate(), c.Fits(n, q.Bits)); err != nil {
		return nil, p.Errorf("%w", err)
	}
	if err := grid.Check(p, quant.Int4(0), grid.Scale{Rule: grid.AbsMax}, false); err != nil {
		return nil, err
	}
	keep := outliers(p.Weights, q.LogDensity)
	var inner []float64
	values := make([]uint16, n*k)
	for i := range n {
		for j, w := range p.Weights.Row(i) {
			if at := i*k + j; !keep[at] {
				inner = append(inner, float64(w))
			} else if values[at] = half.ToF16(w); math.IsInf(float64(half.FromF16(values[at])), 0) {
				return nil, p.Errorf("outlier [%d,%d] = %g exceeds half precision", i, j, w)
			}
		}
	}
	b := &book{v: 1, values: centroids(inner, 1<<q.Bits)}
	c.Values = b.round()
	codes := make([]uint32, n*k)
	one := []float64{1}
	for i := range n {
		for j, w := range p.Weights.Row(i) {
			u, _ := b.nearest([]float64{float64(w)}, one, 0)
			codes[i*k+j] = uint32(u)
		}
	}
	base, err := quant.NewCodebook(n, k, f, c, codes)
	if err != nil {
		return nil, p.Errorf("%w", err)
	}
	return &quant.Quantized{Base: base, Outliers: quant.NewOutliers(n, k, keep, values)}, nil
}

// outliers marks the weights whose density under the normal distribution of w is below
// exp(log).
func outliers(w quant.Matrix, log float64) []bool {
	var sum, squares float64
	n, k := w.Dims()
	count := float64(n * k)
	for i := range n {
		for _, v := range w.Row(i) {
			sum += float64(v)
		}
	}
	mean := sum / count
	for i := range n {
		for _, v := range w.Row(i) {
			squares += (float64(v) - mean) * (float64(v) - mean)
		}
	}
	deviation := math.Sqrt(squares / count)
	// log density = -d²/(2σ²) - ln(σ·√2π)
	limit := 2 * (-log - math.Log(deviation*math.Sqrt(2*math.Pi))) * deviation * deviation
	keep := make([]bool, n*k)
	for i := range n {
		for j, v := range w.Row(i) {
			d := float64(v) - mean
			keep[i*k+j] = d*d > limit
		}
	}
	return keep
}

// centroids returns k centroids of w, ascending.
func centroids(w []float64, k int) []float64 {
	slices.Sort(w)
	sums := make([]float64, len(w)+1)
	for i, v := range w {
		sums[i+1] = sums[i] + v
	}
	ends := make([]int, k+1) // centroid c has w[ends[c]:ends[c+1]]
	for c := range ends {
		ends[c] = c * len(w) / k
	}
	var best []float64
	least := math.Inf(1)
	for {
		means := make([]float64, k)
		for c := range means {
			switch lo, hi := ends[c], ends[c+1]; {
			case hi > lo:
				// Rounding of the sums must not push it out of its own range.
				means[c] = max(w[lo], min(w[hi-1], (sums[hi]-sums[lo])/float64(hi-lo)))
			case best != nil:
				means[c] = best[c]
			case c > 0:
				means[c] = means[c-1]
			}
		}
		slices.Sort(means)
		var loss float64
		for c := range k {
			if c > 0 {
				middle := (means[c-1] + means[c]) / 2
				ends[c] = sort.Search(len(w), func(i int) bool { return w[i] > middle })
			}
		}
		for c, m := range means {
			for _, v := range w[ends[c]:ends[c+1]] {
				loss += math.Abs(v - m)
			}
		}
		if !(loss < least) {
			break
		}
		best, least = means, loss
	}
	if best == nil {
		return make([]float64, k)
	}
	return best
}
