package mosaic

import (
	"math"
	"math/bits"
	"slices"
	"sort"
	"testing"

	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// With a diagonal H no other choice of as many blocks loses less than delta's:
// all subsets are tried.
func TestDeltaIsOptimalForDiagonalH(t *testing.T) {
	for seed := range uint64(6) {
		p := quanttest.Problem(t, 5, 18, seed)
		for i := range p.Moments.H {
			if i%19 != 0 { // off the diagonal
				p.Moments.H[i] = 0
			}
		}
		// 3 x 3 blocks, those at the borders cut short.
		m := laid(solve.RTN{Format: quant.Int4(9), Scale: grid.Scale{Rule: grid.AbsMax}}, 2, 7, 1)
		base := quanttest.Quantize(t, m.Base, p)
		tl := solve.Tiling{N: 5, K: 18, R: 2, C: 7}
		res, err := m.residual(p, tl, quant.Difference(p.Weights, base.Base), p.Diag(), baseScales{})
		if err != nil {
			t.Fatal(err)
		}
		best := make([]float64, tl.Count()+1)
		for set := range 1 << tl.Count() {
			var kept []int
			for b := range tl.Count() {
				if set>>b&1 == 1 {
					kept = append(kept, b)
				}
			}
			one := *base
			one.Residual = m.gather(tl, res, kept)
			n := bits.OnesCount(uint(set))
			if lost := quanttest.Objective(p, one.Dequantize()); best[n] == 0 || lost < best[n] {
				best[n] = lost
			}
		}
		for n := range best {
			m.Density = float64(n) / float64(tl.Count())
			quanttest.Near(t, "objective of delta's choice", quanttest.Objective(p, quanttest.Quantize(t, m, p).Dequantize()), best[n], 1e-6)
		}
	}
}

// Greedy must take, at each step, the block whose addition to those taken lowers
// the objective most, and must never end above full.
func TestGreedy(t *testing.T) {
	less := 0
	for seed := range uint64(8) {
		p := quanttest.Problem(t, 6, 70, seed)
		m := laid(solve.RTN{Format: quant.Int4(35), Scale: grid.Scale{Rule: grid.AbsMax}}, []int{1, 2, 4}[seed%3], 16, 0)
		base := quanttest.Quantize(t, m.Base, p)
		tl := solve.Tiling{N: 6, K: 70, R: m.BlockRows, C: 16}
		res, err := m.residual(p, tl, quant.Difference(p.Weights, base.Base), p.Diag(), baseScales{})
		if err != nil {
			t.Fatal(err)
		}
		lost := func(kept []int) float64 {
			sorted := slices.Clone(kept)
			sort.Ints(sorted)
			one := *base
			one.Residual = m.gather(tl, res, sorted)
			return quanttest.Objective(p, one.Dequantize())
		}
		var kept []int
		for n := 1; n <= tl.Count(); n++ {
			best, at := math.Inf(1), 0
			for b := range tl.Count() {
				if !slices.Contains(kept, b) {
					if l := lost(append(slices.Clone(kept), b)); l < best {
						best, at = l, b
					}
				}
			}
			kept = append(kept, at)
			m.Density = float64(n) / float64(tl.Count())
			m.Criterion = CriterionFull
			full := quanttest.Objective(p, quanttest.Quantize(t, m, p).Dequantize())
			m.Criterion = CriterionGreedy
			got := quanttest.Objective(p, quanttest.Quantize(t, m, p).Dequantize())
			quanttest.Near(t, "objective", got, min(best, full), 1e-4)
			if !(got <= full*(1+1e-6)) {
				t.Errorf("seed %d, %d blocks: greedy %g, full %g", seed, n, got, full)
			}
			if got < full*(1-1e-3) {
				less++
			}
		}
	}
	if less < 20 {
		t.Errorf("greedy is clearly below full in %d cases only", less)
	}
}
