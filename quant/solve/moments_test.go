package solve

import (
	"bytes"
	"math"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
)

// Moments of the smoothed activations, from the unsmoothed moments and from the
// smoothed activations themselves; and what a layer loses is the same in both
// coordinates.
func TestScaledMoments(t *testing.T) {
	p := quanttest.Problem(t, 7, 40, 3)
	s := make([]float32, 40)
	for j := range s {
		s[j] = float32(math.Exp(3 * math.Sin(float64(j))))
	}
	m := p.Moments.Scaled(s)
	var file bytes.Buffer // which is checked when it is read
	if err := m.Encode(&file); err != nil {
		t.Fatal(err)
	}
	if _, err := quant.DecodeMoments(&file, int64(file.Len())); err != nil {
		t.Fatal(err)
	}
	for j, v := range s {
		quanttest.Near(t, "mean", float64(m.Mean[j]*v), float64(p.Moments.Mean[j]), 1e-6)
		quanttest.Near(t, "mean of magnitudes", float64(m.MeanAbs[j]*v), float64(p.Moments.MeanAbs[j]), 1e-6)
		quanttest.Near(t, "maximum", float64(m.AbsMax[j]*v), float64(p.Moments.AbsMax[j]), 1e-6)
	}
	if m.Tokens != p.Moments.Tokens {
		t.Errorf("%d tokens, want %d", m.Tokens, p.Moments.Tokens)
	}
	w, wq := p.Weights.Clone(), gemm.NewMatrix(7, 40)
	for i := range w.Rows {
		for j := range w.Row(i) {
			w.Row(i)[j] *= s[j]
		}
	}
	lost, total := quant.Distortion(p.Weights, wq, p.Moments)
	lost2, total2 := quant.Distortion(w, wq, m)
	quanttest.Near(t, "lost in smoothed channels", lost2, lost, 1e-5)
	quanttest.Near(t, "total in smoothed channels", total2, total, 1e-5)
	if _, err := factorOf(m, 0.01, true); err != nil {
		t.Error(err)
	}
}
