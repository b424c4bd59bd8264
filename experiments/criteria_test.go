package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
)

// TestCriteriaCommand studies two block shapes and reads the file back; what
// must hold of any study does, and a second run computes nothing.
func TestCriteriaCommand(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "c.yaml")
	if err := os.WriteFile(config, []byte(`name: c
model: builtin:tiny-llama3
protocol: {text: builtin:heldout, context: 64, stride: 64, bos: true, tokens: 1024}
calibration: {text: builtin:calibration, tokens: 1024, seed: 1}
stress: {channels: 1%, gain: 10}
activations: [a16, a8]
methods:
  - {method: rtn}
  - {method: mosaic, density: [5%, 10%], block: [64x64, Nx16], criterion: [delta, weight], smoothing: 0.5}
  - {method: mosaic, base: gptq, density: 5%, block: 1x16, joint: true}
`), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"criteria", "-c", config, "-o", dir, "--cache", filepath.Join(dir, "cache"), "--densities", "10,50", "--criteria", "weight,delta,greedy,oracle"}
	text, err := execute(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"synthetic stress 1% x10, base rtn, block 64x64, group 128: 42 layers", "note: synthetic outliers", "block Nx16", "oracle"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the table", want)
		}
	}
	list, err := row.ReadCriteria(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2*42 {
		t.Fatalf("%d layers, want 42 for each of two studies", len(list))
	}
	for _, c := range list {
		if c.Axes["smoothing"] != "0.5" || c.Axes["criterion"] != "" || c.Axes["stress.gain"] != "10" || len(c.Criteria) != 4 || c.Blocks == 0 {
			t.Fatalf("%+v", c)
		}
		oracle := c.Criteria[3]
		for _, o := range c.Criteria {
			for d := range c.Densities {
				if !(o.HeldOut[d] <= oracle.HeldOut[d]+0.005) { // oracle is greedy, which is nearly the best
					t.Errorf("%s: %s recovers %v of the held-out distortion, oracle %v", c.Layer, o.Name, o.HeldOut[d], oracle.HeldOut[d])
				}
			}
			if _, ok := o.Spearman["greedy"]; ok || len(o.Overlap) != 3 || o.Name != "greedy" && len(o.Spearman) != 2 {
				t.Errorf("%s: %s has correlations %v and overlaps %v", c.Layer, o.Name, o.Spearman, o.Overlap)
			}
		}
	}
	before, err := os.ReadFile(filepath.Join(dir, row.CriteriaFile))
	if err != nil {
		t.Fatal(err)
	}
	again, err := execute(t, args...)
	if after, _ := os.ReadFile(filepath.Join(dir, row.CriteriaFile)); err != nil || again != text || string(after) != string(before) {
		t.Errorf("a second run gives another file or table (%v)", err)
	}
	for _, c := range []struct{ flag, value, want string }{
		{"--criteria", "relief", `"relief" is unknown`}, {"--densities", "0", "outside"}, {"-m", "builtin:none", "none"},
	} {
		if _, err := execute(t, append(args, c.flag, c.value)...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: error %v", c.flag, c.value, err)
		}
	}
}
