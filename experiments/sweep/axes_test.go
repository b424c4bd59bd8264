package sweep

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
)

// run runs a sweep file and returns its rows by label; all must have values.
func run(t *testing.T, yaml string) map[string]row.Row {
	t.Helper()
	dir, sw := t.TempDir(), parse(t, yaml)
	if _, err := Run(t.Context(), newLab(t), sw, Options{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	m := rows(t, dir)
	for _, r := range m {
		if r.Status != row.OK {
			t.Fatalf("%s: %s", r.Label, r.Error)
		}
	}
	return m
}

const head = `
name: axes
model: builtin:tiny-llama3
protocol: {text: builtin:heldout, context: 64, stride: 64, bos: true, tokens: 256}
calibration: {text: builtin:calibration, tokens: 1024, seed: 1}
`

// Synthetic outliers change nothing in 16 bits and much in 4, and say that they
// are synthetic.
func TestStress(t *testing.T) {
	if testing.Short() {
		t.Skip("checks numbers of the builtin model")
	}
	m := run(t, head+`
stress: {channels: [0%, 1%], gain: 30}
activations: [a16, a4]
methods:
  - {method: none, smoothing: [0, 0.5]}
  - {method: rtn}
  - {method: rtn, smoothing: 0.5, only: {activations: a16}}
`)
	const mark = " synthetic stress 1% x30 "
	plain, stressed := m["16-bit a16"], m["16-bit"+mark+"a16"]
	if a, b := value(t, plain, row.NLL), value(t, stressed, row.NLL); !(math.Abs(a-b) <= 1e-5*a) || a == b {
		t.Errorf("16-bit models with and without synthetic outliers have NLL %v and %v", a, b)
	}
	if kl := value(t, stressed, row.KLMean); kl != 0 {
		t.Errorf("the stressed 16-bit model differs from itself: KL %v", kl)
	}
	calm, hit := value(t, m["rtn a4"], row.KLMean), value(t, m["rtn"+mark+"a4"], row.KLMean)
	if !(hit > 1.3*calm) {
		t.Errorf("W4A4: KL %v with outliers, %v without", hit, calm)
	}
	if a, b := value(t, m["16-bit weights"+mark+"a4"], row.KLMean), value(t, m["16-bit weights smooth0.5"+mark+"a4"], row.KLMean); !(b < 0.8*a) {
		t.Errorf("W16A4 with outliers: KL %v, smoothed %v", a, b)
	}
	// SmoothQuant's scales contain the gain, whatever alpha is, and undo it.
	if a, b := value(t, m["rtn smooth0.5 a16"], row.KLMean), value(t, m["rtn smooth0.5"+mark+"a16"], row.KLMean); !(math.Abs(a-b) < 0.01*a) {
		t.Errorf("smoothed, KL is %v without synthetic outliers and %v with them", a, b)
	}
	for label, r := range m {
		marked := slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.HasPrefix(w, "synthetic outliers: 1 %") })
		if want := strings.Contains(label, "synthetic"); marked != want || (r.Axes["stress.gain"] == "30") != want {
			t.Errorf("%s: warnings %q, axes %v", label, r.Warnings, r.Axes)
		}
	}
}

// Smoothing leaves the size as it is and takes part in every method. A folded
// model is the same model: what a fine grid loses stays small.
func TestSmoothing(t *testing.T) {
	if testing.Short() {
		t.Skip("checks numbers of the builtin model")
	}
	m := run(t, head+`
methods:
  - {method: rtn, format: [int4, int8], smoothing: [0, 0.5], smoothing_sites: [all, norms], skip: {format: int8, smoothing: 0}}
  - {method: [gptq, spqr], outliers: 1%, smoothing: 0.5}
  - {method: mosaic, base: [rtn, gptq], density: 10%, block: 16x16, criterion: full, smoothing: 0.5}
`)
	if len(m) != 9 {
		t.Errorf("%d rows, want 9", len(m))
	}
	for _, sites := range []string{"", " norms-only"} {
		plain, smooth := m["rtn"], m["rtn smooth0.5"+sites]
		if a, b := value(t, plain, row.BitsPerWeight), value(t, smooth, row.BitsPerWeight); a != b {
			t.Errorf("%v bits become %v", a, b)
		}
		if a, b := value(t, plain, row.KLMean), value(t, smooth, row.KLMean); a == b {
			t.Errorf("smoothing%s changes nothing", sites)
		}
		if kl := value(t, m["rtn smooth0.5"+sites+" int8"], row.KLMean); !(kl < 1e-3) {
			t.Errorf("smoothed%s and rounded to 8 bits the model is another one: KL %v", sites, kl)
		}
	}
	// Relative output errors are of one scale in both coordinates.
	for label, r := range m {
		for _, l := range r.Layers {
			if !(l.OutputError > 0 && l.OutputError < 0.2) {
				t.Errorf("%s: %s has output error %v", label, l.Name, l.OutputError)
			}
		}
	}
}

// Budgets cost the same, whoever shares them; a common one gives layers densities
// of their own. Oracle and blocks of whole columns take part in sweeps.
func TestBudgets(t *testing.T) {
	if testing.Short() {
		t.Skip("checks numbers of the builtin model")
	}
	m := run(t, head+`
methods:
  - {method: mosaic, density: 10%, block: 16x16, budget: [layer, global, relative]}
  - {method: mosaic, density: 10%, block: 16x16, criterion: oracle}
  - {method: mosaic, density: 10%, block: Nx1, budget: global, smoothing: 0.5}
`)
	if len(m) != 5 {
		t.Fatalf("%d rows, want 5", len(m))
	}
	layer := m["mosaic 16x16 delta"]
	for label, r := range m {
		spread := map[float64]bool{}
		for _, l := range r.Layers {
			spread[math.Round(1000*l.Density)] = true
		}
		common := strings.Contains(label, "-budget")
		if common != (len(spread) > 3) {
			t.Errorf("%s has layers of %d densities", label, len(spread))
		}
		if a, b := value(t, r, row.BitsPerWeight), value(t, layer, row.BitsPerWeight); strings.Contains(label, "16x16") && !(math.Abs(a-b) < 0.001) {
			t.Errorf("%s takes %v bits, a budget for each layer %v", label, a, b)
		}
	}
	if w := strings.Join(m["mosaic 16x16 oracle"].Warnings, "\n"); !strings.Contains(w, "evaluated text") {
		t.Errorf("oracle does not say what it knows: %q", w)
	}
	if a, b := value(t, m["mosaic 16x16 oracle"], row.KLMean), value(t, layer, row.KLMean); a == b {
		t.Error("oracle chooses what delta does")
	}
}
