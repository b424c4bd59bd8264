package reports

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/figures"
	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/rowtest"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// TestAcross puts the effects of two groups side by side as each has them, and
// leaves out what only one has.
func TestAcross(t *testing.T) {
	s := rowtest.Synthetic{Windows: 40}
	rows := append(s.Sweep("a16"), s.Sweep("a8")...)
	rows = append(rows, s.Row("spqr 2%", "a8", map[string]string{"method": "spqr", "outliers": "0.02"}, 4.7, .05))
	table := stats.Build(rows)
	lines := acrossLines(table)
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
			if !strings.HasPrefix(value, format.Percent(f.Ratio.Value)) || "["+rest != stats.Interval(f.Ratio, format.Percent) ||
				strings.Contains(value, "*") != (f.Holm < 0.05) {
				t.Errorf("group %d, %s: %q for %v %s, p %v", i, name, got, f.Ratio.Value, stats.Interval(f.Ratio, format.Percent),
					f.Holm)
			}
		}
		_, of := g.IsoPairs()
		won, lost := stats.Tally(of[[2]string{"mosaic on rtn", "rtn"}])
		if got := cell("mosaic on rtn: against rtn at equal bits", i); len(won)+len(lost) == 0 ||
			!strings.HasPrefix(got, "lower in ") {
			t.Errorf("at equal bits: %q for %d won and %d lost", got, len(won), len(lost))
		}
	}
	if one := acrossLines(stats.Build(s.Sweep("a16"))); one != nil {
		t.Errorf("one group alone has %d lines", len(one))
	}
}

// TestNoEffect calls rows that are equal in every window the same, and does not
// draw them.
func TestNoEffect(t *testing.T) {
	s := rowtest.Synthetic{Windows: 10}
	a := s.Row("rtn", "a16", map[string]string{"method": "rtn", "seed": "1"}, 4, .1)
	b := s.Row("rtn", "a16", map[string]string{"method": "rtn", "seed": "2"}, 4, .1)
	b.Trial, b.Label = "other", "rtn seed 2"
	g := stats.Build([]row.Row{a, b}).Groups[0]
	if len(g.Effects) != 1 || figures.Effects(g) != nil {
		t.Fatalf("%d effects, want 1 and no figure", len(g.Effects))
	}
	const want = "rtn: seed against 1, all else equal (1 matched pair): divergence the same with 2."
	if got := settingFinding(g.Effects); got != want {
		t.Error(got)
	}
}

// TestAcrossTables divides many groups into tables that fit a page, without lines that
// a table has no cell for.
func TestAcrossTables(t *testing.T) {
	head, line := []string{"setting"}, []string{"gptq: group 32"}
	for i := range 7 {
		head = append(head, fmt.Sprint("group ", i+1))
		line = append(line, "")
	}
	line[7] = "−3 %"
	all := append([]string{"rtn: group 32"}, strings.Fields("a b c d e f g")...)
	tables := acrossTables([][]string{head, line, all})
	if len(tables) != 2 {
		t.Fatalf("%d tables, want 2", len(tables))
	}
	first, second := tables[0].(table), tables[1].(table)
	if len(first.Columns) != 6 || len(first.Lines) != 1 || first.Lines[0].Cells[5] != "e" {
		t.Errorf("the first table is %+v", first)
	}
	if len(second.Columns) != 3 || len(second.Lines) != 2 || second.Lines[0].Cells[2] != "−3 %" {
		t.Errorf("the second table is %+v", second)
	}
}
