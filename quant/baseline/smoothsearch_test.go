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

// always rounds inputs to a, however large they are.
func always(a quant.Activations) func([]float32) quant.Activations {
	return func([]float32) quant.Activations { return a }
}

// Thresholds, and the loss of every candidate, against scripts/golden/smoothquant.py.
func TestSmoothSearchGolden(t *testing.T) {
	data, err := os.ReadFile("../testdata/smoothquant.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Search struct {
			None               float64
			Alphas, Thresholds []float64
			Losses             []float64 `json:"threshold_losses"`
		}
	}
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	x, ws, top := goldenSite()
	f := quant.Format{Bits: 4, Group: 16}
	site := SmoothSite{X: x, Moments: quanttest.MomentsOf(t, x), Inputs: always(quant.Activations{Bits: 4})}
	for _, w := range ws {
		site.Layers = append(site.Layers, SmoothLayer{Weights: w, Format: &f})
	}
	loss := func(s []float32) float64 {
		l, err := site.Loss(s)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	g := golden.Search
	quanttest.Near(t, "loss without scales", loss(nil), g.None, 1e-4)
	alphas := SmoothAlphas()
	if len(alphas) != len(g.Alphas) {
		t.Fatalf("%d alphas, want %d", len(alphas), len(g.Alphas))
	}
	for i, alpha := range alphas {
		quanttest.Near(t, "loss of an alpha", loss(SmoothScales(site.Moments.AbsMax, top, alpha)), g.Alphas[i], 1e-3)
	}
	thresholds := SmoothThresholds(site.Moments.AbsMax)
	if len(thresholds) != len(g.Thresholds) {
		t.Fatalf("%d thresholds, want %d", len(thresholds), len(g.Thresholds))
	}
	for i, v := range thresholds {
		quanttest.Near(t, "threshold", v, g.Thresholds[i], 1e-6)
		quanttest.Near(t, "loss of a threshold", loss(ThresholdScales(site.Moments.AbsMax, v)), g.Losses[i], 1e-3)
	}
}

// Where nothing is rounded nothing is lost but rounding of float32, and tokens count the
// same however large they are. Static scales are those of the smoothed inputs.
func TestSmoothLoss(t *testing.T) {
	x, ws, top := goldenSite()
	m := quanttest.MomentsOf(t, x)
	s := SmoothScales(m.AbsMax, top, 0.5)
	loss := func(site SmoothSite) float64 {
		l, err := site.Loss(s)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	layers := []SmoothLayer{{Weights: ws[0]}}
	if l := loss(SmoothSite{X: x, Moments: m, Inputs: always(quant.A16), Layers: layers}); !(l < 1e-10) {
		t.Errorf("without rounding the loss is %g", l)
	}
	a4 := quant.Activations{Bits: 4}
	dynamic := loss(SmoothSite{X: x, Moments: m, Inputs: always(a4), Layers: layers})
	static := loss(SmoothSite{X: x, Moments: m, Inputs: a4.WithStatic, Layers: layers})
	if !(static > dynamic) {
		t.Errorf("static scales lose %g, those of each token %g", static, dynamic)
	}
	large := x.Clone()
	for i := 0; i < large.Rows; i += 2 {
		for j := range large.Row(i) {
			large.Row(i)[j] *= 1024
		}
	}
	if l := loss(SmoothSite{X: large, Moments: m, Inputs: always(a4), Layers: layers}); math.Abs(l-dynamic) > 1e-6 {
		t.Errorf("with half the tokens 1024 times as large the loss is %g, was %g", l, dynamic)
	}
	if l := loss(SmoothSite{X: gemm.NewMatrix(3, x.Cols), Moments: m, Inputs: always(a4), Layers: layers}); l != 0 {
		t.Errorf("tokens of zeros lose %g", l)
	}
}

func TestSmoothThresholds(t *testing.T) {
	if list := SmoothThresholds([]float32{0, 0}); list != nil {
		t.Errorf("channels of zeros have the thresholds %v", list)
	}
	list := SmoothThresholds([]float32{0, 1e-30, 3})
	if len(list) != 25 || list[0] != 3 {
		t.Fatalf("thresholds %v", list)
	}
	quanttest.Near(t, "the last threshold", list[24], 3e-4, 1e-9)
	s := ThresholdScales([]float32{0, 1, 3}, 1.5)
	if s[0] != 1 || s[1] != 1 || s[2] != 2 {
		t.Errorf("scales %v", s)
	}
}
