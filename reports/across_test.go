package reports

import (
	"slices"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
)

// TestAcross puts the effects of two groups side by side as each has them, and
// leaves out what only one has.
func TestAcross(t *testing.T) {
	s := synthetic{windows: 40}
	rows := append(s.sweep("a16"), s.sweep("a8")...)
	rows = append(rows, s.row("spqr 2%", "a8", map[string]string{"method": "spqr", "outliers": "0.02"}, 4.7, .05))
	table := Build(rows)
	lines := table.acrossLines()
	if want := []string{"setting", "a16", "a8"}; !slices.Equal(lines[0], want) {
		t.Errorf("head %q, want %q", lines[0], want)
	}
	cell := func(setting string, group int) string {
		for _, l := range lines {
			if l[0] == setting {
				return l[1+group]
			}
		}
		return ""
	}
	for i, g := range table.Groups {
		for _, f := range g.Effects {
			got, name := cell(f.Method+": "+f.Axis+" "+f.To+", for "+f.From, i), f.Axis+" "+f.To
			if f.To == "0.02" {
				if got != "" {
					t.Errorf("%s, which one group has, is there: %q", name, got)
				}
				continue
			}
			value, rest, _ := strings.Cut(got, " [")
			if !strings.HasPrefix(value, percentOf(f.Ratio.Value)) || "["+rest != interval(f.Ratio, percentOf) || strings.Contains(value, "*") != (f.Holm < 0.05) {
				t.Errorf("group %d, %s: %q for %v %s, p %v", i, name, got, f.Ratio.Value, interval(f.Ratio, percentOf), f.Holm)
			}
		}
		_, of := g.isoPairs()
		won, lost := tally(of[[2]string{"mosaic on rtn", "rtn"}])
		if got := cell("mosaic on rtn: against rtn at equal bits", i); len(won)+len(lost) == 0 || !strings.HasPrefix(got, "lower in ") {
			t.Errorf("at equal bits: %q for %d won and %d lost", got, len(won), len(lost))
		}
	}
	if one := Build(s.sweep("a16")).acrossLines(); one != nil {
		t.Errorf("one group alone has %d lines", len(one))
	}
}

// TestNoEffect calls rows that are equal in every window the same, and does not
// draw them.
func TestNoEffect(t *testing.T) {
	s := synthetic{windows: 10}
	a := s.row("rtn", "a16", map[string]string{"method": "rtn", "seed": "1"}, 4, .1)
	b := s.row("rtn", "a16", map[string]string{"method": "rtn", "seed": "2"}, 4, .1)
	b.Trial, b.Label = "other", "rtn seed 2"
	g := Build([]row.Row{a, b}).Groups[0]
	if len(g.Effects) != 1 || g.effectsFigure() != nil {
		t.Fatalf("%d effects, want 1 and no figure", len(g.Effects))
	}
	if got := settingFinding(g.Effects); got != "rtn: seed against 1, all else equal (1 matched pair): divergence the same with 2." {
		t.Error(got)
	}
}
