package quant

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// Scales and moments against scripts/golden/smoothquant.py.
func TestSmoothGolden(t *testing.T) {
	data, err := os.ReadFile("../testdata/smoothquant.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Cases []struct {
			Alpha     float64
			Scales    []float32
			HDiag     []float64 `json:"h_diag"`
			HRow      []float64 `json:"h_row"` // row 5
			WeightMax []float64 `json:"weight_max"`
		}
	}
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.Cases) != 5 {
		t.Fatalf("%d golden cases, want 5", len(golden.Cases))
	}
	const k = 48
	x, ws := gemm.NewMatrix(96, k), []Matrix{gemm.NewMatrix(32, k), gemm.NewMatrix(16, k)}
	integers(x, 11)
	for i := range x.Rows {
		for j := 5; j < k; j += 11 {
			x.Row(i)[j] *= 32
		}
	}
	top := make([]float32, k)
	for i, w := range ws {
		integers(w, 12+uint64(i))
		for r := range w.Rows {
			for j := range w.Row(r) {
				w.Row(r)[j] /= 8
			}
			w.Row(r)[7] = 0
		}
		RaiseColumnMax(top, w)
	}
	a := NewAccumulator(k)
	if err := a.Add(x); err != nil {
		t.Fatal(err)
	}
	m, err := a.Finish()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range golden.Cases {
		s := SmoothScales(m.AbsMax, top, c.Alpha)
		sm := m.Scaled(s)
		for j := range k {
			near(t, "scale", float64(s[j]), float64(c.Scales[j]), 1e-6)
			near(t, "h", sm.Diag()[j], c.HDiag[j], 1e-5)
			if d := math.Abs(sm.H[5*k+j] - c.HRow[j]); !(d <= 1e-5*math.Sqrt(c.HDiag[5]*c.HDiag[j])) {
				t.Errorf("alpha %g: H[5,%d] is %g, want %g", c.Alpha, j, sm.H[5*k+j], c.HRow[j])
			}
		}
		for i, w := range ws {
			var got float64
			for r := range w.Rows {
				for j, v := range w.Row(r) {
					got = max(got, math.Abs(float64(v*s[j])))
				}
			}
			near(t, "largest smoothed weight", got, c.WeightMax[i], 1e-5)
		}
	}
}

// Moments of the smoothed activations, from the unsmoothed moments and from the
// smoothed activations themselves; and what a layer loses is the same in both
// coordinates.
func TestScaledMoments(t *testing.T) {
	p := problem(t, 7, 40, 3)
	s := make([]float32, 40)
	for j := range s {
		s[j] = float32(math.Exp(3 * math.Sin(float64(j))))
	}
	m := p.Moments.Scaled(s)
	var file bytes.Buffer // which is checked when it is read
	if err := m.Encode(&file); err != nil {
		t.Fatal(err)
	}
	if _, err := DecodeMoments(&file, int64(file.Len())); err != nil {
		t.Fatal(err)
	}
	for j, v := range s {
		near(t, "mean", float64(m.Mean[j]*v), float64(p.Moments.Mean[j]), 1e-6)
		near(t, "mean of magnitudes", float64(m.MeanAbs[j]*v), float64(p.Moments.MeanAbs[j]), 1e-6)
		near(t, "maximum", float64(m.AbsMax[j]*v), float64(p.Moments.AbsMax[j]), 1e-6)
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
	lost, total := Distortion(p.Weights, wq, p.Moments)
	lost2, total2 := Distortion(w, wq, m)
	near(t, "lost in smoothed channels", lost2, lost, 1e-5)
	near(t, "total in smoothed channels", total2, total, 1e-5)
	if _, err := factorOf(m, 0.01, true); err != nil {
		t.Error(err)
	}
}

func TestSmoothScalesOfDeadChannels(t *testing.T) {
	s := SmoothScales([]float32{0, 4, 0, 1e-30, 1e30}, []float32{1, 0, 0, 1e30, 1e-30}, 0.5)
	for j, v := range s {
		if !(v >= 1e-5) || math.IsInf(float64(v), 0) {
			t.Errorf("scale %d is %g", j, v)
		}
	}
	if s[0] != 1 || s[2] != 1 {
		t.Errorf("channels without activations have the scales %g and %g, want 1", s[0], s[2])
	}
}
