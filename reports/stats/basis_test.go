package stats

import (
	"path/filepath"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
)

// TestBases: rows of two bases of one model are two groups, since with and without
// outliers are two questions, and no comparison crosses them.
func TestBases(t *testing.T) {
	rows, _, err := row.ReadFile(filepath.Join("..", "..", "results", "reference", "smollm2-default", row.File))
	if err != nil {
		t.Fatal(err)
	}
	table := Build(rows)
	if len(table.Groups) != 2 {
		t.Fatalf("%d groups, want one for folded and one for rotated", len(table.Groups))
	}
	for i, basis := range []string{"folded", "rotated"} {
		g := table.Groups[i]
		if len(g.Entries) < 10 || len(g.Baseline) != 1 {
			t.Errorf("%s: %d rows, baselines %q", g.Model, len(g.Entries), g.Baseline)
		}
		for _, e := range g.Entries {
			if e.Axes["basis"] != basis || hasWord(e.Name, basis) {
				t.Errorf("%s holds %q of basis %s", g.Model, e.Name, e.Axes["basis"])
			}
		}
		if want := "models/SmolLM2-135M-Instruct.gguf, folded"; i == 0 && g.Model != want {
			t.Errorf("group %q, want %q", g.Model, want)
		}
	}
}
