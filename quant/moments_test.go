package quant_test

import (
	"slices"
	"testing"

	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
)

// Moments of two batches, by their definitions.
func TestMoments(t *testing.T) {
	x := quant.Matrix{Rows: 3, Cols: 2, Stride: 2, Data: []float32{1, -2, -3, 4, 5, -9}}
	a := quant.NewAccumulator(2)
	for _, part := range []quant.Matrix{x.View(0, 1, 0, 2), x.View(1, 3, 0, 2)} {
		if err := a.Add(part); err != nil {
			t.Fatal(err)
		}
	}
	m, err := a.Finish()
	if err != nil {
		t.Fatal(err)
	}
	third := func(sum float64) float64 { return float64(float32(sum / 3)) }
	for i, want := range []float64{2 * third(35), 2 * third(-59), 2 * third(-59), 2 * third(101)} {
		quanttest.Near(t, "second moment", m.H[i], want, 1e-7)
	}
	for j := range 2 {
		quanttest.Near(t, "mean", float64(m.Mean[j]), third([]float64{3, -7}[j]), 1e-7)
		quanttest.Near(t, "mean of magnitudes", float64(m.MeanAbs[j]), third([]float64{9, 15}[j]), 1e-7)
	}
	if m.Tokens != 3 || !slices.Equal(m.AbsMax, []float32{5, 9}) {
		t.Errorf("%d tokens, maxima %v", m.Tokens, m.AbsMax)
	}
}
