package trial

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// A search keeps the function of the model; what it finds depends on the rounding of
// inputs and weights, and comes out of the store as it went in.
func TestSmoothingSearch(t *testing.T) {
	if testing.Short() {
		t.Skip("quantizes several models: slow under the race detector")
	}
	lab := testLab(t)
	sw, err := plan.Parse("search.yaml", []byte(`
name: search
model: builtin:tiny-llama3
protocol: {text: builtin:heldout, context: 64, stride: 64, bos: true, tokens: 64}
calibration: {text: builtin:calibration, tokens: 512, seed: 1}
stress: {channels: 2%, gain: 30}
activations: a4
methods:
  - {method: rtn, group: 32, smoothing_search: [alpha, global, threshold]}
  - {method: rtn, group: 64, smoothing_search: alpha, smoothing_sites: norms}
  - {method: none, smoothing_search: alpha}
`))
	if err != nil {
		t.Fatal(err)
	}
	s, err := lab.Open(t.Context(), sw.Trials[0])
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	var ids []int32
	for i := range 48 {
		ids = append(ids, int32(i*i*7%s.source.model.Config().VocabSize))
	}
	want := logits(t, s.source.model, ids, nil)
	largest := float64(gemm.MaxAbs(want.Data))
	seen := map[string]string{}
	for _, tr := range sw.Trials {
		m, scales, err := s.calibrated.smooth(t.Context(), tr)
		if err != nil {
			t.Fatal(err)
		}
		sites := map[string]int{"all": 4, "norms": 2}[tr.Method.Word("smoothing_sites")] * m.Config().Layers
		if len(scales) != sites {
			t.Errorf("%s: scales of %d sites, want %d", tr.Label, len(scales), sites)
		}
		for i, v := range logits(t, m, ids, nil).Data {
			if d := math.Abs(float64(v) - float64(want.Data[i])); !(d <= 1e-5*largest) {
				t.Fatalf("%s: logit %d differs by %.2g of the largest", tr.Label, i, d/largest)
			}
		}
		_, again, err := s.calibrated.smooth(t.Context(), tr)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(again, scales) {
			t.Errorf("%s: scales of the store are others than those computed", tr.Label)
		}
		key := fmt.Sprint(scales)
		if seen[key] != "" {
			t.Errorf("%s has the scales of %s", tr.Label, seen[key])
		}
		seen[key] = tr.Label
	}
}

// What a search finds for a site loses less than any other candidate, and where
// activations have outliers much less than no scales.
func TestSmoothingSearchFindsTheLeast(t *testing.T) {
	lab := testLab(t)
	sw, err := plan.Parse("search.yaml", []byte(`
name: search
model: builtin:tiny-llama3
protocol: {text: builtin:heldout, context: 64, stride: 64, bos: true, tokens: 64}
calibration: {text: builtin:calibration, tokens: 512, seed: 1}
stress: {channels: 2%, gain: 100}
activations: a4
activations_group: row
methods:
  - {method: rtn, group: 32, smoothing_search: [alpha, threshold]}
`))
	if err != nil {
		t.Fatal(err)
	}
	s, err := lab.Open(t.Context(), sw.Trials[0])
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, tr := range sw.Trials {
		inputs, err := activations(tr)
		if err != nil {
			t.Fatal(err)
		}
		search := &smoothSearch{calibrator: s.calibrated, pass: s.calibrated.begin(), trial: tr, inputs: inputs,
			samples: map[string]gemm.Matrix{}}
		err = s.calibrated.activations(t.Context(), s.source.model, func(site string, x gemm.Matrix) {
			search.samples[site] = evenRows(x, searchRows)
		})
		if err != nil {
			t.Fatal(err)
		}
		site, err := search.site(t.Context(), s.source.model, 0, ".mlp_in")
		if err != nil {
			t.Fatal(err)
		}
		chosen, err := search.search(site)
		if err != nil {
			t.Fatal(err)
		}
		losses := map[string]float64{}
		for name, scales := range map[string][]float32{"chosen": chosen, "none": nil} {
			if losses[name], err = site.Loss(scales); err != nil {
				t.Fatal(err)
			}
		}
		if !(losses["chosen"] < 0.5*losses["none"]) {
			t.Errorf("%s: the search loses %g, no scales %g", tr.Label, losses["chosen"], losses["none"])
		}
	}
}

// Layers of trials whose inputs are rounded otherwise are others, where scales are
// searched for.
func TestSmoothingSearchLayerKeys(t *testing.T) {
	lab := testLab(t)
	for settings, differ := range map[string]bool{"smoothing: 0.5": false, "smoothing_search: alpha": true} {
		sw, err := plan.Parse("keys.yaml", []byte(strings.ReplaceAll(`
name: keys
model: builtin:tiny-llama3
protocol: {text: builtin:heldout, context: 64, stride: 64, bos: true, tokens: 64}
calibration: {text: builtin:calibration, tokens: 128, seed: 1}
activations: [a4, a8]
methods:
  - {method: rtn, SETTINGS}
`, "SETTINGS", settings)))
		if err != nil {
			t.Fatal(err)
		}
		s, err := lab.Open(t.Context(), sw.Trials[0])
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		keys := map[string]bool{}
		for _, tr := range sw.Trials {
			q, err := s.quantization(t.Context(), tr)
			if err != nil {
				t.Fatal(err)
			}
			key, err := q.key(0)
			if err != nil {
				t.Fatal(err)
			}
			keys[key.String()] = true
		}
		if (len(keys) == 2) != differ {
			t.Errorf("%s: %d keys of two trials", settings, len(keys))
		}
	}
}
