package plan

import (
	"slices"
	"testing"
)

func TestGroups(t *testing.T) {
	s := parse(t, `name: x
model: [a, b]
protocol: {text: t, context: 64, stride: 64, bos: true}
calibration: {text: c, tokens: 128, seed: [1, 2]}
activations: [a16, a8]
methods: [{method: rtn}, {method: none}]
`)
	// Even where trials of one group do not follow each other.
	slices.SortStableFunc(s.Trials, func(a, b Trial) int { return int(a.Calibration.Seed) - int(b.Calibration.Seed) })
	groups := Groups(s.Trials)
	if len(groups) != 4 {
		t.Fatalf("%d groups", len(groups))
	}
	for _, g := range groups {
		if len(g) != 4 {
			t.Errorf("a group of %d trials", len(g))
		}
		for _, tr := range g {
			if tr.Model != g[0].Model || tr.Calibration != g[0].Calibration {
				t.Errorf("%s and %s share a group", tr.Label, g[0].Label)
			}
		}
	}
}
