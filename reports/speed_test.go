package reports

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/rowtest"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

func TestSpeed(t *testing.T) {
	s := rowtest.Synthetic{Windows: 20}
	in := Input{Title: "speed", Rows: []row.Row{
		s.Row("16-bit", "a16", map[string]string{"method": "none"}, 16, 1e-9),
		rowtest.WithSpeed(s.Row("rtn g128", "a16", map[string]string{"method": "rtn", "group": "128"}, 4.125, .02), .25, .36),
		rowtest.WithSpeed(s.Row("rtn g32", "a16", map[string]string{"method": "rtn", "group": "32"}, 4.5, .012), .29, .40),
		rowtest.WithSpeed(s.Row("mosaic", "a16", map[string]string{"method": "mosaic", "base": "rtn", "density": "0.1"},
			4.52, .015), .28, .41),
		rowtest.WithSpeed(s.Row("mosaic slow", "a16", map[string]string{"method": "mosaic", "base": "rtn", "density": "0.2"},
			4.9, .005), .5, .5),
	}}
	table := stats.Build(in.Rows)
	g := table.Groups[0]
	var rtn *stats.Entry
	for _, e := range g.Entries {
		if e.Label == "rtn g128" {
			rtn = e
		}
	}
	if v := rtn.Speed("M=1"); v == nil || v.Layers != 2 || math.Abs(v.Over16.Value-.3) > 1e-12 ||
		math.Abs(v.Over16.Low-.3*.97) > 1e-12 {
		t.Fatalf("speed %+v, want the geometric mean .3 of .25 and .36", v)
	}
	got := map[string]string{}
	for _, i := range g.IsoTime {
		got[i.Entry.Label] = fmt.Sprintf("%s %t", i.Rival.Label, i.Ratio.Value < 1)
	}
	// mosaic takes .339, rtn g32 .341: no slower within the tolerance
	want := map[string]string{"mosaic": "rtn g32 false", "mosaic slow": "rtn g32 true", "rtn g32": "mosaic true"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("at equal time: %v, want %v", got, want)
	}
	page := mustPage(t, in)
	for _, want := range []string{"Divergence in time", `data-figure="kl-time-m1"`,
		"mosaic on rtn against the best rtn that is not clearly slower: divergence lower in no more time in 0, lower for " +
			"more time in 1, higher in 1, not distinguishable in 0 of 2 comparisons",
		"<bdi>0.339</bdi> <small>[0.329, 0.349]</small>"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if n := strings.Count(page, `id="r1"`); n != 1 {
		t.Errorf("%d elements have the id of row r1", n)
	}
}
