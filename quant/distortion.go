package quant

import (
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
)

// Distortion returns tr(E·H·Eᵀ) and tr(W·H·Wᵀ) for E = W - Ŵ: the squared error
// of the layer's output over the calibration tokens (times 2/M), and the
// squared output itself. Products are summed in float32 over 128 channels, then
// in float64. All shapes must agree.
func Distortion(w Matrix, wq gemm.Source, m *Moments) (lost, total float64) {
	return OutputError(w, wq, m), OutputEnergy(w, m)
}

// OutputError returns tr(E·H·Eᵀ), as Distortion does.
func OutputError(w Matrix, wq gemm.Source, m *Moments) float64 {
	return quadratic(Difference(w, wq), m)
}

// OutputEnergy returns tr(W·H·Wᵀ), as Distortion does; it is the same for every
// way to quantize W.
func OutputEnergy(w Matrix, m *Moments) float64 { return quadratic(w, m) }

// WeightError returns ||W - Ŵ||² and ||W||², summed in float64.
func WeightError(w Matrix, wq gemm.Source) (lost, total float64) {
	e := Difference(w, wq)
	for i := range w.Rows {
		er := e.Row(i)
		for k, v := range w.Row(i) {
			lost += float64(er[k]) * float64(er[k])
			total += float64(v) * float64(v)
		}
	}
	return lost, total
}

// Difference returns W - Ŵ.
func Difference(w Matrix, wq gemm.Source) Matrix {
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

// quadratic returns tr(E·H·Eᵀ). H is symmetric, so half of it is enough: in
// each panel of 128 rows the square on the diagonal counts once, what is to the
// right of it twice.
func quadratic(e Matrix, m *Moments) float64 {
	const panel = 128
	k := m.K
	eh := gemm.NewMatrix(e.Rows, k)
	h := gemm.NewMatrix(min(panel, k), k)
	sums := make([]float64, e.Rows)
	for k0 := 0; k0 < k; k0 += panel {
		k1 := min(k0+panel, k)
		right := h.View(0, k1-k0, k0, k)
		for i := range right.Rows {
			row := right.Row(i)
			for j, v := range m.H[(k0+i)*k+k0 : (k0+i+1)*k] {
				if j >= right.Rows {
					v *= 2
				}
				row[j] = float32(v)
			}
		}
		part := eh.View(0, e.Rows, k0, k)
		gemm.Gemm(false, false, 1, e.View(0, e.Rows, k0, k1), right, 0, part)
		parallel.For(e.Rows, func(i int) error {
			var s float64
			b := part.Row(i)
			for j, v := range e.Row(i)[k0:] {
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
