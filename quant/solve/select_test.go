package solve

import (
	"math"
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
				if got := Largest(score, n); !slices.Equal(got, want) {
					t.Fatalf("draw %d: %d of %d: %v, want %v", i, n, size, got, want)
				}
			}
		}
	}
}
