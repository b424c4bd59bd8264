package stats

import (
	"math"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
)

// TestLimits: means over layers, sums over outputs, trials by bits, models apart.
func TestLimits(t *testing.T) {
	layer := func(study, model, method string, energy, bits, lost, bound, boundBits float64) row.Limit {
		return row.Limit{Study: study, Label: method, Axes: map[string]string{"model": model, "method": method,
			"activations": "a16"},
			N: 2, K: 4, Energy: energy, BitsPerWeight: bits, Error: lost, Bound: bound, BoundBits: boundBits,
			CurveBits: []float64{4, 5}, Curve: []float64{4 * bound, bound}}
	}
	got := Limits([]row.Limit{
		layer("b", "m", "rtn", 1, 4.5, 0.1, 0.01, 3), layer("b", "m", "rtn", 3, 4.5, 0.2, 0.002, 2.5),
		layer("a", "m", "gptq", 1, 4.25, 0.05, 0.01, 3.25), layer("c", "other", "rtn", 1, 4, 0.1, 0.1, 4),
	})
	if len(got) != 2 || len(got[0].Trials) != 2 || got[0].Trials[0].Label != "gptq" {
		t.Fatalf("%+v", got)
	}
	r := got[0].Trials[1]
	if r.Family != "rtn" || r.Bits != 4.5 || math.Abs(r.Error-0.175) > 1e-12 || math.Abs(r.DB-15) > 1e-9 ||
		math.Abs(r.Above-1.75) > 1e-12 {
		t.Errorf("%+v", r)
	}
	if c := got[0].Curve; len(c) != 2 || c[1].Bits != 5 || math.Abs(c[1].Error-(0.01+3*0.002)/4) > 1e-12 {
		t.Errorf("curve %+v", c)
	}
}
