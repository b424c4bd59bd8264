package trial

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/testmodel"
)

// TestQuantizeExecutions writes a packed checkpoint of every kind of stored weights in
// every execution. One that has no kernel leaves nothing behind.
func TestQuantizeExecutions(t *testing.T) {
	sweep := fmt.Sprintf(`
name: written
model: %s
protocol: {text: builtin:heldout, context: 64, stride: 64, bos: true, tokens: 128}
calibration: {text: builtin:calibration, tokens: 512, seed: 1}
activations: [%s]
execution: [fake, packed]
methods:
  - {method: rtn, group: 32}
  - {method: gptq, group: 32, format: int4a}
  - {method: spqr, group: 32, outliers: 1%%}
  - {method: mosaic, density: 10%%, block: 16x16}
  - {method: mosaic, density: 10%%, block: 1x8, residual_bits: 2, residual_scale: base}
`, testmodel.Short(t, "builtin:tiny-llama3"), strings.Join(testedActivations, ", "))
	sw, err := plan.Parse("written.yaml", []byte(sweep))
	if err != nil {
		t.Fatal(err)
	}
	lab := testLab(t)
	written := map[string]int{}
	for _, tr := range sw.Trials {
		parent := t.TempDir()
		_, err := lab.Quantize(t.Context(), tr, filepath.Join(parent, "packed"))
		if tr.Execution == "packed" && Executable(tr) != nil {
			if left, _ := os.ReadDir(parent); err == nil || len(left) > 0 {
				t.Errorf("%s: error %v, and %d files are left", tr.Label, err, len(left))
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tr.Label, err)
			continue
		}
		written[tr.Execution]++
	}
	if written[""] < 15 || written["packed"] < 10 {
		t.Errorf("written: %v", written)
	}
}
