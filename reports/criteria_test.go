package reports

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/figures"
	"github.com/mosaicquant/mosaicquant/reports/rowtest"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

func TestCriteria(t *testing.T) {
	in := Input{Title: "criteria", Criteria: append(rowtest.Study("<i>b"), rowtest.Study("a")...)}
	table := in.Table()
	if len(table.Studies) != 2 || table.Studies[1].Label != "a" || len(table.Studies[0].Layers) != 2 {
		t.Fatalf("studies %+v", table.Studies)
	}
	got := criteriaLines(table.Studies[1])
	want := "[[criterion layers recovered, calibration recovered, held out above random, points gap to oracle rank " +
		"correlation with oracle blocks shared with oracle]" +
		" [random 2 10.0\u00a0% 11.0\u00a0%  +16.0 points 0.010 12.0\u00a0%] [delta 2 25.0\u00a0% 23.0\u00a0% +12.0 " +
		"[+12.0, +12.0] +4.0 points 0.600 70.0\u00a0%] [oracle 2 26.0\u00a0% 27.0\u00a0% +16.0 [+16.0, +16.0]   ]]"
	if fmt.Sprint(got) != want {
		t.Errorf("table %v\nwant  %v", got, want)
	}
	page := mustPage(t, in)
	for _, want := range []string{"How the criteria choose", `data-figure="criteria-recovered"`,
		`data-figure="criteria-overlap-2"`, "&lt;i&gt;b",
		"mean of 2 layers: oracle 27.0\u00a0%, delta 23.0\u00a0%, random 11.0\u00a0%. Above random, by intervals over " +
			"layers: oracle, delta."} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	_, second, _ := strings.Cut(page, `id="criteria-2"`)
	if !strings.Contains(page, `id="criteria-1">
<details class="fold" open>`) || !strings.HasPrefix(second, `>
<details class="fold">`) {
		t.Error("not the first study alone is unfolded")
	}
	if strings.Contains(page, "No results") || strings.Contains(page, "<i>b") {
		t.Error("a page of studies says that there are no results, or takes a label for markup")
	}
	for _, f := range figures.Criteria(table.Studies[0]) {
		if _, err := f.PNG(); err != nil {
			t.Error(err)
		}
	}
}

// TestAboveChance claims that a criterion is better than random by the interval over
// layers, not by the mean.
func TestAboveChance(t *testing.T) {
	var lines []row.Criteria
	for i, gain := range [][2]float64{{.05, .03}, {-.04, .05}, {.02, .04}} {
		of := func(name string, v float64) row.CriterionResult {
			return row.CriterionResult{Name: name, Recovered: []float64{v}, HeldOut: []float64{v}}
		}
		lines = append(lines, row.Criteria{Study: "s", Label: "s", Layer: fmt.Sprint(i), Densities: []float64{.1},
			Criteria: []row.CriterionResult{of("random", .1), of("weight", .1+gain[0]), of("delta", .1+gain[1])}})
	}
	s := stats.Studies(lines)[0]
	weight, _ := s.AboveChance("weight", .1)
	delta, _ := s.AboveChance("delta", .1)
	if !(weight.Value > 0 && weight.Low < 0) || !(delta.Low > 0) {
		t.Errorf("weight %+v, delta %+v", weight, delta)
	}
	if _, ok := s.AboveChance("random", .1); ok {
		t.Error("random is compared with itself")
	}
	want := "Above random, by intervals over layers: delta. Not told apart from random: weight."
	if got := criteriaFinding(s); !strings.HasSuffix(got, want) {
		t.Errorf("%s\nwant at its end: %s", got, want)
	}
}
