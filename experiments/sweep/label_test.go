package sweep

import (
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/testmodel"
)

// TestNewLabels: where only labels have changed nothing is computed, and rows have the
// labels and the baseline of the file as it is.
func TestNewLabels(t *testing.T) {
	model := testmodel.Short(t, "builtin:tiny-llama3") // the same for both sweeps
	text := `
name: labels
model: ` + model + `
protocol: {text: builtin:heldout, context: 64, stride: 64, bos: true, tokens: 64}
calibration: {text: builtin:calibration, tokens: 256, seed: 1}
baseline: {method: none}
methods:
  - {method: none}
  - {method: rtn, group: [128, 64], label: Before}
`
	dir, lab := t.TempDir(), newLab(t)
	if _, err := Run(t.Context(), lab, parse(t, text), Options{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	before := rows(t, dir)
	renamed := strings.NewReplacer("{method: none}\n  -", "{method: none, label: Full}\n  -", "Before", "'After, {group}'").Replace(text)
	res, err := Run(t.Context(), lab, parse(t, renamed), Options{Dir: dir})
	if err != nil || res.Ran != 0 || res.Finished != 3 {
		t.Fatalf("%+v, %v", res, err)
	}
	list, _, err := row.ReadFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	after := map[string]row.Row{} // by trial; a later row replaces an earlier one
	for _, r := range list {
		after[r.Trial] = r
	}
	for old, name := range map[string]string{"16-bit": "Full", "Before g128": "After, 128", "Before g64": "After, 64"} {
		a := before[old]
		if b := after[a.Trial]; a.Trial == "" || b.Label != name || b.Baseline != "Full" || len(after) != 3 || (b.Title == "Full") != (name == "Full") {
			t.Errorf("%s (trial %q) is now %s against %s, of %d", old, a.Trial, b.Label, b.Baseline, len(after))
		}
	}
}
