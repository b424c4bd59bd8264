package quant

import (
	"fmt"
	"math"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// SmoothScales returns SmoothQuant's scales (Xiao et al. 2022, arXiv:2211.10438,
// Equation 4), which move outliers of the activations X into the weights,
// X·Wᵀ = (X·diag(1/s))·(W·diag(s))ᵀ:
//
//	s_j = max|X_j|^α / max|W_j|^(1-α)
//
// from the largest activation and weight of each channel, the latter over all
// layers that read X. Weights and scales are kept from 1e-5 up, as in the
// authors' code; other than there, a channel whose activations are all zero has
// scale 1. The scales are finite and positive for finite maxima.
func SmoothScales(act, weight []float32, alpha float64) []float32 {
	if len(act) != len(weight) || !(alpha >= 0 && alpha <= 1) {
		panic(fmt.Sprintf("quant: smoothing %d channels of activations and %d of weights by %g", len(act), len(weight), alpha))
	}
	const least = 1e-5
	s := make([]float32, len(act))
	for j, x := range act {
		s[j] = 1
		if x > 0 {
			w := max(least, float64(weight[j]))
			s[j] = float32(max(least, math.Pow(float64(x), alpha)/math.Pow(w, 1-alpha)))
		}
	}
	return s
}

// RaiseColumnMax raises each m[j] to the largest |w| of column j of w [N,K].
func RaiseColumnMax(m []float32, w gemm.Source) {
	n, k := w.Dims()
	const step = 64
	maxima := make([][]float32, ceilDiv(n, step))
	parallel(len(maxima), func(b int) error {
		tile := gemm.NewMatrix(min(step, n-b*step), k)
		w.Load(tile, b*step, 0)
		top := make([]float32, k)
		for i := range tile.Rows {
			for j, v := range tile.Row(i) {
				top[j] = max(top[j], v, -v)
			}
		}
		maxima[b] = top
		return nil
	})
	for _, top := range maxima {
		for j, v := range top {
			m[j] = max(m[j], v)
		}
	}
}

// Scaled returns the moments of X·diag(1/s): H_ij/(s_i·s_j), maxima and means
// over s_j. It shares nothing with m.
func (m *Moments) Scaled(s []float32) *Moments {
	if len(s) != m.K {
		panic(fmt.Sprintf("quant: %d scales for moments of %d channels", len(s), m.K))
	}
	out := &Moments{K: m.K, Tokens: m.Tokens, H: make([]float64, len(m.H)), last: &derived{}}
	out.AbsMax, out.Mean, out.MeanAbs = divided(m.AbsMax, s), divided(m.Mean, s), divided(m.MeanAbs, s)
	inverse := make([]float64, m.K)
	for j, v := range s {
		inverse[j] = 1 / float64(v)
	}
	parallel(m.K, func(i int) error {
		row := out.H[i*m.K : (i+1)*m.K]
		for j, v := range m.H[i*m.K : (i+1)*m.K] {
			row[j] = v * (inverse[i] * inverse[j])
		}
		return nil
	})
	return out
}

// divided returns a/b.
func divided(a, b []float32) []float32 {
	q := make([]float32, len(a))
	for j, v := range a {
		q[j] = v / b[j]
	}
	return q
}
