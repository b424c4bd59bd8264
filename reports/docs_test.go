package reports

import (
	"errors"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/rowtest"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// docRows are two made-up folders that share a trial.
func docRows(pattern string) (map[string][]row.Row, error) {
	s := rowtest.Synthetic{Windows: 20}
	var rows []row.Row
	for _, r := range []struct {
		label, method string
		bits, kl      float64
	}{{"m rtn g128", "rtn", 4.125, .08}, {"m rtn g32", "rtn", 4.5, .05}, {"m gptq g32", "gptq", 4.5, .03}} {
		x := s.Row(r.label, "a16", map[string]string{"method": r.method}, r.bits, r.kl)
		x.Baseline = "m rtn g128"
		for i := range x.Values {
			if x.Values[i].Name == row.KLMean { // as made up, not as drawn
				x.Values[i].Value = r.kl
			}
		}
		rows = append(rows, x)
	}
	all := map[string][]row.Row{"a": rows, "b": {rows[0]}}
	switch {
	case pattern == "*":
		return all, nil
	case all[pattern] != nil:
		return map[string][]row.Row{pattern: all[pattern]}, nil
	}
	return nil, errors.New("no such folder of rows")
}

// TestFill fills a region of each kind, twice: what is filled stays as it is.
func TestFill(t *testing.T) {
	text := `A <!-- rows {count: trials, folders: ["*"]} -->?<!-- /rows --> of
<!-- rows {count: distinct, folders: [a, b]} --><!-- /rows -->,
KL <!-- rows {value: kl_mean, folder: a, row: m rtn g32} -->old<!-- /rows -->, bits
<!-- rows {value: bits_per_weight, folder: a, row: m rtn g32, decimals: 2} --><!-- /rows -->,
<!-- rows {ratio: [m gptq g32, m rtn g32], folder: a} --><!-- /rows -->, <!-- rows {count: windows,
folder: a} --><!-- /rows --> windows.
<!-- rows {
  folder: a,
  table: [
    {name: RTN, rows: [rtn g128, rtn g32]},
    {name: "**GPTQ**", rows: [gptq g32]}],
  columns: [{name: bits, value: bits_per_weight, before: m, decimals: 2},
    {name: KL, value: kl_mean, before: m, best: true}]
} -->
old
<!-- /rows -->
<!-- rows {front: a16, folder: a} --><!-- /rows -->
end
`
	g := stats.Build(mustRows(t, "a")).Groups[0]
	text = strings.Replace(text, "front: a16", `front: ""`, 1)
	if _, _, err := Fill("f.md", []byte(text), docRows); err == nil ||
		!strings.HasPrefix(err.Error(), "f.md:17: region of rows: 0 of count") {
		t.Errorf("an empty front: %v", err)
	}
	text = strings.Replace(text, `<!-- rows {front: "", folder: a} --><!-- /rows -->`, "", 1)
	got, n, err := Fill("f.md", []byte(text), docRows)
	if err != nil || n != 7 {
		t.Fatalf("%d regions, %v", n, err)
	}
	ratio, err := ratioOf(stats.Build(mustRows(t, "a")), []string{"m gptq g32", "m rtn g32"})
	if err != nil || !strings.HasPrefix(ratio, "−3") || !strings.Contains(ratio, "\u00a0% [−4") {
		t.Errorf("ratio %q, %v", ratio, err)
	}
	for _, want := range []string{"A <!-- rows {count: trials, folders: [\"*\"]} -->4<!-- /rows --> of",
		"-->3<!-- /rows -->,\n", "-->.0500<!-- /rows -->, bits", "-->4.50<!-- /rows -->",
		"-->" + ratio + "<!-- /rows -->, ", "-->20<!-- /rows --> windows", "} -->\n|  | bits | KL |\n|---|---:|---:|\n| " +
			"RTN | 4.13 / 4.50 | .0800 / .0500 |\n| **GPTQ** | 4.50 | **.0300** |\n<!-- /rows -->\n\nend\n"} {
		if !strings.Contains(string(got), want) {
			t.Errorf("it lacks %q:\n%s", want, got)
		}
	}
	if again, _, err := Fill("f.md", got, docRows); err != nil || string(again) != string(got) {
		t.Errorf("filled twice it differs (%v):\n%s", err, again)
	}
	front, err := frontRegion(stats.Build(append(mustRows(t, "a"), rowtest.Synthetic{Windows: 4}.Row("x", "a8",
		map[string]string{"method": "rtn"}, 4, .1))), "a16")
	if err != nil || !strings.Contains(front, "| m rtn g128 | 4.13 | ") ||
		!strings.Contains(front, "| m gptq g32 | 4.50 | ") || strings.Contains(front, "rtn g32") || len(g.Front) != 2 {
		t.Errorf("front %q, %v", front, err)
	}
}

func mustRows(t *testing.T, folder string) []row.Row {
	t.Helper()
	found, err := docRows(folder)
	if err != nil {
		t.Fatal(err)
	}
	return found[folder]
}

// TestFillRefuses wants one clear error, with the line, for each region that cannot be
// filled.
func TestFillRefuses(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"\n<!-- rows {value: kl_mean, folder: a, row: m rtn g64} --><!-- /rows -->",
			`f.md:2: region of rows: no row is called "m rtn g64"; the nearest is "m rtn g`},
		{"<!-- rows {value: kl, folder: a, row: m rtn g32} --><!-- /rows -->", `row "m rtn g32" has no value "kl"`},
		{"<!-- rows {value: kl_mean, folder: c, row: x} --><!-- /rows -->", `folder "c": no such folder of rows`},
		{"<!-- rows {value: kl_mean, folder: a, rows: x} --><!-- /rows -->", "field rows not found"},
		{"<!-- rows {count: lines, folder: a} --><!-- /rows -->", `count "lines" is not one of`},
		{"<!-- rows {count: trials, value: kl_mean, folder: a} --><!-- /rows -->", "2 of count, value"},
		{"<!-- rows {ratio: [m rtn g32], folder: a} --><!-- /rows -->", "ratio has 1 rows, want 2"},
		{"<!-- rows {count: trials, folder: a} -->4", "f.md:1: region of rows: it does not end"},
		{"<!-- rows {count: trials, folder: a} --> <!-- rows {count: trials, folder: a} --><!-- /rows -->",
			"it does not end"},
		{"x\n<!-- /rows -->", "f.md:2: region of rows: it ends without having begun"},
	} {
		if _, _, err := Fill("f.md", []byte(c.text), docRows); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want %q", c.text, err, c.want)
		}
	}
}

