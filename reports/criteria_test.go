package reports

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
)

// study makes up what two layers' criteria chose.
func study(label string) []row.Criteria {
	var out []row.Criteria
	for l := range 2 {
		v := .02 * float64(l)
		out = append(out, row.Criteria{Schema: 1, Study: label, Label: label, Layer: fmt.Sprint("layer ", l), N: 64, K: 64, Blocks: 16, Densities: []float64{.05, .1},
			Criteria: []row.CriterionResult{
				{Name: "random", Recovered: []float64{.05, .1}, HeldOut: []float64{.05, .1 + v}, Spearman: map[string]float64{"delta": .02, "oracle": .01}, Overlap: map[string][]float64{"delta": {.05, .1}, "oracle": {.04, .12}}},
				{Name: "delta", Recovered: []float64{.15, .25}, HeldOut: []float64{.14, .22 + v}, Spearman: map[string]float64{"oracle": .6}, Overlap: map[string][]float64{"oracle": {.5, .7}}},
				{Name: "oracle", Recovered: []float64{.16, .26}, HeldOut: []float64{.18, .26 + v}, Overlap: map[string][]float64{}},
			}})
	}
	return out
}

func TestCriteria(t *testing.T) {
	in := Input{Title: "criteria", Criteria: append(study("<i>b"), study("a")...)}
	table := in.Table()
	if len(table.Studies) != 2 || table.Studies[1].Label != "a" || len(table.Studies[0].Layers) != 2 {
		t.Fatalf("studies %+v", table.Studies)
	}
	got := table.Studies[1].lines()
	want := "[[criterion layers recovered, calibration recovered, held out gap to oracle rank correlation with oracle blocks shared with oracle]" +
		" [random 2 10.0\u00a0% 11.0\u00a0% +16.0 points 0.010 12.0\u00a0%] [delta 2 25.0\u00a0% 23.0\u00a0% +4.0 points 0.600 70.0\u00a0%] [oracle 2 26.0\u00a0% 27.0\u00a0%   ]]"
	if fmt.Sprint(got) != want {
		t.Errorf("table %v\nwant  %v", got, want)
	}
	page := mustPage(t, in)
	for _, want := range []string{"How the criteria choose", `data-figure="criteria-recovered"`, `data-figure="criteria-overlap-2"`, "&lt;i&gt;b",
		"mean of 2 layers: oracle 27.0\u00a0%, delta 23.0\u00a0%, random 11.0\u00a0%."} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page, "No results") || strings.Contains(page, "<i>b") {
		t.Error("a page of studies says that there are no results, or takes a label for markup")
	}
	for _, f := range table.Studies[0].figures() {
		if _, err := f.png(); err != nil {
			t.Error(err)
		}
	}
}
