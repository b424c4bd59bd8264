package baseline

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
)

// Scales of the authors' smooth_ln_fcs, and a row of what it makes of weights.
func TestSmoothQuantPublished(t *testing.T) {
	x := quanttest.Drawn(96, 48, 11)
	for i := range x.Rows {
		for j := 5; j < 48; j += 11 {
			x.Row(i)[j] *= 32
		}
	}
	ws := []quant.Matrix{quanttest.Drawn(32, 48, 12), quanttest.Drawn(16, 48, 13)}
	top := make([]float32, 48)
	for _, w := range ws {
		for i := range w.Data {
			w.Data[i] /= 8
		}
		RaiseColumnMax(top, w)
	}
	m := quanttest.MomentsOf(t, x)
	cases := quanttest.ReadPublished(t).SmoothQuant
	if len(cases) != 5 {
		t.Fatalf("%d cases, want 5", len(cases))
	}
	for _, c := range cases {
		s := SmoothScales(m.AbsMax, top, c.Alpha)
		row := make([]float32, 48)
		for j, v := range ws[1].Row(3) {
			row[j] = v * s[j]
		}
		if n := quanttest.Differing(t, s, c.Scales, 1e-6); n > 0 {
			t.Errorf("alpha %g: %d scales differ", c.Alpha, n)
		}
		if n := quanttest.Differing(t, row, c.Weight, 1e-6); n > 0 {
			t.Errorf("alpha %g: %d weights differ", c.Alpha, n)
		}
	}
}

// goldenSite returns the inputs and layers of scripts/golden/smoothquant.py, and the
// largest weight of each channel.
func goldenSite() (x quant.Matrix, ws []quant.Matrix, top []float32) {
	const k = 48
	x, ws = gemm.NewMatrix(96, k), []quant.Matrix{gemm.NewMatrix(32, k), gemm.NewMatrix(16, k)}
	quanttest.Integers(x, 11)
	for i := range x.Rows {
		for j := 5; j < k; j += 11 {
			x.Row(i)[j] *= 32
		}
	}
	top = make([]float32, k)
	for i, w := range ws {
		quanttest.Integers(w, 12+uint64(i))
		for r := range w.Rows {
			for j := range w.Row(r) {
				w.Row(r)[j] /= 8
			}
			w.Row(r)[7] = 0
		}
		RaiseColumnMax(top, w)
	}
	return x, ws, top
}

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
	x, ws, top := goldenSite()
	m := quanttest.MomentsOf(t, x)
	for _, c := range golden.Cases {
		s := SmoothScales(m.AbsMax, top, c.Alpha)
		sm := m.Scaled(s)
		for j := range k {
			quanttest.Near(t, "scale", float64(s[j]), float64(c.Scales[j]), 1e-6)
			quanttest.Near(t, "h", sm.Diag()[j], c.HDiag[j], 1e-5)
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
			quanttest.Near(t, "largest smoothed weight", got, c.WeightMax[i], 1e-5)
		}
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
