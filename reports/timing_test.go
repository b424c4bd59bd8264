package reports

import (
	"encoding/csv"
	"fmt"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
)

// timedRow makes up a row of experiments bench.
func timedRow(variant, density string, tokens int, time, over float64, more map[string]string) row.Row {
	axes := map[string]string{"bench": "product", "engine": "cpu", "shape": "4096x1024", "scheme": "w4a8", "group": "128", "density": density, "block": "16x64",
		"tokens": fmt.Sprint(tokens), "cache": "flush", "variant": variant}
	for k, v := range more {
		axes[k] = v
	}
	weight := 2.1e6
	if d, _ := number(density); variant != "dense4" {
		weight *= 1 + d
	}
	value := func(name, unit string, v, spread float64) row.Value {
		low, high := v*(1-spread), v*(1+spread)
		return row.Value{Name: name, Value: v, Unit: unit, Low: &low, High: &high}
	}
	r := row.Row{Schema: row.Schema, Trial: fmt.Sprint(variant, density, tokens, more), Label: variant + " " + density, Axes: axes, Status: row.OK,
		Execution: &row.Execution{Engine: "cpu", Device: "made-up <b>CPU", Requested: "auto", Kernel: "avx512", Yardsticks: map[string]string{row.ReadBandwidth: "a sum"}},
		Values: []row.Value{value(row.Time, "s", time, .02), value(row.Rate, "FLOP/s", 2*4096*1024*float64(tokens)/time, .02), value(row.BandwidthShare, "", .8, .02),
			value(row.ReadBandwidth, "B/s", 3e10, .01), value(row.PeakRate, "FLOP/s", 4e11, .01), {Name: row.WeightBytes, Value: weight, Unit: "B"}}}
	if variant != "dense4" {
		r.Values = append(r.Values, value(row.TimeOver("dense4"), "", over, .02))
	}
	return r
}

func timedRows(more map[string]string) []row.Row {
	var rows []row.Row
	for _, m := range []int{1, 16} {
		for _, d := range []string{"0.05", "0.1", "0.2"} {
			v, _ := number(d)
			t := 1e-4 * float64(m)
			rows = append(rows, timedRow("w16a16", d, m, 3.9*t, 3.9, more), timedRow("separate", d, m, t*(1.1+v), 1.1+v, more),
				timedRow("dense4", d, m, t, 0, more), timedRow("zipper", d, m, t*(1+v), 1+v, more))
			for i := range rows {
				if rows[i].Axes["variant"] == "separate" && len(rows[i].Values) == 7 {
					low, high := 1.05, 1.12
					rows[i].Values = append(rows[i].Values, row.Value{Name: row.TimeOver("zipper"), Value: 1.08, Low: &low, High: &high})
				}
			}
		}
	}
	return rows
}

// Rows of a bench are a part of the page of their own: they are in no ranking
// of accuracy, and each figure and table that they support is there.
func TestTimings(t *testing.T) {
	in := syntheticInput()
	accuracy := len(in.Rows)
	in.Rows = append(in.Rows, timedRows(nil)...)
	table := Build(in.Rows)
	scored := len(table.Failed)
	for _, g := range table.Groups {
		scored += len(g.Entries)
	}
	if scored != accuracy || len(table.Timings) != 1 || len(table.entries()) != len(in.Rows) {
		t.Fatalf("%d of %d rows are scored, %d sets of timings, %d rows in all of %d", scored, accuracy, len(table.Timings), len(table.entries()), len(in.Rows))
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
	for _, f := range m.figures() {
		keys = append(keys, f.Key)
		if _, err := f.png(); err != nil {
			t.Error(err)
		}
	}
	if fmt.Sprint(keys) != "[overhead variants roofline]" {
		t.Errorf("figures %v", keys)
	}
	for _, f := range m.findings() {
		claims = append(claims, f.Text)
	}
	text := strings.Join(claims, "\n")
	for _, want := range []string{"Time of zipper over dense4: median 1.100 over 6 products with a residual, from 1.050 to 1.200; whole interval above one in 6, below in 0.",
		"Time of separate over zipper: median 1.080 over 6 products with a residual"} {
		if !strings.Contains(text, want) {
			t.Errorf("findings lack %q:\n%s", want, text)
		}
	}
	page := mustPage(t, in)
	for _, want := range []string{"Kernel timing", "4096x1024, density 10\u00a0%, block 16x64, g128, M=16", "1.200 [1.176, 1.224]", "made-up &lt;b&gt;CPU", `data-figure="roofline"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page, "Predicted times") {
		t.Error("measured rows are called predictions")
	}
	lines, err := csv.NewReader(strings.NewReader(string(table.timingCSV()))).ReadAll()
	if err != nil || len(lines) != 1+6*6+18*7+6 {
		t.Errorf("%d lines of timings.csv: %v", len(lines), err)
	}
}

// Predictions stand apart from measurements, and say what they are.
func TestPredictions(t *testing.T) {
	predicted := timedRows(map[string]string{"bench": "prediction", "engine": "model"})
	for i, r := range predicted {
		predicted[i].Status, predicted[i].Values = row.Predicted, []row.Value{{Name: row.PredictedTime, Value: r.Values[0].Value, Unit: "s"}}
	}
	table := Build(append(timedRows(nil), predicted...))
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
		for _, f := range m.figures() {
			if m.Predicted != strings.HasPrefix(f.Caption, "A prediction") {
				t.Errorf("caption %q", f.Caption)
			}
		}
		for _, f := range m.findings() {
			if m.Predicted != strings.HasPrefix(f.Text, "Predicted, not measured") {
				t.Errorf("finding %q", f.Text)
			}
		}
	}
}

// The same rows give the same figure, also where two shapes have as much to show.
func TestOverheadIsDetermined(t *testing.T) {
	rows := append(timedRows(nil), timedRows(map[string]string{"shape": "1024x4096"})...)
	want := Build(rows).Timings[0].overheadFigure().Caption
	for range 30 {
		if got := Build(rows).Timings[0].overheadFigure().Caption; got != want {
			t.Fatalf("caption %q, then %q", want, got)
		}
	}
}
