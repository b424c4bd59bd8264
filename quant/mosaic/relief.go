package mosaic

import (
	"container/heap"
	"math"
	"sort"

	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// relief chooses count blocks for a residual that is quantized together with its
// base, and returns their indices, ascending. Such a residual helps twice: its
// own weights lose almost nothing, and they no longer stretch the scale of
// their group, so that the group's other weights are rounded on a finer grid.
//
// The gain of a block is the fall of the expected loss Σ λ_j·s²/12 over the
// weights without residual, s being the step of their group fitted to just these
// weights: the loss of a uniform rounding error, because errors themselves come
// out anew in every run of the column loop. Blocks are taken one by one, each
// time the one of largest gain; those that share groups are then scored again.
func relief(p quant.Problem, f grid.Fitter, t solve.Tiling, lambda []float64, count int) ([]int, error) {
	s := newReliefSearch(p, f, t, lambda)
	err := parallel.For(len(s.rows), func(u int) (err error) {
		s.rows[u], err = s.score(u)
		return err
	})
	if err != nil {
		return nil, err
	}
	heap.Init(s)
	kept := make([]int, 0, count)
	for range count {
		b := s.rows[0]
		s.taken[b] = true
		kept = append(kept, b)
		next, err := s.score(b/t.Cols()*quant.CeilDiv(t.K, s.span) + b%t.Cols()*t.C/s.span)
		if err != nil {
			return nil, err
		}
		if next >= 0 {
			s.rows[0] = next
			heap.Fix(s, 0)
		} else {
			heap.Pop(s)
		}
	}
	sort.Ints(kept)
	return kept, nil
}

// reliefScores returns a score for every block, such that those of the largest
// scores are the blocks that relief takes, however many: the gain of a block
// when its turn comes, or the least gain taken before it in its unit, since a
// block can become worth more once another one has gone.
func reliefScores(p quant.Problem, f grid.Fitter, t solve.Tiling, lambda []float64) ([]float64, error) {
	s := newReliefSearch(p, f, t, lambda)
	scores := make([]float64, t.Count())
	err := parallel.For(len(s.rows), func(u int) error {
		for least := math.Inf(1); ; {
			b, err := s.score(u)
			if err != nil || b < 0 {
				return err
			}
			least = min(least, s.gain[b])
			scores[b], s.taken[b] = least, true
		}
	})
	return scores, err
}

// reliefSearch is a search with one heap entry for each unit.
type reliefSearch struct {
	search
	p      quant.Problem
	fit    grid.Fitter
	lambda []float64
	size   int // columns of a group
	span   int // columns of a unit
}

func newReliefSearch(p quant.Problem, f grid.Fitter, t solve.Tiling, lambda []float64) *reliefSearch {
	size, _ := f.Format.Groups(t.K)
	s := &reliefSearch{
		search: search{t: t, gain: make([]float64, t.Count()), taken: make([]bool, t.Count())},
		p:      p, lambda: lambda, size: size,
		fit: grid.Fitter{Format: f.Format, Scale: grid.Scale{Rule: grid.AbsMax}}.ForMatrix(p.Weights, nil),
	}
	// A unit is what shares groups: the rows of a block row by the columns of a
	// group, or of a block where that is wider, or all if neither divides the
	// other. Units do not interact.
	switch {
	case size%t.C == 0:
		s.span = size
	case t.C%size == 0:
		s.span = t.C
	default:
		s.span = t.K
	}
	s.rows = make([]int, quant.CeilDiv(t.N, t.R)*quant.CeilDiv(t.K, s.span))
	return s
}

// score brings the gains of unit u up to date and returns its best block left,
// -1 if there is none.
func (s *reliefSearch) score(u int) (int, error) {
	t, units := s.t, quant.CeilDiv(s.t.K, s.span)
	k0 := u % units * s.span
	k1 := min(k0+s.span, t.K)
	first := u/units*t.Cols() + k0/t.C
	end := first + quant.CeilDiv(k1, t.C) - k0/t.C
	clear(s.gain[first:end])
	skip := make([]bool, k1-k0)
	mark := func(b, lo, hi int, v bool) (marked bool) { // within columns lo..hi-1
		_, _, c0, c1 := t.Bounds(b)
		for j := max(c0, lo); j < min(c1, hi); j++ {
			skip[j-k0], marked = v, true
		}
		return marked
	}
	for b := first; b < end; b++ {
		mark(b, k0, k1, s.taken[b])
	}
	n0, n1, _, _ := t.Bounds(first)
	for i := n0; i < n1; i++ {
		for g := k0; g < k1; g += s.size {
			now, err := s.loss(i, g, skip[g-k0:])
			if err != nil {
				return -1, err
			}
			for b := first; b < end; b++ {
				if s.taken[b] || !mark(b, g, g+s.size, true) {
					continue
				}
				then, err := s.loss(i, g, skip[g-k0:])
				if err != nil {
					return -1, err
				}
				s.gain[b] += now - then
				mark(b, g, g+s.size, false)
			}
		}
	}
	best := -1
	for b := first; b < end; b++ {
		if !s.taken[b] && (best < 0 || s.gain[b] > s.gain[best]) {
			best = b
		}
	}
	return best, nil
}

// loss is the expected loss of the group of row i that begins at column g.
func (s *reliefSearch) loss(i, g int, skip []bool) (float64, error) {
	end := min(g+s.size, s.t.K)
	skip = skip[:end-g]
	fit, err := s.fit.Fit(s.p.Weights.Row(i)[g:end], nil, quant.Matrix{}, skip)
	if err != nil {
		return 0, s.p.Errorf("row %d, group %d: %w", i, g/s.size, err)
	}
	var sum float64
	for j, v := range s.lambda[g:end] {
		if !skip[j] {
			sum += v
		}
	}
	return sum * fit.Scale * fit.Scale / 12, nil
}
