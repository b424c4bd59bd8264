package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/cudallm"
	"github.com/mosaicquant/mosaicquant/internal/row"
)

// TestNoEngine: what a GPU is asked for and cannot do here is one error, and no other engine does it.
func TestNoEngine(t *testing.T) {
	if cudallm.Available() == nil {
		t.Skip("there is a CUDA device")
	}
	for _, args := range [][]string{{"eval", "--text", "builtin:heldout"}, {"generate", "--prompt", "The castle"}} {
		out, err := execute(t, append(args, "--cache", t.TempDir(), "--engine", "cuda")...)
		if err == nil || !strings.HasPrefix(err.Error(), "engine cuda: ") || strings.Contains(out, "nll") {
			t.Errorf("%s: error %v, output %q", args[0], err, out)
		}
	}
}

// TestPackedOnKernels runs a packed checkpoint on the kernels in every command that does.
func TestPackedOnKernels(t *testing.T) {
	dir := t.TempDir()
	cache, packed := filepath.Join(dir, "cache"), filepath.Join(dir, "packed")
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	config := write("one.yaml", `name: one
model: builtin:tiny-llama3
protocol: {text: builtin:heldout, context: 64, stride: 64, bos: true, tokens: 256}
calibration: {text: builtin:calibration, tokens: 512, seed: 1}
activations: a8
methods:
  - {method: mosaic, density: 12.5%, block: 1x8, residual_bits: 2, residual_scale: half, index: exact}
`)
	if _, err := execute(t, "quantize", "-c", config, "--cache", cache, "-o", packed); err != nil {
		t.Fatal(err)
	}

	out, err := execute(t, "generate", "-m", packed, "--cache", cache, "--prompt", "The castle", "--tokens", "4",
		"--batch", "1,4", "--repeats", "1", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var g generateReport
	if err := json.Unmarshal([]byte(out), &g); err != nil {
		t.Fatal(err)
	}
	if g.Text == "" || g.Activations != "a8" || !strings.Contains(g.Method, `"index":"exact"`) || len(g.Batches) != 2 ||
		!(g.Batches[1].DecodeRate > 0) || !(g.Batches[1].PrefillRate > 0) {
		t.Errorf("%+v", g)
	}
	if text, err := execute(t, "generate", "-m", packed, "--cache", cache, "--prompt", "The castle", "--tokens", "4",
		"--repeats", "1"); err != nil || !strings.HasPrefix(text, "The castle"+g.Text+"\n") {
		t.Errorf("%v: %s", err, text)
	}

	nll := map[string]float64{}
	for _, execution := range []string{"fake", "packed"} {
		out, err := execute(t, "eval", "-m", packed, "--cache", cache, "--text", "builtin:heldout", "--context", "64",
			"--tokens", "256", "--json", "--execution", execution)
		if err != nil {
			t.Fatal(err)
		}
		var rep evalReport
		if err := json.Unmarshal([]byte(out), &rep); err != nil {
			t.Fatal(err)
		}
		for _, v := range rep.Text.Values {
			if v.Name == row.NLL {
				nll[execution] = v.Value
			}
		}
	}
	if d := math.Abs(nll["fake"] - nll["packed"]); !(d < .01) || d == 0 { // inputs next to a tie are rounded otherwise
		t.Errorf("negative log-likelihoods %v", nll)
	}
	if _, err := execute(t, "eval", "--text", "builtin:heldout", "--execution", "packed"); err == nil ||
		!strings.Contains(err.Error(), "builtin:tiny-llama3 has 16-bit weights") {
		t.Error(err)
	}

	bench := write("bench.yaml", `name: b
generate:
  - {model: `+packed+`, prompt: 4, tokens: 3, scheme: w4a16, group: row, variants: [w16a16, dense4, zipper, outlier16]}
`)
	results := filepath.Join(dir, "bench")
	if _, err := execute(t, "bench", "-c", bench, "--cache", cache, "-o", results); err == nil {
		t.Error("outlier16 runs without outliers")
	}
	rows, _, err := row.ReadFile(filepath.Join(results, row.File))
	if err != nil || len(rows) != 4 {
		t.Fatalf("%d rows: %v", len(rows), err)
	}
	for _, r := range rows {
		if r.Axes["scheme"] != "w4a8" || r.Axes["group"] != "128" || r.Axes["block"] != "1x8" || r.Axes["density"] != "0.125" ||
			!strings.Contains(r.Axes["method"], `"half"`) {
			t.Errorf("axes %v", r.Axes)
		}
		switch v, _ := r.Value(row.WeightBytes); r.Axes["variant"] {
		case "zipper":
			if int64(v.Value) != g.WeightBytes {
				t.Errorf("%.0f bytes, %d of generate", v.Value, g.WeightBytes)
			}
		case "outlier16":
			if r.Status != row.Failed || !strings.Contains(r.Error, "no outliers") {
				t.Errorf("outlier16: %s %q", r.Status, r.Error)
			}
		}
	}
}
