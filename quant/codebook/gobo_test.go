package codebook

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
)

// TestGOBO: centroids, outliers and weights are those of scripts/golden/gobo.py, and the
// ledger is the codes, the centroids, four bytes, and the outliers with their index.
func TestGOBO(t *testing.T) {
	data, err := os.ReadFile("../testdata/gobo.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden []struct {
		Bits       int
		LogDensity float64 `json:"log_density"`
		Outliers   int
		Centroids  []float64
		Error      float64 // Σ|w - ŵ|
	}
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	// the value of a code of the stored base
	quantized := func(p *quant.Packed, u int) float64 { return float64(half.FromF16(p.Tables[2+u])) }
	if len(golden) != 4 {
		t.Fatalf("%d cases", len(golden))
	}
	const n, k = 16, 256
	w := quanttest.Drawn(n, k, 31)
	for i, v := range w.Data {
		w.Data[i] = float32(math.Sinh(4*float64(v))) / 65536
	}
	for _, c := range golden {
		q := quanttest.Quantize(t, GOBO{Bits: c.Bits, LogDensity: c.LogDensity}, quant.Problem{Name: "w", Weights: w})
		if got := q.Outliers.Count(); got != c.Outliers {
			t.Errorf("%+v: %d outliers", c, got)
		}
		want := n*k*c.Bits/8 + 2*len(c.Centroids) + 4 + 2*c.Outliers + (n + 1) + c.Outliers
		if got := q.Ledger().Total(); got != int64(want) {
			t.Errorf("%d bits: %d bytes, want %d", c.Bits, got, want)
		}
		for i, v := range c.Centroids {
			if got := quantized(q.Base, i); !(math.Abs(got-v) <= 1e-3*math.Abs(v)+1e-7) {
				t.Errorf("%d bits: centroid %d is %g, want %g", c.Bits, i, got, v)
			}
		}
		var sum float64
		for i, v := range q.Dequantize().Data {
			sum += math.Abs(float64(v - w.Data[i]))
		}
		if !(math.Abs(sum-c.Error) < 1e-4*c.Error) {
			t.Errorf("%d bits: error %g, want %g", c.Bits, sum, c.Error)
		}
	}
	// A matrix of one number has no outliers, and is that number.
	for i := range w.Data {
		w.Data[i] = .25
	}
	q := quanttest.Quantize(t, GOBO{Bits: 3, LogDensity: -4}, quant.Problem{Name: "w", Weights: w})
	if q.Outliers.Count() != 0 || q.Dequantize().Data[77] != .25 {
		t.Errorf("%d outliers, weight %g", q.Outliers.Count(), q.Dequantize().Data[77])
	}
	w.Row(3)[5] = float32(math.Inf(1))
	if _, err := (GOBO{Bits: 3, LogDensity: -4}).Quantize(quant.Problem{Name: "w", Weights: w}); err == nil {
		t.Error("an infinite weight passes")
	}
}
