// Package plain is an independent, slow GPTQ for tests to compare with.
package plain

import (
	"math"
	"slices"
	"sort"

	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
)

// Elimination is optimal brain quantization in a fixed order, as in Frantar et al.,
// section 3: after each column the inverse Hessian loses it by one step of
// Gaussian elimination. No Cholesky, no blocks, float64 throughout. Scales are
// static, or fitted when a group begins.
type Elimination struct {
	Format            quant.Format
	Scale             grid.Scale
	Damping           float64
	ActOrder, Dynamic bool
	Keep              [][]bool // [N][K] weights stored in half precision; nil without
	// Threshold, where not 0, keeps what the loop finds: (w-q)² over the running
	// diagonal of the inverse above it. keep then only leaves weights out of grids.
	Threshold float64
	Errors    [][]float64 // [N][K] where not nil gets w-q of the loop
	// Nearest, where not nil, rounds w at [i,c] in place of the grids.
	Nearest func(i, c int, w float64) float64
}

// Grid is a grid in real numbers: ŵ = (clamp(round(w/step) + zero) - zero)·step.
type Grid struct{ Step, Zero, lo, hi float64 }

func (g Grid) Round(w float64) float64 {
	if g.Step == 0 {
		return 0
	}
	return (max(g.lo, min(g.hi, math.RoundToEven(w/g.Step)+g.Zero)) - g.Zero) * g.Step
}

// Fit tries all 80 ranges and takes the first of the best.
func (m Elimination) Fit(w, h []float64, skip []bool) Grid {
	var used, weight []float64
	for i, v := range w {
		if skip == nil || !skip[i] {
			used, weight = append(used, v), append(weight, h[i])
		}
	}
	levels := math.Exp2(float64(m.Format.Bits))
	span := func(p float64) Grid {
		lo, hi := p*min(0, slices.Min(append(used, 0))), p*max(0, slices.Max(append(used, 0)))
		half := func(x float64) float64 { return float64(half.FromF16(half.ToF16(float32(x)))) }
		if !m.Format.Affine {
			return Grid{half(max(-lo, hi) / (levels/2 - 1)), 0, 1 - levels/2, levels/2 - 1}
		}
		g := Grid{Step: half((hi - lo) / (levels - 1)), hi: levels - 1}
		if g.Step > 0 {
			g.Zero = min(g.hi, math.RoundToEven(-lo/g.Step))
		}
		return g
	}
	best := span(1)
	if m.Scale.Rule == grid.AbsMax {
		return best
	}
	least := math.Inf(1)
	for i := range 80 {
		g := span(1 - float64(i)/100)
		var loss float64
		for j, v := range used {
			d := math.Abs(v - g.Round(v))
			if m.Scale.Rule == grid.SearchHessian {
				loss += weight[j] * d * d
			} else {
				loss += math.Pow(d, m.Scale.Norm)
			}
		}
		if loss < least {
			least, best = loss, g
		}
	}
	return best
}

// Inverse is the inverse of H + damping·mean(h) by Gauss-Jordan
// elimination; H is positive definite, so no pivoting.
func Inverse(m *quant.Moments, damping float64) [][]float64 {
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

func (m Elimination) Quantize(p quant.Problem) quant.Matrix {
	n, k := p.Weights.Dims()
	size, groups := m.Format.Groups(k)
	inv, h := Inverse(p.Moments, m.Damping), p.Moments.Diag()
	order := make([]int, k)
	for i := range order {
		order[i] = i
	}
	if m.ActOrder {
		sort.SliceStable(order, func(a, b int) bool { return h[order[a]] > h[order[b]] })
	}
	w := make([][]float64, n)
	out := p.Weights.Clone()
	grids := make([][]Grid, n)
	fit := func(i, g int) {
		var skip []bool
		if m.Keep != nil {
			skip = m.Keep[i][g*size : (g+1)*size]
		}
		grids[i][g] = m.Fit(w[i][g*size:(g+1)*size], h[g*size:(g+1)*size], skip)
	}
	for i := range w {
		for _, v := range p.Weights.Row(i) {
			w[i] = append(w[i], float64(v))
		}
		grids[i] = make([]Grid, groups)
		for g := range groups {
			fit(i, g)
		}
	}
	for at, c := range order {
		for i := range w {
			if m.Dynamic && c%size == 0 {
				fit(i, c/size)
			}
			q := grids[i][c/size].Round(w[i][c])
			if m.Nearest != nil {
				q = m.Nearest(i, c, w[i][c])
			}
			kept := m.Keep != nil && m.Keep[i][c]
			if m.Threshold > 0 {
				kept = (w[i][c]-q)*(w[i][c]-q)/inv[c][c] > m.Threshold
			}
			if kept {
				q = float64(half.FromF16(half.ToF16(float32(w[i][c]))))
			}
			if m.Errors != nil {
				m.Errors[i][c] = w[i][c] - q
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
