package reports

import (
	"bytes"
	"encoding/csv"
	"strconv"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/rowtest"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// TestLong wants each value of each trial once, with its interval and its axes.
func TestLong(t *testing.T) {
	s := rowtest.Synthetic{Windows: 10}
	rows := s.Sweep("a16")
	for i := range rows {
		rows[i].Values = append(rows[i].Values, row.Value{Name: row.ModelBytes, Value: 123456789, Unit: "B"})
	}
	for _, seed := range []string{"1", "2"} { // draws of one row of the page stand apart
		r := s.Row("drawn "+seed, "a16", map[string]string{"method": "gptq", "calibration.seed": seed}, 4.5, .02)
		rows = append(rows, rowtest.WithTimes(r, .3, .8))
	}
	recs, err := csv.NewReader(bytes.NewReader(longCSV(stats.Build(rows)))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	column := map[string]int{}
	for i, name := range recs[0] {
		column[name] = i
	}
	got := map[string][]string{}
	for _, r := range recs[1:] {
		got[r[0]+" "+r[column["metric"]]] = r
	}
	want := 0
	for _, r := range rows {
		for _, v := range r.Values {
			want++
			line := got[r.Trial+" "+v.Name]
			if line == nil {
				t.Fatalf("%s of %s is missing", v.Name, r.Label)
			}
			cell := func(name string) string { return line[column[name]] }
			if x, err := strconv.ParseFloat(cell("value"), 64); err != nil || x != v.Value || cell("unit") != v.Unit ||
				cell("method") != r.Axes["method"] || cell("label") != r.Label {
				t.Errorf("%s of %s: %q", v.Name, r.Label, line)
			}
			low, _ := strconv.ParseFloat(cell("low"), 64)
			high, _ := strconv.ParseFloat(cell("high"), 64)
			if has := v.Name == row.KLMean || v.Name == row.NLL || v.Name == row.PPLToken || v.Name == row.Top1 ||
				v.Low != nil; has && !(low < v.Value && v.Value < high) || !has && cell("low")+cell("high") != "" {
				t.Errorf("%s of %s: %v lies not in [%q, %q]", v.Name, r.Label, v.Value, cell("low"), cell("high"))
			}
			if v.Name == row.ModelBytes && cell("value") != "123456789" {
				t.Errorf("an integer is written %q", cell("value"))
			}
		}
	}
	if len(recs)-1 != want {
		t.Errorf("%d lines, want %d", len(recs)-1, want)
	}
}
