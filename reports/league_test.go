package reports

import (
	"errors"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/rowtest"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// leagueRows are made-up rows of two models: plain grids and a mixed one, in two bases
// and with two kinds of inputs.
func leagueRows() []row.Row {
	s := rowtest.Synthetic{Windows: 40}
	var rows []row.Row
	for _, model := range []string{"builtin:one", "builtin:two"} {
		for _, r := range []struct {
			method, group, transform, inputs, clip string
			bits, kl                               float64
		}{
			{"none", "", "folded", "a8", "0", 16, .001},
			{"gptq", "32", "folded", "a8", "0", 4.5, .04},
			{"gptq", "32", "quarot", "a8", "0", 4.5, .02},
			{"gptq", "32", "folded", "a4", "0.9", 4.5, .2},
			{"rtn", "32", "folded", "a8", "0", 4.5, .06},
			{"rtn", "64", "folded", "a8", "0", 4.25, .08},
			{"rtn", "8", "folded", "a8", "0", 6.5, .01},
		} {
			axes := map[string]string{"model": model, "method": r.method, "transform": r.transform,
				"activations_clip": r.clip, "activations_zero": "symmetric", "activations_scale": "dynamic"}
			if r.method != "none" {
				axes["format"], axes["group"] = "int4", r.group
			}
			name := strings.TrimPrefix(model, "builtin:")
			label := strings.Join([]string{name, r.method, r.transform, r.group, r.inputs}, " ")
			rows = append(rows, s.Row(label, r.inputs, axes, r.bits, r.kl))
		}
	}
	return rows
}

// lineOf is the first line of a text that begins with a prefix, after the first
// occurrence of heading.
func lineOf(text, heading, prefix string) string {
	_, rest, _ := strings.Cut(text, heading)
	for l := range strings.Lines(rest) {
		if strings.HasPrefix(l, prefix) {
			return strings.TrimSpace(l)
		}
	}
	return ""
}

func TestLeague(t *testing.T) {
	got, err := leagueRegion(stats.Build(leagueRows()), nil, &LeagueRegion{Bounds: []float64{4.3, 4.55}})
	if err != nil {
		t.Fatal(err)
	}
	last := -1
	for _, want := range []string{"Inputs a4: clipped at 0.9.",
		"\nUp to 4.30 bits:", "| rtn int4 g64 | folded | a8 | 4.25 | **",
		"\n4.30 to 4.55 bits:", "| gptq int4 g32 | quarot | a8 | 4.50 | **", "| gptq int4 g32 | folded | a8 | ",
		"| rtn int4 g32 | folded | a8 | ", "| gptq int4 g32 | folded | a4 | ", "\nMore than 4.55 bits:", "| rtn int4 g8 |",
		"\nWeights in 16 bits:", "| 16-bit weights | folded | a8 | 16.00 | **", "\nBest of each method, up to 4.55 bits:",
		"| gptq int4 g32 | quarot | a8 |", "| rtn int4 g32 | folded | a8 |", "\nBest of each basis, up to 4.55 bits:",
		"| gptq int4 g32 | quarot |", "| gptq int4 g32 | folded |", "\nBest of each kind of inputs, up to 4.55 bits:",
		"| gptq int4 g32 | quarot | a8 |", "| gptq int4 g32 | folded | a4 |"} {
		at := strings.Index(got[last+1:], want)
		if at < 0 {
			t.Fatalf("after %q there is no %q:\n%s", got[max(0, last):max(0, last)+20], want, got)
		}
		last += 1 + at
	}
	if strings.Contains(got, "| time |") {
		t.Errorf("a column of times without times:\n%s", got)
	}
	g := stats.Build(leagueRows())
	first, _ := entryOf(g, "one gptq quarot 32 a8")
	rtn, _ := entryOf(g, "one rtn folded 32 a8")
	ratio, err := stats.KLRatio(rtn, first)
	if err != nil {
		t.Fatal(err)
	}
	want := "| " + briefNumber(ratio.Value, 0, nil) + " ["
	if line := lineOf(got, "4.30 to", "| rtn int4 g32"); !strings.Contains(line, want) {
		t.Errorf("%q does not have the paired ratio %q", line, want)
	}
	top, err := leagueRegion(g, nil, &LeagueRegion{Bounds: []float64{4.3, 4.55}, Top: 2})
	if err != nil || !strings.Contains(top, "4.30 to 4.55 bits, the first 2 of 4:") ||
		strings.Contains(strings.Split(top, "More than")[0], "rtn int4 g32") {
		t.Errorf("the first two of each class: %v\n%s", err, top)
	}
}

// TestLeagueTimes takes times from rows of the same stored form, and none where the
// basis costs operations.
func TestLeagueTimes(t *testing.T) {
	const name = "speed/llama3.2-1b down 2048x8192 M=1/time_over/dense4"
	timed := rowtest.Synthetic{Windows: 4}.Row("rtn g32", "a8", map[string]string{"method": "rtn", "format": "int4",
		"group": "32"}, 4.5, .1)
	timed.Values = append(timed.Values, row.Value{Name: name, Value: 1.03})
	rows := leagueRows()
	for i := range rows {
		if rows[i].Axes["transform"] == "quarot" {
			rows[i].Values = append(rows[i].Values, row.Value{Name: "online_operations", Value: 9})
		}
	}
	spec := &LeagueRegion{Bounds: []float64{4.55}, Time: name}
	got, err := leagueRegion(stats.Build(rows), stats.Build([]row.Row{timed}), spec)
	if err != nil {
		t.Fatal(err)
	}
	for prefix, want := range map[string]string{
		"| gptq int4 g32 | folded | a8": "| 1.03 |", "| rtn int4 g32 | folded | a8": "| 1.03 |",
		"| gptq int4 g32 | quarot | a8": "|  |", "| gptq int4 g32 | folded | a4": "|  |", "| rtn int4 g64": "|  |"} {
		if line := lineOf(got, "", prefix); !strings.HasSuffix(line, want) {
			t.Errorf("%s: %q, want the time %q", prefix, line, want)
		}
	}
	if !strings.Contains(got, "; time: of a product of llama3.2-1b down 2048x8192 M=1, over that of dense4.") {
		t.Errorf("the times are not explained:\n%s", got)
	}
}

func TestLeagueRefuses(t *testing.T) {
	other := rowtest.Synthetic{Windows: 40}.Row("x", "a8",
		map[string]string{"method": "rtn", "protocol.context": "512"}, 4, .1)
	twice := rowtest.Synthetic{Windows: 40}.Row("one rtn folded 32 a8", "a8", leagueRows()[4].Axes, 4.5, .1)
	twice.Trial = "other"
	for _, c := range []struct {
		rows []row.Row
		spec LeagueRegion
		want string
	}{
		{leagueRows(), LeagueRegion{Bounds: []float64{5, 4}}, "the bounds [5 4] do not rise"},
		{append(leagueRows(), other), LeagueRegion{}, "rows of two protocols"},
		{append(leagueRows(), twice), LeagueRegion{}, `are one line, "rtn int4 g32, folded, a8"`},
		{nil, LeagueRegion{}, "no row has bits"},
		{leagueRows(), LeagueRegion{Time: "speed/x", Times: "a"}, `no row of times has the value "speed/x"`},
		{leagueRows(), LeagueRegion{Times: "a"}, "times needs time"},
	} {
		f := &filler{tables: map[string]*stats.Table{}, read: docRows}
		if _, err := f.league(stats.Build(c.rows), &c.spec); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
	none := func(string) (map[string][]row.Row, error) { return nil, errors.New("none") }
	f := &filler{tables: map[string]*stats.Table{}, read: none}
	if _, err := f.league(stats.Build(leagueRows()), &LeagueRegion{Times: "nowhere"}); err == nil {
		t.Error("times of no folder are no error")
	}
}
