package quant

import (
	"math/bits"
	"testing"
)

// With a diagonal H no other choice of as many blocks loses less than delta's:
// all subsets are tried.
func TestDeltaIsOptimalForDiagonalH(t *testing.T) {
	for seed := range uint64(6) {
		p := problem(t, 5, 18, seed)
		for i := range p.Moments.H {
			if i%19 != 0 { // off the diagonal
				p.Moments.H[i] = 0
			}
		}
		// 3 x 3 blocks, those at the borders cut short.
		m := NewMosaic(RTN{Int4(9), Scale{Rule: AbsMax}}, 2, 7, 1)
		base := quantize(t, m.Base, p)
		tl := tiling{5, 18, 2, 7}
		res, err := m.residual(p, tl, difference(p.Weights, base.Base), Format{Bits: 4})
		if err != nil {
			t.Fatal(err)
		}
		best := make([]float64, tl.count()+1)
		for set := range 1 << tl.count() {
			var kept []int
			for b := range tl.count() {
				if set>>b&1 == 1 {
					kept = append(kept, b)
				}
			}
			one := *base
			one.Residual = tl.gather(res, kept, m)
			n := bits.OnesCount(uint(set))
			if lost := objective(p, one.Dequantize()); best[n] == 0 || lost < best[n] {
				best[n] = lost
			}
		}
		for n := range best {
			m.Density = float64(n) / float64(tl.count())
			near(t, "objective of delta's choice", objective(p, quantize(t, m, p).Dequantize()), best[n], 1e-6)
		}
	}
}
