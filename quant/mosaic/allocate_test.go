package mosaic

import (
	"math/rand/v2"
	"testing"
)

// Allocations against every choice there is: within the budget, never worse than
// without sharing, and the best where steps are of one size and losses convex.
func TestAllocate(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	gained := 0
	for trial := range 400 {
		convex := trial%2 == 0
		options, own := make([][]Option, 1+rng.IntN(4)), make([]int, 0, 4)
		var budget int64
		for l := range options {
			o := Option{Bytes: int64(1 + rng.IntN(9)), Loss: 100}
			fall := float64(20 + rng.IntN(20))
			for range 1 + rng.IntN(4) {
				options[l] = append(options[l], o)
				o.Bytes += 3
				o.Loss -= fall
				fall *= rng.Float64()
				if !convex {
					o = Option{Bytes: int64(1 + rng.IntN(20)), Loss: float64(rng.IntN(20))}
				}
			}
			rng.Shuffle(len(options[l]), func(i, j int) { options[l][i], options[l][j] = options[l][j], options[l][i] })
			own = append(own, rng.IntN(len(options[l])))
			budget += options[l][own[l]].Bytes
		}
		sums := func(choice []int) (bytes int64, loss float64) {
			for l, c := range choice {
				bytes, loss = bytes+options[l][c].Bytes, loss+options[l][c].Loss
			}
			return bytes, loss
		}
		bytes, lost := sums(Allocate(options, own))
		_, without := sums(own)
		if bytes > budget || lost > without {
			t.Fatalf("%d of %d bytes lose %g, without sharing %g: %v, own %v", bytes, budget, lost, without, options, own)
		}
		if lost < without {
			gained++
		}
		best := without
		for choice := make([]int, len(options)); ; {
			if b, l := sums(choice); b <= budget {
				best = min(best, l)
			}
			l := 0
			for ; l < len(choice) && choice[l] == len(options[l])-1; l++ {
				choice[l] = 0
			}
			if l == len(choice) {
				break
			}
			choice[l]++
		}
		if lost < best-1e-9 || convex && lost > best+1e-9 {
			t.Fatalf("loses %g, the best choice %g: %v, own %v", lost, best, options, own)
		}
	}
	if gained < 100 {
		t.Errorf("sharing gained in %d of 400 cases only", gained)
	}
}
