package reports

import (
	"encoding/csv"
	"fmt"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/figures"
	"github.com/mosaicquant/mosaicquant/reports/rowtest"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// Rows of a bench are a part of the page of their own: they are in no ranking
// of accuracy, and each figure and table that they support is there.
func TestTimings(t *testing.T) {
	in := syntheticInput()
	accuracy := len(in.Rows)
	in.Rows = append(in.Rows, rowtest.TimedRows(nil)...)
	table := stats.Build(in.Rows)
	scored := len(table.Failed)
	for _, g := range table.Groups {
		scored += len(g.Entries)
	}
	if scored != accuracy || len(table.Timings) != 1 || len(table.Entries()) != len(in.Rows) {
		t.Fatalf("%d of %d rows are scored, %d sets of timings, %d rows in all of %d", scored, accuracy, len(table.Timings),
			len(table.Entries()), len(in.Rows))
	}
	m := table.Timings[0]
	var order []string
	for _, e := range m.Products[0].Variants {
		order = append(order, e.Axes["variant"])
	}
	if len(m.Products) != 6 || fmt.Sprint(order) != "[dense4 zipper separate w16a16]" {
		t.Errorf("%d products, variants %v", len(m.Products), order)
	}
	var keys, claims []string
	for _, f := range figures.Timings(m) {
		keys = append(keys, f.Key)
		if _, err := f.PNG(); err != nil {
			t.Error(err)
		}
	}
	if fmt.Sprint(keys) != "[overhead variants roofline]" {
		t.Errorf("figures %v", keys)
	}
	for _, f := range timingFindings(m) {
		claims = append(claims, f.Text)
	}
	text := strings.Join(claims, "\n")
	for _, want := range []string{"Time of zipper over dense4: median 1.100 over 6 products with a residual, from " +
		"1.050 to 1.200; whole interval above one in 6, below in 0.",
		"Time of separate over zipper: median 1.080 over 6 products with a residual"} {
		if !strings.Contains(text, want) {
			t.Errorf("findings lack %q:\n%s", want, text)
		}
	}
	page := mustPage(t, in)
	for _, want := range []string{"Kernel timing", "4096x1024, density 10\u00a0%, block 16x64, g128, M=16",
		"1.200 [1.176, 1.224]", "made-up &lt;b&gt;CPU", `data-figure="roofline"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page, "Predicted times") {
		t.Error("measured rows are called predictions")
	}
	lines, err := csv.NewReader(strings.NewReader(string(timingCSV(table)))).ReadAll()
	if err != nil || len(lines) != 1+6*6+18*7+6 {
		t.Errorf("%d lines of timings.csv: %v", len(lines), err)
	}
}

// Predictions stand apart from measurements, and say what they are.
func TestPredictions(t *testing.T) {
	predicted := rowtest.TimedRows(map[string]string{"bench": "prediction", "engine": "model"})
	for i, r := range predicted {
		predicted[i].Status, predicted[i].Values = row.Predicted,
			[]row.Value{{Name: row.PredictedTime, Value: r.Values[0].Value, Unit: "s"}}
	}
	table := stats.Build(append(rowtest.TimedRows(nil), predicted...))
	if len(table.Failed) > 0 {
		t.Errorf("%d predictions count as failures", len(table.Failed))
	}
	if len(table.Timings) != 2 || table.Timings[0].Predicted == table.Timings[1].Predicted {
		t.Fatalf("%d sets of timings", len(table.Timings))
	}
	for _, m := range table.Timings {
		if m.Predicted != strings.Contains(m.Title(), "not measured") {
			t.Errorf("title %q", m.Title())
		}
		for _, f := range figures.Timings(m) {
			if m.Predicted != strings.HasPrefix(f.Caption, "A prediction") {
				t.Errorf("caption %q", f.Caption)
			}
		}
		for _, f := range timingFindings(m) {
			if m.Predicted != strings.HasPrefix(f.Text, "Predicted, not measured") {
				t.Errorf("finding %q", f.Text)
			}
		}
	}
}
