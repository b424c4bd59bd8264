package mosaic

import (
	"container/heap"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// greedy takes count blocks one by one, each time the one of largest gain under
// the full H given those already taken, and returns their indices. Rows of W do
// not interact, so a block changes the gains of its block row only: by
// 2·Σ q_C·H_CB·q_Bᵀ for block B taken and C left.
//
// No greedy choice is safe from being worse than a simple one, so the blocks of
// the largest gains alone (criterion full) are measured too, and the better of
// both is kept. Products are float32; the whole takes about density·N·K²
// multiplications on one core.
func greedy(p quant.Problem, t solve.Tiling, e quant.Matrix, q quantizedResidual, count int) []int {
	h := p.Moments.Float32()
	alone := fullGain(t, e, q.values, h)
	full := solve.Largest(alone, count)
	s := &search{t: t, gain: alone, taken: make([]bool, len(alone))}
	for b := range quant.CeilDiv(t.N, t.R) {
		s.rows = append(s.rows, s.best(b))
	}
	heap.Init(s)
	v := make([]float32, t.K)
	for range count {
		b := s.rows[0]
		s.taken[b] = true
		n0, n1, k0, k1 := t.Bounds(b)
		first := b / t.Cols() * t.Cols()
		for i := n0; i < n1; i++ {
			row := q.values.Row(i)
			clear(v)
			for j := k0; j < k1; j++ {
				if row[j] != 0 {
					gemm.Axpy(row[j], h.Row(j), v)
				}
			}
			for c := range t.Cols() {
				lo, hi := c*t.C, min((c+1)*t.C, t.K)
				s.gain[first+c] -= 2 * float64(gemm.Dot(row[lo:hi], v[lo:hi]))
			}
		}
		if next := s.best(b / t.Cols()); next >= 0 {
			s.rows[0] = next
			heap.Fix(s, 0)
		} else {
			heap.Pop(s)
		}
	}
	var kept []int
	for b, ok := range s.taken {
		if ok {
			kept = append(kept, b)
		}
	}
	if quant.OutputEnergy(without(t, e, q, full), p.Moments) < quant.OutputEnergy(without(t, e, q, kept), p.Moments) {
		return full
	}
	return kept
}

// search holds the best block left of each block row, the best of all on top.
type search struct {
	t     solve.Tiling
	gain  []float64 // of every block, given those taken
	taken []bool
	rows  []int // heap of blocks
}

// best returns the best block left in block row b, -1 if there is none.
func (s *search) best(b int) int {
	best := -1
	for i := b * s.t.Cols(); i < (b+1)*s.t.Cols(); i++ {
		if !s.taken[i] && (best < 0 || s.gain[i] > s.gain[best]) {
			best = i
		}
	}
	return best
}

func (s *search) Len() int      { return len(s.rows) }
func (s *search) Swap(i, j int) { s.rows[i], s.rows[j] = s.rows[j], s.rows[i] }
func (s *search) Push(x any)    { s.rows = append(s.rows, x.(int)) }

func (s *search) Less(i, j int) bool {
	a, b := s.rows[i], s.rows[j]
	return s.gain[a] > s.gain[b] || s.gain[a] == s.gain[b] && a < b
}

func (s *search) Pop() any {
	last := s.rows[len(s.rows)-1]
	s.rows = s.rows[:len(s.rows)-1]
	return last
}

// without returns e less the residual on the kept blocks.
func without(t solve.Tiling, e quant.Matrix, q quantizedResidual, kept []int) quant.Matrix {
	left := e.Clone()
	for _, b := range kept {
		n0, n1, k0, k1 := t.Bounds(b)
		for i := n0; i < n1; i++ {
			row, qr := left.Row(i), q.values.Row(i)
			for j := k0; j < k1; j++ {
				row[j] -= qr[j]
			}
		}
	}
	return left
}
