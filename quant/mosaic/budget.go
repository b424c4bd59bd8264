package mosaic

import (
	"cmp"
	"container/heap"
	"slices"

	"github.com/mosaicquant/mosaicquant/quant"
)

// Scores returns the score of every block of p under the criterion, block row by
// block row, and what a kept block stores: the bytes of its codes, scales and
// index. Blocks at the borders store as much as the others. Whatever the
// density, the blocks kept are those of the largest scores; greedy and oracle have
// no such scores.
func (m Mosaic) Scores(p quant.Problem) (scores []float64, bytes int, err error) {
	if m.Criterion != nil && !m.Criterion.fixed() {
		return nil, 0, p.Errorf("criterion %q has no scores that hold for any choice of blocks", m.Criterion)
	}
	c, err := m.candidates(p)
	if err != nil {
		return nil, 0, err
	}
	return m.Criterion.single(c), m.bytes(c.t), nil
}

// Scores returns the score of every block, as those of Mosaic.
func (m Joint) Scores(p quant.Problem) (scores []float64, bytes int, err error) {
	s, t, err := m.start(p)
	if err != nil {
		return nil, 0, err
	}
	scores, err = m.Criterion.scoresOf(m, s, t, s.Lambda())
	return scores, m.bytes(t), err
}

// WithDensity returns m with another density.
func (m Mosaic) WithDensity(density float64) quant.Quantizer { m.Density = density; return m }

// WithDensity returns m with another density.
func (m Joint) WithDensity(density float64) quant.Quantizer { m.Density = density; return m }

// Share divides a budget between layers: scores[l] are those of the blocks of
// layer l, of which each costs cost[l], and count[l] of them are what l would
// keep on its own. It returns how many blocks each layer keeps if those of the
// highest score per cost are taken, whatever their layer, while they fit into
// the sum of all count·cost; ties go to the earlier layer. The scores of the
// blocks so taken never sum to less than those of count, and with equal costs
// to no less than those of any other choice. scores are sorted in place.
func Share(scores [][]float32, cost []int, count []int) []int {
	s := &sharing{scores: scores, cost: cost, taken: make([]int, len(scores))}
	left := 0
	for l, c := range count {
		left += c * cost[l]
		slices.SortFunc(scores[l], func(a, b float32) int { return cmp.Compare(b, a) })
		if len(scores[l]) > 0 {
			s.layers = append(s.layers, l)
		}
	}
	heap.Init(s)
	for s.Len() > 0 {
		l := s.layers[0]
		if cost[l] > left {
			heap.Pop(s)
			continue
		}
		left -= cost[l]
		if s.taken[l]++; s.taken[l] < len(scores[l]) {
			heap.Fix(s, 0)
		} else {
			heap.Pop(s)
		}
	}
	// With unequal costs a block that no longer fits can leave a rest.
	if total(scores, s.taken) < total(scores, count) {
		return slices.Clone(count)
	}
	return s.taken
}

// total sums the count[l] highest of each layer's sorted scores.
func total(scores [][]float32, count []int) float64 {
	var sum float64
	for l, n := range count {
		for _, v := range scores[l][:n] {
			sum += float64(v)
		}
	}
	return sum
}

// sharing is a heap of layers by the score per cost of their next block.
type sharing struct {
	scores [][]float32
	cost   []int
	taken  []int
	layers []int
}

func (s *sharing) next(l int) float64 { return float64(s.scores[l][s.taken[l]]) / float64(s.cost[l]) }

func (s *sharing) Len() int      { return len(s.layers) }
func (s *sharing) Swap(i, j int) { s.layers[i], s.layers[j] = s.layers[j], s.layers[i] }
func (s *sharing) Push(x any)    { s.layers = append(s.layers, x.(int)) }

func (s *sharing) Less(i, j int) bool {
	a, b := s.layers[i], s.layers[j]
	x, y := s.next(a), s.next(b)
	return x > y || x == y && a < b
}

func (s *sharing) Pop() any {
	last := s.layers[len(s.layers)-1]
	s.layers = s.layers[:len(s.layers)-1]
	return last
}
