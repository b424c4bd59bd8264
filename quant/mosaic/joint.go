package mosaic

import (
	"math"
	"slices"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// joint quantizes base and residual together inside GPTQ's column loop: a
// weight of a kept block gets the pair of base and residual code nearest to it,
// and only the final remainder is propagated. A residual added after GPTQ
// instead undoes part of the compensation that GPTQ built into the other
// columns, and can raise tr(E·H·Eᵀ).
//
// In GPTQ's loop tr(E·H·Eᵀ), with the damped H, is the sum over all weights of
// d²/U_jj², d being the error that the loop makes at a weight and propagates.
// So 1/U_jj² takes the place of h in choosing blocks and fitting residual
// scales, and criteria that look at errors see those of a first run without
// residual. Base scales are fitted to the weights without residual alone.
func (m Mosaic) joint(p quant.Problem, f quant.Format) (*quant.Quantized, error) {
	s, t, err := m.startJoint(p)
	if err != nil {
		return nil, err
	}
	size, groups := s.Fitter.Format.Groups(t.K)
	var res *solve.Sparse
	if count := int(math.Round(m.Density * float64(t.Count()))); count > 0 {
		lambda := s.Lambda()
		kept, err := m.jointBlocks(s, t, lambda, count, f)
		if err != nil {
			return nil, err
		}
		if res, err = m.laid(s, t, kept, lambda, f); err != nil {
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
		q.Residual = packSparse(res, m)
	}
	return q, nil
}

// laid fits the grids of s to the weights without residual, and returns the residual of the
// kept blocks, without codes if it is tied to these grids.
func (m Mosaic) laid(s *solve.Pass, t solve.Tiling, kept []int, lambda []float64, f quant.Format) (*solve.Sparse, error) {
	p, full := s.Problem, s.Grids
	size, groups := s.Fitter.Format.Groups(t.K)
	skip := covered(t, kept, size)
	var err error
	if s.Grids, err = grid.FitAll(p, p.Weights, s.Fitter, skip); err != nil {
		return nil, err
	}
	if m.BaseScales {
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
	q, err := m.residual(p, t, e, lambda, f, baseScales{})
	if err != nil {
		return nil, err
	}
	return solve.NewSparse(t, m.Bits, m.RowScales, m.AllPairs, q.codes, q.scales, kept), nil
}

// startJoint validates m, whose block shape is known, and returns the base ready
// to run without residual.
func (m Mosaic) startJoint(p quant.Problem) (*solve.Pass, solve.Tiling, error) {
	var t solve.Tiling
	base, ok := m.Base.(solve.GPTQ)
	switch {
	case !ok:
		return nil, t, p.Errorf("joint residual needs a GPTQ base, got %T", m.Base)
	case base.DynamicGroups:
		return nil, t, p.Errorf("joint residual needs static groups: blocks are chosen before the loop")
	case base.Refine != 0:
		return nil, t, p.Errorf("joint residual is refined together with its base, which asks for %d rounds of its own", base.Refine)
	case m.Criterion == CriterionFull || m.Criterion == CriterionGreedy || m.Criterion == CriterionOracle:
		return nil, t, p.Errorf("joint residual with criterion %q: losses of GPTQ's loop add up without cross terms, which is delta", m.Criterion)
	}
	s, err := base.Start(p)
	if err != nil {
		return nil, t, err
	}
	s.Grids, err = grid.FitAll(p, p.Weights, s.Fitter, nil)
	return s, solve.Tiling{N: p.Weights.Rows, K: p.Weights.Cols, R: m.BlockRows, C: m.BlockCols}, err
}

// jointBlocks returns the count blocks to keep, ascending; s is ready to run
// without residual.
func (m Mosaic) jointBlocks(s *solve.Pass, t solve.Tiling, lambda []float64, count int, f quant.Format) ([]int, error) {
	if m.Criterion == CriterionRelief {
		return relief(s.Problem, s.Fitter, t, lambda, count)
	}
	scores, err := m.jointScores(s, t, lambda, f)
	if err != nil {
		return nil, err
	}
	return solve.Largest(scores, count), nil
}

// jointScores returns the score of every block: what it takes off the loop's own
// tr(E·H·Eᵀ), except for criteria that count something else. s is ready to run
// without residual, and so it is afterwards.
func (m Mosaic) jointScores(s *solve.Pass, t solve.Tiling, lambda []float64, f quant.Format) ([]float64, error) {
	p := s.Problem
	if m.Criterion == CriterionRelief {
		return reliefScores(p, s.Fitter, t, lambda)
	}
	size, groups := s.Fitter.Format.Groups(t.K)
	d := gemm.NewMatrix(t.N, t.K)
	s.Stored = func(row, col int, w float64, code *uint8) (float64, error) {
		v := s.Grids[row*groups+col/size].Value(*code)
		d.Row(row)[col] = float32(w - v)
		return v, nil
	}
	defer func() { s.Stored = nil }()
	if err := s.Run(); err != nil {
		return nil, err
	}
	q, err := m.residual(p, t, d, lambda, f, loopScales(s))
	if err != nil {
		return nil, err
	}
	return m.score(p, t, d, lambda, q), nil
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

// pack returns the residual as stored.
func packSparse(s *solve.Sparse, m Mosaic) *quant.Residual {
	if s.Tied != nil {
		return gather(s.Tiling, quantizedResidual{codes: s.Codes, scales: []uint16{half.ToF16(float32(s.Tied.Ratio))}}, s.Kept, m)
	}
	q := quantizedResidual{codes: s.Codes, scales: make([]uint16, len(s.Grids))}
	for i := range s.Grids {
		q.scales[i] = s.Grids[i].Bits
	}
	return gather(s.Tiling, q, s.Kept, m)
}
