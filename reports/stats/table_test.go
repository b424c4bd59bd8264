package stats

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/rowtest"
)

// TestNeverMixed checks that rows of other models, protocols and activations
// are in groups of their own, and that no comparison crosses them.
func TestNeverMixed(t *testing.T) {
	s := rowtest.Synthetic{Windows: 20}
	var rows []row.Row
	for i, change := range []string{"", "model", "protocol.context", "activations"} {
		for _, r := range s.Sweep("a16") {
			if change != "" {
				r.Axes[change] = "other"
			}
			r.Trial += fmt.Sprint(i)
			rows = append(rows, r)
		}
	}
	table := Build(rows)
	if len(table.Groups) != 4 {
		t.Fatalf("%d groups, want 4", len(table.Groups))
	}
	for _, g := range table.Groups {
		for _, e := range g.Entries {
			if e.Versus != nil && !slices.Contains(g.Entries, e.Versus.Baseline) {
				t.Errorf("%s is compared with a row of another group", e.Label)
			}
		}
		for _, i := range g.Iso {
			if !slices.Contains(g.Entries, i.Lower) {
				t.Errorf("%s meets a rival of another group", i.Entry.Label)
			}
		}
	}
}

// TestProtocolLine reads a limit of zero tokens as none.
func TestProtocolLine(t *testing.T) {
	s := rowtest.Synthetic{Windows: 3}
	for tokens, want := range map[string]string{"0": "text builtin:heldout, all tokens",
		"512": "text builtin:heldout, tokens 512"} {
		g := Build([]row.Row{s.Row("a", "a16", map[string]string{"protocol.tokens": tokens}, 4, 0.1)}).Groups[0]
		if !strings.HasSuffix(g.Protocol, want) {
			t.Errorf("tokens %s: %q", tokens, g.Protocol)
		}
	}
}

// Rows of a model with synthetic outliers are a group of their own, which says
// so: nothing is ranked or compared across.
func TestStressedModelsStandApart(t *testing.T) {
	s := rowtest.Synthetic{Windows: 20, Layers: 1}
	axes := func(stress bool) map[string]string {
		a := map[string]string{"method": "rtn", "group": "128"}
		if stress {
			a["stress.channels"], a["stress.gain"], a["stress.seed"] = "0.01", "30", "1"
		}
		return a
	}
	table := Build([]row.Row{s.Row("rtn", "a8", axes(false), 4.1, 0.02),
		s.Row("rtn synthetic stress 1% x30", "a8", axes(true), 4.1, 0.3)})
	if len(table.Groups) != 2 {
		t.Fatalf("%d groups, want 2", len(table.Groups))
	}
	const want = "builtin:tiny-llama3 with synthetic outliers (channels 0.01, gain x30, seed 1)"
	if got := table.Groups[1].Model; got != want {
		t.Errorf("the group is %q, want %q", got, want)
	}
}

// TestOrder puts named families first, and others by name.
func TestOrder(t *testing.T) {
	o := order{"rtn", "gptq", "mosaic on gptq"}
	if !(o.Compare("rtn", "gptq") < 0) || !(o.Compare("mosaic on gptq", "aaa") < 0) || !(o.Compare("m2", "m10") < 0) {
		t.Error("families are not in the order given, then by name")
	}
}