func TestBriefNumber(t *testing.T) {
	two := 2
	for _, c := range []struct {
		v        float64
		decimals *int
		want     string
	}{{.0219, nil, ".0219"}, {4.125, &two, "4.13"}, {-.5, &two, "−.50"}, {0, &two, ".00"}, {0, nil, ".00"},
		{12345, nil, "12345"}, {1.5, nil, "1.50"}} {
		if got := briefNumber(c.v, 0, c.decimals); got != c.want {
			t.Errorf("%v is written %q, want %q", c.v, got, c.want)
		}
	}
}

// TestRegionInterval shows the interval of a value that was timed, and refuses one
// that a value does not have.
func TestRegionInterval(t *testing.T) {
	timed := rowtest.WithSpeed(rowtest.Synthetic{Windows: 4}.Row("m rtn", "a16", map[string]string{"method": "rtn"}, 4, .1), .5)
	read := func(string) (map[string][]row.Row, error) { return map[string][]row.Row{"a": {timed}}, nil }
	region := func(value string) string {
		return "<!-- rows {folder: a, table: [{name: RTN, rows: [m rtn]}], columns: [{name: time, value: " + value +
			", interval: true, decimals: 2}]} --><!-- /rows -->"
	}
	got, _, err := Fill("f.md", []byte(region(`"speed/llama3-8b layer0 4096x4096 M=1/time_over/w16a16"`)), read)
	if err != nil || !strings.Contains(string(got), "| RTN | .50 [.49, .52] |") {
		t.Errorf("%v: %s", err, got)
	}
	if _, _, err := Fill("f.md", []byte(region("kl_mean")), read); err == nil ||
		!strings.Contains(err.Error(), `value "kl_mean" of row "m rtn" has no interval`) {
		t.Errorf("a value without an interval: %v", err)
	}
}
