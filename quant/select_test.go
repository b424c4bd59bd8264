package quant

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"
)

// Radix selection against a full sort, with ties, zeros of both signs,
// infinities and scores of every size.
func TestLargest(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	draws := []func() float64{
		r.NormFloat64,
		func() float64 { return float64(r.IntN(4)) },
		func() float64 { return math.Copysign(0, r.NormFloat64()) },
		func() float64 { return math.Ldexp(r.NormFloat64(), r.IntN(2000)-1000) },
		func() float64 { return []float64{1, math.Inf(1), math.Inf(-1), 0}[r.IntN(4)] },
	}
	for i, draw := range draws {
		for _, size := range []int{1, 2, 17, 1000} {
			score := make([]float64, size)
			for j := range score {
				score[j] = draw()
			}
			order := make([]int, size)
			for j := range order {
				order[j] = j
			}
			sort.SliceStable(order, func(a, b int) bool { return score[order[a]] > score[order[b]] })
			for _, n := range []int{0, 1, size / 3, size - 1, size} {
				want := slices.Clone(order[:n])
				sort.Ints(want)
				if got := largest(score, n); !slices.Equal(got, want) {
					t.Fatalf("draw %d: %d of %d: %v, want %v", i, n, size, got, want)
				}
			}
		}
	}
}

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
