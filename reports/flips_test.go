package reports

import (
	"math"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/rowtest"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// TestFlips counts tokens that flip both ways, pairs them by window, and leaves rows of
// earlier programs, which do not have them, as they are. So does the output error on
// the evaluated text.
func TestFlips(t *testing.T) {
	s := rowtest.Synthetic{Windows: 3}
	r := s.Row("rtn g32", "a16", map[string]string{"method": "rtn"}, 4.5, .05)
	old := s.Row("gptq g32", "a16", map[string]string{"method": "gptq"}, 4.5, .03)
	for i := range r.Series {
		switch r.Series[i].Name {
		case row.WindowTokens:
			r.Series[i].Values = []float64{100, 100, 200}
		case row.WindowLost:
			r.Series[i].Values = []float64{8, 4, 12}
		case row.WindowGained:
			r.Series[i].Values = []float64{4, 4, 10}
		}
	}
	var values []row.Value
	for _, v := range old.Values {
		if v.Name != row.OutputErrorEvaluated {
			values = append(values, v)
		}
	}
	old.Values, old.Series = values, old.Series[:4]
	g := stats.Build([]row.Row{r, old}).Groups[0]
	for _, e := range g.Entries {
		if e.Label == "gptq g32" {
			if e.Lost != nil || e.Gained != nil || e.Right != nil {
				t.Errorf("a row without flips has some: %v %v %v", e.Lost, e.Gained, e.Right)
			}
			continue
		}
		near := func(e *stats.Estimate, want float64) bool { return math.Abs(e.Value-want) < 1e-12 }
		if !near(e.Lost, .06) || !near(e.Gained, .045) || !near(e.Right, -.015) {
			t.Errorf("lost %v, gained %v, right %v; want .06, .045 and −.015", e.Lost.Value, e.Gained.Value, e.Right.Value)
		}
		if !(e.Right.Low < -.015 && -.015 < e.Right.High) {
			t.Errorf("no interval of the difference: %+v", e.Right)
		}
	}
	page := mustPage(t, Input{Rows: []row.Row{r, old}})
	if strings.Contains(page, "No row has") {
		t.Error("the page lacks what it has")
	}
	for _, want := range []string{"tokens lost / gained", "<bdi>6.00\u00a0% / 4.50\u00a0%</bdi>",
		"right tokens vs 16-bit, points", "<bdi>−1.50</bdi> <small>[", "output error, evaluated text"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	page = mustPage(t, Input{Rows: []row.Row{old}})
	if strings.Contains(page, "lost /") || strings.Contains(page, "evaluated text</bdi>") {
		t.Error("a page of rows without flips or errors on the evaluated text has columns of them")
	}
	const says = "No row has tokens lost and gained, or the output error on the evaluated text: older rows were"
	if !strings.Contains(page, says) {
		t.Errorf("the page does not say what it lacks: %q", says)
	}
}
