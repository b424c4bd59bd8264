package quant

import (
	"math"
	"slices"
	"sort"
)

// plain is optimal brain quantization in a fixed order, as in Frantar et al.,
// section 3: after each column the inverse Hessian loses it by one step of
// Gaussian elimination. No Cholesky, no blocks, float64 throughout. Scales are
// static, or fitted when a group begins.
type plain struct {
	format            Format
	scale             Scale
	damping           float64
	actOrder, dynamic bool
	keep              [][]bool // [N][K] weights stored in half precision; nil without
	// threshold, where not 0, keeps what the loop finds: (w-q)² over the running
	// diagonal of the inverse above it. keep then only leaves weights out of grids.
	threshold float64
	errors    [][]float64 // [N][K] where not nil gets w-q of the loop
	// nearest, where not nil, rounds w at [i,c] in place of the grids.
	nearest func(i, c int, w float64) float64
}

// plainGrid is a grid in real numbers: ŵ = (clamp(round(w/step) + zero) - zero)·step.
type plainGrid struct{ step, zero, lo, hi float64 }

func (g plainGrid) round(w float64) float64 {
	if g.step == 0 {
		return 0
	}
	return (max(g.lo, min(g.hi, math.RoundToEven(w/g.step)+g.zero)) - g.zero) * g.step
}

// fit tries all 80 ranges and takes the first of the best.
func (m plain) fit(w, h []float64, skip []bool) plainGrid {
	var used, weight []float64
	for i, v := range w {
		if skip == nil || !skip[i] {
			used, weight = append(used, v), append(weight, h[i])
		}
	}
	levels := math.Exp2(float64(m.format.Bits))
	span := func(p float64) plainGrid {
		lo, hi := p*min(0, slices.Min(append(used, 0))), p*max(0, slices.Max(append(used, 0)))
		half := func(x float64) float64 { return float64(fromF16(toF16(float32(x)))) }
		if !m.format.Affine {
			return plainGrid{half(max(-lo, hi) / (levels/2 - 1)), 0, 1 - levels/2, levels/2 - 1}
		}
		g := plainGrid{step: half((hi - lo) / (levels - 1)), hi: levels - 1}
		if g.step > 0 {
			g.zero = min(g.hi, math.RoundToEven(-lo/g.step))
		}
		return g
	}
	best := span(1)
	if m.scale.Rule == AbsMax {
		return best
	}
	least := math.Inf(1)
	for i := range 80 {
		g := span(1 - float64(i)/100)
		var loss float64
		for j, v := range used {
			d := math.Abs(v - g.round(v))
			if m.scale.Rule == SearchHessian {
				loss += weight[j] * d * d
			} else {
				loss += math.Pow(d, m.scale.Norm)
			}
		}
		if loss < least {
			least, best = loss, g
		}
	}
	return best
}

// plainInverse is the inverse of H + damping·mean(h) by Gauss-Jordan
// elimination; H is positive definite, so no pivoting.
func plainInverse(m *Moments, damping float64) [][]float64 {
	k := m.K
	h, inv := make([][]float64, k), make([][]float64, k)
	var mean float64
	for i := range h {
		h[i] = slices.Clone(m.H[i*k : (i+1)*k])
		mean += h[i][i] / float64(k)
	}
	for i := range inv {
		h[i][i] += damping * mean
		inv[i] = make([]float64, k)
		inv[i][i] = 1
	}
	for c := range k {
		d := h[c][c]
		for j := range k {
			h[c][j] /= d
			inv[c][j] /= d
		}
		for i := range k {
			if f := h[i][c]; i != c && f != 0 {
				for j := range k {
					h[i][j] -= f * h[c][j]
					inv[i][j] -= f * inv[c][j]
				}
			}
		}
	}
	return inv
}

func (m plain) quantize(p Problem) Matrix {
	n, k := p.Weights.Dims()
	size, groups := m.format.groups(k)
	inv, h := plainInverse(p.Moments, m.damping), p.Moments.Diag()
	order := make([]int, k)
	for i := range order {
		order[i] = i
	}
	if m.actOrder {
		sort.SliceStable(order, func(a, b int) bool { return h[order[a]] > h[order[b]] })
	}
	w := make([][]float64, n)
	out := p.Weights.Clone()
	grids := make([][]plainGrid, n)
	fit := func(i, g int) {
		var skip []bool
		if m.keep != nil {
			skip = m.keep[i][g*size : (g+1)*size]
		}
		grids[i][g] = m.fit(w[i][g*size:(g+1)*size], h[g*size:(g+1)*size], skip)
	}
	for i := range w {
		for _, v := range p.Weights.Row(i) {
			w[i] = append(w[i], float64(v))
		}
		grids[i] = make([]plainGrid, groups)
		for g := range groups {
			fit(i, g)
		}
	}
	for at, c := range order {
		for i := range w {
			if m.dynamic && c%size == 0 {
				fit(i, c/size)
			}
			q := grids[i][c/size].round(w[i][c])
			if m.nearest != nil {
				q = m.nearest(i, c, w[i][c])
			}
			kept := m.keep != nil && m.keep[i][c]
			if m.threshold > 0 {
				kept = (w[i][c]-q)*(w[i][c]-q)/inv[c][c] > m.threshold
			}
			if kept {
				q = float64(fromF16(toF16(float32(w[i][c]))))
			}
			if m.errors != nil {
				m.errors[i][c] = w[i][c] - q
			}
			e := (w[i][c] - q) / inv[c][c]
			for _, j := range order[at:] {
				w[i][j] -= e * inv[c][j]
			}
			out.Row(i)[c] = float32(q)
		}
		d := inv[c][c]
		for _, i := range order[at+1:] {
			f := inv[i][c] / d
			for _, j := range order[at+1:] {
				inv[i][j] -= f * inv[c][j]
			}
		}
	}
	return out
}
