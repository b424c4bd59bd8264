package bench

import (
	"math"
	"slices"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/experiments/trial"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/store"
)

// TestGenerateBatch: rates are those of all copies, and one copy has no axis of its own.
func TestGenerateBatch(t *testing.T) {
	b, err := plan.ParseBench("b.yaml", []byte(`{name: b, engine: cpu, generate: [{model: "random:tiny", prompt: 4, tokens: 3,
  batch: [1, 3], group: 64, block: 16x16, variants: [w16a16, zipper]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.TempDir(), func(text string) { t.Log(text) })
	if err != nil {
		t.Fatal(err)
	}
	res, err := Run(t.Context(), &trial.Lab{Store: s}, b, Options{Dir: t.TempDir()})
	if err != nil || len(res.Rows) != 4 || res.Failed > 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	for i, r := range res.Rows {
		copies := []float64{1, 1, 3, 3}[i]
		if want := []string{"", "", "3", "3"}[i]; r.Axes["batch"] != want || r.Axes["engine"] != "cpu" {
			t.Errorf("axes %v", r.Axes)
		}
		series := func(name string) []float64 {
			for _, s := range r.Series {
				if s.Name == name {
					return slices.Sorted(slices.Values(s.Values))
				}
			}
			return make([]float64, 3)
		}
		for name, tokens := range map[string]float64{row.PrefillRate: 4, row.DecodeRate: 2} {
			times := map[string]string{row.PrefillRate: row.PrefillTime, row.DecodeRate: row.DecodeTime}
			v, _ := r.Value(name)
			if want := tokens * copies / series(times[name])[1]; !(math.Abs(v.Value/want-1) < 1e-9) {
				t.Errorf("%s: %s %g, want %g", r.Label, name, v.Value, want)
			}
		}
		if v, ok := r.Value(row.GenerateTime); !ok || !(v.Value >= series(row.PrefillTime)[0]+series(row.DecodeTime)[0]) {
			t.Errorf("%s: generate_time %v", r.Label, v)
		}
	}
}
