package quant

import (
	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// Distortion returns tr(E·H·Eᵀ) and tr(W·H·Wᵀ) for E = W - Ŵ: the squared error
// of the layer's output over the calibration tokens (times 2/M), and the
// squared output itself. Products are summed in float32 over 128 channels, then
// in float64. All shapes must agree.
func Distortion(w Matrix, wq gemm.Source, m *Moments) (lost, total float64) {
	return quadratic(difference(w, wq), m), quadratic(w, m)
}

// WeightError returns ||W - Ŵ||² and ||W||², summed in float64.
func WeightError(w Matrix, wq gemm.Source) (lost, total float64) {
	e := difference(w, wq)
	for i := range w.Rows {
		er := e.Row(i)
		for k, v := range w.Row(i) {
			lost += float64(er[k]) * float64(er[k])
			total += float64(v) * float64(v)
		}
	}
	return lost, total
}

// difference returns W - Ŵ.
func difference(w Matrix, wq gemm.Source) Matrix {
	e := gemm.NewMatrix(w.Rows, w.Cols)
	wq.Load(e, 0, 0)
	for i := range e.Rows {
		row := e.Row(i)
		for k, v := range w.Row(i) {
			row[k] = v - row[k]
		}
	}
	return e
}

// quadratic returns tr(E·H·Eᵀ).
func quadratic(e Matrix, m *Moments) float64 {
	const panel = 128
	k := m.K
	eh := gemm.NewMatrix(e.Rows, k)
	sums := make([]float64, e.Rows)
	for k0 := 0; k0 < k; k0 += panel {
		k1 := min(k0+panel, k)
		h := gemm.NewMatrix(k1-k0, k)
		for i, v := range m.H[k0*k : k1*k] {
			h.Data[i] = float32(v)
		}
		gemm.Gemm(false, false, 1, e.View(0, e.Rows, k0, k1), h, 0, eh)
		parallel(e.Rows, func(i int) error {
			a, b := e.Row(i), eh.Row(i)
			var s float64
			for j, v := range a {
				s += float64(v) * float64(b[j])
			}
			sums[i] += s
			return nil
		})
	}
	var sum float64
	for _, s := range sums {
		sum += s
	}
	return sum
}
