package mosaic

import (
	"slices"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// Joint quantizes base and residual together inside GPTQ's column loop, our own
// step beyond the paper: a weight of a kept block gets the pair of base and residual
// code nearest to it, and only the final remainder is propagated. A residual added
// after GPTQ instead undoes part of the compensation that GPTQ built into the other
// columns, and can raise tr(E·H·Eᵀ).
//
// In GPTQ's loop tr(E·H·Eᵀ), with the damped H, is the sum over all weights of
// d²/U_jj², d being the error that the loop makes at a weight and propagates.
// So 1/U_jj² takes the place of h in choosing blocks and fitting residual
// scales, and criteria that look at errors see those of a first run without
// residual. Base scales are fitted to the weights without residual alone.
type Joint struct {
	// The base: GPTQ with static groups, because blocks are chosen before the loop.
	Format   quant.Format
	Scale    grid.Scale
	Damping  float64 // added to the diagonal of H, as a share of its mean
	ActOrder bool    // takes columns by descending h
	Blocks
	Criterion JointCriterion
	// AllPairs finds the nearest of all pairs of base and residual code. Without it
	// only base codes beside the weight are tried, which misses pairs where the
	// residual's step is larger than the base's: grids that are shifted by the
	// residual lie between each other, and are finer together.
	AllPairs bool
	// Refine is a number of rounds of coordinate descent over base and residual.
	Refine int
}

// base returns GPTQ with the settings of the base.
func (m Joint) base() solve.GPTQ {
	return solve.GPTQ{Format: m.Format, Scale: m.Scale, Damping: m.Damping, ActOrder: m.ActOrder, Refine: m.Refine}
}

// Quantize implements Quantizer.
func (m Joint) Quantize(p quant.Problem) (*quant.Quantized, error) {
	s, t, err := m.start(p)
	if err != nil {
		return nil, err
	}
	size, groups := s.Fitter.Format.Groups(t.K)
	var res *solve.Sparse
	if count := m.Count(t.Count()); count > 0 {
		lambda := s.Lambda()
		kept, err := m.kept(s, t, lambda, count)
		if err != nil {
			return nil, err
		}
		if res, err = m.laid(s, t, kept, lambda); err != nil {
			return nil, err
		}
		s.Stored = func(row, col int, w float64, code *uint8) (float64, error) {
			b, r := &s.Grids[row*groups+col/size], res.At(row, col)
			if r == nil {
				return b.Value(*code), nil
			}
			var v uint8
			*code, v = res.Pair(b, r, w)
			res.Codes[row*t.K+col] = v
			return b.Value(*code) + r.Value(v), nil
		}
	}
	if err := s.Run(); err != nil {
		return nil, err
	}
	s.Refine(m.Refine, res)
	q := &quant.Quantized{Base: s.Pack(), Warnings: s.Warnings}
	if res != nil {
		q.Residual = m.packSparse(res)
	}
	return q, nil
}

// kept returns the blocks to keep, ascending.
func (m Joint) kept(s *solve.Pass, t solve.Tiling, lambda []float64, count int) ([]int, error) {
	if m.Index != quant.IndexExact {
		return m.Criterion.blocksOf(m, s, t, lambda, count)
	}
	scores, err := m.Criterion.scoresOf(m, s, t, lambda)
	return m.largest(t, scores, count), err
}

// laid fits the grids of s to the weights without residual, and returns the residual of the
// kept blocks, without codes if it is tied to these grids.
func (m Joint) laid(s *solve.Pass, t solve.Tiling, kept []int, lambda []float64) (*solve.Sparse, error) {
	p, full := s.Problem, s.Grids
	size, groups := s.Fitter.Format.Groups(t.K)
	skip := covered(t, kept, size)
	var err error
	if s.Grids, err = grid.FitAll(p, p.Weights, s.Fitter, skip); err != nil {
		return nil, err
	}
	if m.ResidualScale.tied() {
		res, beyond := tie(s, m, t, kept, lambda, full)
		if len(beyond) == 0 {
			return res, nil
		}
		for _, g := range beyond {
			row := skip[g/groups*t.K : (g/groups+1)*t.K]
			clear(row[g%groups*size : min((g%groups+1)*size, t.K)])
		}
		if s.Grids, err = grid.FitAll(p, p.Weights, s.Fitter, skip); err != nil {
			return nil, err
		}
		res, _ = tie(s, m, t, kept, lambda, full)
		return res, nil
	}
	e := p.Weights.Clone()
	for i := range t.N {
		row := e.Row(i)
		for j, w := range row {
			g := &s.Grids[i*groups+j/size]
			row[j] = w - float32(g.Value(g.Code(float64(w))))
		}
	}
	q, err := m.residual(p, t, e, lambda, baseScales{})
	if err != nil {
		return nil, err
	}
	return solve.NewSparse(t, m.Bits, m.ResidualScale == PerRow, m.AllPairs, q.codes, q.scales, kept), nil
}

// start validates m and returns its base ready to run without residual.
func (m Joint) start(p quant.Problem) (*solve.Pass, solve.Tiling, error) {
	if m.Criterion == nil {
		return nil, solve.Tiling{}, p.Errorf("joint residual has no criterion")
	}
	t, err := m.check(p, true)
	if err == nil {
		err = m.checkBase(p, m.Format)
	}
	if err != nil {
		return nil, t, err
	}
	s, err := m.base().Start(p)
	if err != nil {
		return nil, t, err
	}
	s.Grids, err = grid.FitAll(p, p.Weights, s.Fitter, nil)
	return s, t, err
}

// candidates returns a residual on all blocks for the errors of a run without. s is
// ready to run without residual, and so it is afterwards.
func (m Joint) candidates(s *solve.Pass, t solve.Tiling, lambda []float64) (c candidates, err error) {
	size, groups := s.Fitter.Format.Groups(t.K)
	c = candidates{p: s.Problem, t: t, e: gemm.NewMatrix(t.N, t.K), h: lambda}
	s.Stored = func(row, col int, w float64, code *uint8) (float64, error) {
		v := s.Grids[row*groups+col/size].Value(*code)
		c.e.Row(row)[col] = float32(w - v)
		return v, nil
	}
	defer func() { s.Stored = nil }()
	if err := s.Run(); err != nil {
		return c, err
	}
	c.q, err = m.residual(c.p, t, c.e, lambda, loopScales(s))
	return c, err
}

// covered marks the weights [N*K] of the kept blocks, but for groups that are
// kept as a whole, which need a scale all the same.
func covered(t solve.Tiling, kept []int, group int) []bool {
	skip := make([]bool, t.N*t.K)
	for _, b := range kept {
		n0, n1, k0, k1 := t.Bounds(b)
		for i := n0; i < n1; i++ {
			for j := k0; j < k1; j++ {
				skip[i*t.K+j] = true
			}
		}
	}
	for i := range t.N {
		row := skip[i*t.K : (i+1)*t.K]
		for g := 0; g < t.K; g += group {
			if part := row[g:min(g+group, t.K)]; !slices.Contains(part, false) {
				clear(part)
			}
		}
	}
	return skip
}

// packSparse returns the residual as stored.
func (m Joint) packSparse(s *solve.Sparse) *quant.Residual {
	if s.Tied != nil {
		ratio := []uint16{half.ToF16(float32(s.Tied.Ratio))}
		return m.gather(s.Tiling, quantizedResidual{codes: s.Codes, scales: ratio}, s.Kept)
	}
	q := quantizedResidual{codes: s.Codes, scales: make([]uint16, len(s.Grids))}
	for i := range s.Grids {
		q.scales[i] = s.Grids[i].Bits
	}
	return m.gather(s.Tiling, q, s.Kept)
}
