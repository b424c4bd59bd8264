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
		res, err := m.residual(p, tl, difference(p.Weights, base.Base), p.diag(), Format{Bits: 4}, baseScales{})
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
			one.Residual = gather(tl, res, kept, m)
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

// Greedy must take, at each step, the block whose addition to those taken lowers
// the objective most, and must never end above full.
func TestGreedy(t *testing.T) {
	less := 0
	for seed := range uint64(8) {
		p := problem(t, 6, 70, seed)
		m := NewMosaic(RTN{Int4(35), Scale{Rule: AbsMax}}, []int{1, 2, 4}[seed%3], 16, 0)
		base := quantize(t, m.Base, p)
		tl := tiling{6, 70, m.BlockRows, 16}
		res, err := m.residual(p, tl, difference(p.Weights, base.Base), p.diag(), Format{Bits: 4}, baseScales{})
		if err != nil {
			t.Fatal(err)
		}
		lost := func(kept []int) float64 {
			sorted := slices.Clone(kept)
			sort.Ints(sorted)
			one := *base
			one.Residual = gather(tl, res, sorted, m)
			return objective(p, one.Dequantize())
		}
		var kept []int
		for n := 1; n <= tl.count(); n++ {
			best, at := math.Inf(1), 0
			for b := range tl.count() {
				if !slices.Contains(kept, b) {
					if l := lost(append(slices.Clone(kept), b)); l < best {
						best, at = l, b
					}
				}
			}
			kept = append(kept, at)
			m.Density = float64(n) / float64(tl.count())
			m.Criterion = Full
			full := objective(p, quantize(t, m, p).Dequantize())
			m.Criterion = Greedy
			got := objective(p, quantize(t, m, p).Dequantize())
			near(t, "objective", got, min(best, full), 1e-4)
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
