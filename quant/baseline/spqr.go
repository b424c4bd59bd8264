package baseline

import (
	"math"

	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// SpQR keeps the weights whose rounding costs most as half-precision outliers,
// and quantizes the rest with GPTQ (after Dettmers et al. 2023,
// arXiv:2306.03078). A weight's cost is (w-q)²/[H⁻¹]_jj with q rounded to
// nearest; the Share of all weights of the layer with the largest cost is kept.
// Outliers are left out when scales are fitted, are stored as the corrected
// weight, and only their half-precision error is propagated.
//
// With a Threshold τ the choice is SpQR's own: T = τ·mean_j(var_n(W_nj)/U_jj²);
// a weight does not count for the grid of its group if leaving it out lowers the
// group's Σ(w-q)²/U_jj² by more than T (Algorithm 1, the leave-one-out rule); and
// it is kept if its (w-q)²/U_jj² in the loop exceeds T.
//
// SpQR's grid is the format Bilevel with groups of 16.
//
// Departures: a fixed share is not SpQR's; with a threshold, grids are found on
// W before the loop, not group by group on corrected weights, so that groups are
// contiguous under act-order and no permutation needs to be stored; every grid
// spans 0, the authors' run from the smallest to the largest weight of a group;
// a variance is a sum over N rows divided by N, not N-1; an outlier takes a
// 16-bit value and an index of 1, 2 or 4 bytes.
type SpQR struct {
	GPTQ      solve.GPTQ
	Share     float64 // of the weights kept, in [0,1]; rounded to a whole number of weights
	Threshold float64 // τ > 0, in place of Share; SpQR's default is 0.2
}

// Quantize implements Quantizer.
func (m SpQR) Quantize(p quant.Problem) (*quant.Quantized, error) {
	if !(m.Share >= 0 && m.Share <= 1) {
		return nil, p.Errorf("outlier share %g outside [0,1]", m.Share)
	}
	if !(m.Threshold >= 0 && m.Threshold < math.MaxFloat64) || m.Threshold > 0 && m.Share > 0 {
		return nil, p.Errorf("outlier threshold %g beside a share of %g", m.Threshold, m.Share)
	}
	if m.GPTQ.DynamicGroups {
		return nil, p.Errorf("SpQR needs static groups: outliers are chosen before the loop")
	}
	if m.GPTQ.Refine != 0 {
		return nil, p.Errorf("SpQR has no rounds of refinement, got %d", m.GPTQ.Refine)
	}
	if m.Threshold > 0 && grid.RowLevels(m.GPTQ.Format) {
		return nil, p.Errorf("SpQR's threshold needs grids of groups alone, not %s", m.GPTQ.Format)
	}
	s, err := m.GPTQ.Start(p)
	if err != nil {
		return nil, err
	}
	n, k := p.Weights.Dims()
	size, groups := m.GPTQ.Format.Groups(k)
	keep := make([]bool, n*k)
	limit, lambda := 0.0, s.Lambda()
	if m.Threshold > 0 {
		limit = m.Threshold * meanVariance(p.Weights, lambda)
		skip, err := leaveOneOut(s, lambda, limit)
		if err != nil {
			return nil, err
		}
		s.Grids, err = grid.FitAll(p, p.Weights, s.Fitter, skip)
		if err != nil {
			return nil, err
		}
	} else if err := costliest(s, m.Share, keep); err != nil {
		return nil, err
	}
	values := make([]uint16, n*k)
	s.Stored = func(row, col int, w float64, code *uint8) (float64, error) {
		g := &s.Grids[row*groups+col/size]
		if limit > 0 {
			d := w - g.Value(*code)
			keep[row*k+col] = d*d*lambda[col] > limit
		}
		if !keep[row*k+col] {
			return g.Value(*code), nil
		}
		h := half.ToF16(float32(w))
		v := float64(half.FromF16(h))
		if math.IsInf(v, 0) {
			return 0, p.Errorf("outlier [%d,%d] = %g exceeds half precision", row, col, w)
		}
		*code, values[row*k+col] = g.Code(0), h
		return v, nil
	}
	if err := s.Run(); err != nil {
		return nil, err
	}
	return &quant.Quantized{Base: s.Pack(), Outliers: quant.NewOutliers(n, k, keep, values), Warnings: s.Warnings}, nil
}

// costliest marks the share of all weights whose rounding costs most, and fits
// the grids of s to the others.
func costliest(s *solve.Pass, share float64, keep []bool) error {
	p := s.Problem
	n, k := p.Weights.Dims()
	grids, err := grid.FitAll(p, p.Weights, s.Fitter, nil)
	if err != nil {
		return err
	}
	inverse := make([]float64, k) // diagonal of H⁻¹ = UᵀU, by column of W
	for i := range k {
		for j := i; j < k; j++ {
			inverse[s.Order[j]] += s.U[i*k+j] * s.U[i*k+j]
		}
	}
	size, groups := s.Fitter.Format.Groups(k)
	cost := make([]float64, n*k)
	for i := range n {
		for j, w := range p.Weights.Row(i) {
			g := &grids[i*groups+j/size]
			d := float64(w) - g.Value(g.Code(float64(w)))
			cost[i*k+j] = d * d / inverse[j]
		}
	}
	for _, i := range solve.Largest(cost, int(math.Round(share*float64(n*k)))) {
		keep[i] = true
	}
	s.Grids, err = grid.FitAll(p, p.Weights, s.Fitter, keep)
	return err
}

// meanVariance is the mean over columns of λ_j times the variance of column j.
func meanVariance(w quant.Matrix, lambda []float64) float64 {
	var total float64
	for j, l := range lambda {
		var sum, squares float64
		for i := range w.Rows {
			v := float64(w.Row(i)[j])
			sum += v
			squares += v * v
		}
		mean := sum / float64(w.Rows)
		total += l * max(0, squares/float64(w.Rows)-mean*mean)
	}
	return total / float64(len(lambda))
}

// leaveOneOut marks the weights without which the loss Σ λ_j(w-q)² of their
// group falls by more than limit. It fits a group once for each of its weights.
func leaveOneOut(s *solve.Pass, lambda []float64, limit float64) ([]bool, error) {
	p := s.Problem
	n, k := p.Weights.Dims()
	size, groups := s.Fitter.Format.Groups(k)
	fit := grid.Fitter{Format: s.Fitter.Format, Scale: grid.Scale{Rule: grid.AbsMax}}.ForMatrix(p.Weights, nil)
	skip := make([]bool, n*k)
	err := parallel.For(n, func(i int) error {
		out := make([]bool, size)
		for g := range groups {
			k0, k1 := g*size, min((g+1)*size, k)
			w, l := p.Weights.Row(i)[k0:k1], lambda[k0:k1]
			loss := func() (sum float64, err error) {
				gr, err := fit.Fit(w, nil, quant.Matrix{}, out)
				for j, v := range w {
					if !out[j] {
						d := float64(v) - gr.Value(gr.Code(float64(v)))
						sum += l[j] * d * d
					}
				}
				return sum, err
			}
			all, err := loss()
			if err != nil {
				return p.Errorf("row %d, group %d: %w", i, g, err)
			}
			for j := range w {
				out[j] = true
				without, err := loss()
				if err != nil {
					return p.Errorf("row %d, group %d: %w", i, g, err)
				}
				out[j] = false
				skip[i*k+k0+j] = all-without > limit
			}
		}
		return nil
	})
	return skip, err
}
