package grad

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/rotation"
)

// Settings say how rotations are learned.
type Settings struct {
	Steps  int
	Tokens int     // of each step, at most
	Rate   float64 // of the first step, SpinQuant's is 1.5
	Seed   uint64  // draws the order of the sequences
	// Done, if not nil, is told of every step.
	Done func(steps int, loss float64)
}

// Learn returns the rotations that steps of stochastic gradient descent on the manifold
// of orthogonal matrices make of start (Cayley SGD, Li et al. 2020, arXiv:2002.01113),
// as SpinQuant takes them: one rate for all rotations, which falls from that of the
// settings to 0 as half a cosine, no momentum, and the last step counts, not the best.
// Each step sees the next sequences in an order of the seed, as many as its tokens hold;
// one that is longer than what is left for it is cut at its end. The result is
// orthogonal to the precision of float32.
func Learn(ctx context.Context, n *Net, start Rotations, seqs [][]int32, s Settings) (Rotations, error) {
	r := append(Rotations(nil), start...)
	order := rand.New(rand.NewPCG(s.Seed, 0x591)).Perm(len(seqs))
	next := 0
	for step := range s.Steps {
		var batch [][]int32
		batch, next = take(seqs, order, next, s.Tokens)
		loss, k, err := n.Gradient(ctx, r, batch)
		if err != nil {
			return nil, fmt.Errorf("step %d: %w", step, err)
		}
		rate := s.Rate * (1 + math.Cos(math.Pi*float64(step)/float64(s.Steps))) / 2
		for i := range r {
			g := gemm.NewMatrix(r[i].Rows, r[i].Cols)
			gemm.Gemm(false, false, 1, k[i], r[i], 0, g)
			r[i] = rotation.Straighten(rotation.Cayley(r[i], g, rate))
		}
		if s.Done != nil {
			s.Done(step+1, loss)
		}
	}
	for i := range r {
		r[i] = rotation.Orthonormal(r[i])
	}
	return r, nil
}

// take returns the sequences from the place next of the order on, around its end, each
// at most once, until they have the given number of tokens, and the place after them.
func take(seqs [][]int32, order []int, next, tokens int) (batch [][]int32, after int) {
	for range order {
		ids := seqs[order[next]]
		if ids = ids[:min(len(ids), tokens)]; len(ids) < 2 {
			break
		}
		batch, tokens, next = append(batch, ids), tokens-len(ids), (next+1)%len(order)
	}
	return batch, next
}
