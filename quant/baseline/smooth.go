package baseline

import (
	"fmt"
	"math"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/quant"
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
		panic(fmt.Sprintf("quant: smoothing %d channels of activations and %d of weights by %g", len(act), len(weight),
			alpha))
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
	maxima := make([][]float32, quant.CeilDiv(n, step))
	parallel.For(len(maxima), func(b int) error {
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
