package quant

import "math"

// SpQR keeps the weights whose rounding costs most as half-precision outliers,
// and quantizes the rest with GPTQ (after Dettmers et al. 2023,
// arXiv:2306.03078). A weight's cost is (w-q)²/[H⁻¹]_jj with q rounded to
// nearest; the Share of all weights of the layer with the largest cost is kept.
// Outliers are left out when scales are fitted, are stored as the corrected
// weight, and only their half-precision error is propagated.
//
// Departures: the share is fixed, where SpQR derives it from a threshold found
// group by group in the loop; scales are plain half precision, not bilevel.
type SpQR struct {
	GPTQ  GPTQ
	Share float64 // of the weights kept, in [0,1]; rounded to a whole number of weights
}

// NewSpQR returns SpQR on act-order GPTQ.
func NewSpQR(f Format, share float64) SpQR { return SpQR{GPTQ: NewGPTQ(f), Share: share} }

// Quantize implements Quantizer.
func (m SpQR) Quantize(p Problem) (*Quantized, error) {
	if !(m.Share >= 0 && m.Share <= 1) {
		return nil, p.errorf("outlier share %g outside [0,1]", m.Share)
	}
	if m.GPTQ.DynamicGroups {
		return nil, p.errorf("SpQR needs static groups: outliers are chosen before the loop")
	}
	if m.GPTQ.Refine != 0 {
		return nil, p.errorf("SpQR has no rounds of refinement, got %d", m.GPTQ.Refine)
	}
	s, err := m.GPTQ.start(p)
	if err != nil {
		return nil, err
	}
	n, k := p.Weights.Dims()
	grids, err := fitAll(p, p.Weights, s.fitter, nil)
	if err != nil {
		return nil, err
	}
	inverse := make([]float64, k) // diagonal of H⁻¹ = UᵀU, by column of W
	for i := range k {
		for j := i; j < k; j++ {
			inverse[s.order[j]] += s.u[i*k+j] * s.u[i*k+j]
		}
	}
	size, groups := m.GPTQ.Format.groups(k)
	cost := make([]float64, n*k)
	for i := range n {
		for j, w := range p.Weights.Row(i) {
			g := &grids[i*groups+j/size]
			d := float64(w) - g.value(g.code(float64(w)))
			cost[i*k+j] = d * d / inverse[j]
		}
	}
	keep := make([]bool, n*k)
	for _, i := range largest(cost, int(math.Round(m.Share*float64(n*k)))) {
		keep[i] = true
	}
	if s.grids, err = fitAll(p, p.Weights, s.fitter, keep); err != nil {
		return nil, err
	}
	values := make([]uint16, n*k)
	s.stored = func(row, col int, w float64, code *uint8) (float64, error) {
		g := &s.grids[row*groups+col/size]
		if !keep[row*k+col] {
			return g.value(*code), nil
		}
		h := toF16(float32(w))
		v := float64(fromF16(h))
		if math.IsInf(v, 0) {
			return 0, p.errorf("outlier [%d,%d] = %g exceeds half precision", row, col, w)
		}
		*code, values[row*k+col] = uint8(g.zero), h
		return v, nil
	}
	if err := s.run(); err != nil {
		return nil, err
	}
	return &Quantized{Base: s.pack(), Outliers: newOutliers(n, k, keep, values), Warnings: s.warnings}, nil
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
