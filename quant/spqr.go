package quant

import "math"

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
	GPTQ      GPTQ
	Share     float64 // of the weights kept, in [0,1]; rounded to a whole number of weights
	Threshold float64 // τ > 0, in place of Share; SpQR's default is 0.2
}

// NewSpQR returns SpQR on act-order GPTQ.
func NewSpQR(f Format, share float64) SpQR { return SpQR{GPTQ: NewGPTQ(f), Share: share} }

// Quantize implements Quantizer.
func (m SpQR) Quantize(p Problem) (*Quantized, error) {
	if !(m.Share >= 0 && m.Share <= 1) {
		return nil, p.errorf("outlier share %g outside [0,1]", m.Share)
	}
	if !(m.Threshold >= 0 && m.Threshold < math.MaxFloat64) || m.Threshold > 0 && m.Share > 0 {
		return nil, p.errorf("outlier threshold %g beside a share of %g", m.Threshold, m.Share)
	}
	if m.GPTQ.DynamicGroups {
		return nil, p.errorf("SpQR needs static groups: outliers are chosen before the loop")
	}
	if m.GPTQ.Refine != 0 {
		return nil, p.errorf("SpQR has no rounds of refinement, got %d", m.GPTQ.Refine)
	}
	if m.Threshold > 0 && m.GPTQ.Format.Kind == Any4 {
		return nil, p.errorf("SpQR's threshold needs grids of groups alone, not %s", m.GPTQ.Format)
	}
	s, err := m.GPTQ.start(p)
	if err != nil {
		return nil, err
	}
	n, k := p.Weights.Dims()
	size, groups := m.GPTQ.Format.groups(k)
	keep := make([]bool, n*k)
	limit, lambda := 0.0, s.lambda()
	if m.Threshold > 0 {
		limit = m.Threshold * meanVariance(p.Weights, lambda)
		skip, err := leaveOneOut(s, lambda, limit)
		if err != nil {
			return nil, err
		}
		s.grids, err = fitAll(p, p.Weights, s.fitter, skip)
		if err != nil {
			return nil, err
		}
	} else if err := costliest(s, m.Share, keep); err != nil {
		return nil, err
	}
	values := make([]uint16, n*k)
	s.stored = func(row, col int, w float64, code *uint8) (float64, error) {
		g := &s.grids[row*groups+col/size]
		if limit > 0 {
			d := w - g.value(*code)
			keep[row*k+col] = d*d*lambda[col] > limit
		}
		if !keep[row*k+col] {
			return g.value(*code), nil
		}
		h := toF16(float32(w))
		v := float64(fromF16(h))
		if math.IsInf(v, 0) {
			return 0, p.errorf("outlier [%d,%d] = %g exceeds half precision", row, col, w)
		}
		*code, values[row*k+col] = g.code(0), h
		return v, nil
	}
	if err := s.run(); err != nil {
		return nil, err
	}
	return &Quantized{Base: s.pack(), Outliers: newOutliers(n, k, keep, values), Warnings: s.warnings}, nil
}

// lambda returns 1/U_jj² by column of W: what the square of an error at j adds
// to the loss of GPTQ's loop.
func (s *pass) lambda() []float64 {
	k := len(s.order)
	l := make([]float64, k)
	for i, col := range s.order {
		l[col] = 1 / (s.u[i*k+i] * s.u[i*k+i])
	}
	return l
}

// costliest marks the share of all weights whose rounding costs most, and fits
// the grids of s to the others.
func costliest(s *pass, share float64, keep []bool) error {
	p := s.problem
	n, k := p.Weights.Dims()
	grids, err := fitAll(p, p.Weights, s.fitter, nil)
	if err != nil {
		return err
	}
	inverse := make([]float64, k) // diagonal of H⁻¹ = UᵀU, by column of W
	for i := range k {
		for j := i; j < k; j++ {
			inverse[s.order[j]] += s.u[i*k+j] * s.u[i*k+j]
		}
	}
	size, groups := s.fitter.format.groups(k)
	cost := make([]float64, n*k)
	for i := range n {
		for j, w := range p.Weights.Row(i) {
			g := &grids[i*groups+j/size]
			d := float64(w) - g.value(g.code(float64(w)))
			cost[i*k+j] = d * d / inverse[j]
		}
	}
	for _, i := range largest(cost, int(math.Round(share*float64(n*k)))) {
		keep[i] = true
	}
	s.grids, err = fitAll(p, p.Weights, s.fitter, keep)
	return err
}

// meanVariance is the mean over columns of λ_j times the variance of column j.
func meanVariance(w Matrix, lambda []float64) float64 {
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
func leaveOneOut(s *pass, lambda []float64, limit float64) ([]bool, error) {
	p := s.problem
	n, k := p.Weights.Dims()
	size, groups := s.fitter.format.groups(k)
	fit := fitter{format: s.fitter.format, scale: Scale{Rule: AbsMax}}.matrix(p.Weights, nil)
	skip := make([]bool, n*k)
	err := parallel(n, func(i int) error {
		out := make([]bool, size)
		for g := range groups {
			k0, k1 := g*size, min((g+1)*size, k)
			w, l := p.Weights.Row(i)[k0:k1], lambda[k0:k1]
			loss := func() (sum float64, err error) {
				gr, err := fit.fit(w, nil, Matrix{}, out)
				for j, v := range w {
					if !out[j] {
						d := float64(v) - gr.value(gr.code(float64(v)))
						sum += l[j] * d * d
					}
				}
				return sum, err
			}
			all, err := loss()
			if err != nil {
				return p.errorf("row %d, group %d: %w", i, g, err)
			}
			for j := range w {
				out[j] = true
				without, err := loss()
				if err != nil {
					return p.errorf("row %d, group %d: %w", i, g, err)
				}
				out[j] = false
				skip[i*k+k0+j] = all-without > limit
			}
		}
		return nil
	})
	return skip, err
}

// newOutliers gathers the values [N*K] that keep marks.
func newOutliers(n, k int, keep []bool, values []uint16) *Outliers {
	o := &Outliers{N: n, K: k}
	ptr := make([]int, 1, n+1)
	var cols []int
	for i := range n {
		for j := range k {
			if keep[i*k+j] {
				cols = append(cols, j)
				o.Values = append(o.Values, values[i*k+j])
			}
		}
		ptr = append(ptr, len(cols))
	}
	o.RowPtr, o.Cols = newInts(ptr, len(cols)), newInts(cols, k-1)
	return o
}
