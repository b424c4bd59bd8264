package reports

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/reports/figures"
	"github.com/mosaicquant/mosaicquant/reports/rowtest"
)

func TestCriteria(t *testing.T) {
	in := Input{Title: "criteria", Criteria: append(rowtest.Study("<i>b"), rowtest.Study("a")...)}
	table := in.Table()
	if len(table.Studies) != 2 || table.Studies[1].Label != "a" || len(table.Studies[0].Layers) != 2 {
		t.Fatalf("studies %+v", table.Studies)
	}
	got := criteriaLines(table.Studies[1])
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
	for _, f := range figures.Criteria(table.Studies[0]) {
		if _, err := f.PNG(); err != nil {
			t.Error(err)
		}
	}
}
