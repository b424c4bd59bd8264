package reports

import (
	"bytes"
	"encoding/csv"
	"encoding/xml"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/figures"
	"github.com/mosaicquant/mosaicquant/reports/rowtest"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

func mustPage(t *testing.T, in Input) string {
	t.Helper()
	p, err := Page(in)
	if err != nil {
		t.Fatal(err)
	}
	return string(p)
}

// TestWrite checks that every figure of the page exists as PNG and SVG, that
// PNGs are not blank, and that the page refers to nothing outside itself.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	in := syntheticInput()
	in.NoCharts = true
	if err := Write(dir, in); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "report.html"))
	if err != nil {
		t.Fatal(err)
	}
	keys := regexp.MustCompile(`data-figure="([^"]+)"`).FindAllStringSubmatch(string(page), -1)
	if len(keys) != 18 {
		t.Errorf("%d figures on the page, want nine for each of two groups", len(keys))
	}
	for _, k := range keys {
		data, err := os.ReadFile(filepath.Join(dir, "plots", k[1]+".png"))
		if err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		colors := map[any]bool{}
		for y := 0; y < img.Bounds().Dy(); y += 2 {
			for x := 0; x < img.Bounds().Dx(); x += 2 {
				colors[img.At(x, y)] = true
			}
		}
		if img.Bounds().Dx() != 1051 || len(colors) < 8 {
			t.Errorf("%s.png: %d pixels wide (want 89 mm at 300 dpi), %d colours", k[1], img.Bounds().Dx(), len(colors))
		}
		data, err = os.ReadFile(filepath.Join(dir, "plots", k[1]+".svg"))
		if err != nil {
			t.Fatal(err)
		}
		wellFormed(t, k[1]+".svg", data)
	}
	if m := regexp.MustCompile(`(?i)(src|href)="(?:https?:)?//`).Find(page); m != nil {
		t.Errorf("the page refers to the network: %s", m)
	}
	if n := bytes.Count(page, []byte("<script")); n != 1 ||
		!bytes.Contains(page, []byte("<script>"+pageScript+"</script>")) {
		t.Errorf("a page without charts carries %d scripts, want its own alone", n)
	}
	if m := regexp.MustCompile(`(?:fill|stroke):#0[0-2]0[0-2]0[0-3]`).Find(page); m != nil {
		t.Errorf("ink that does not follow the theme: %s", m)
	}
	for _, word := range []string{"NaN", "Inf", "%!", "&lt;nil&gt;"} {
		if bytes.Contains(page, []byte(word)) {
			t.Errorf("the page holds %q", word)
		}
	}
}

func wellFormed(t *testing.T, name string, data []byte) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(data))
	for {
		if _, err := d.Token(); err != nil {
			if err.Error() != "EOF" {
				t.Errorf("%s: %v", name, err)
			}
			return
		}
	}
}

func TestSameRowsSameBytes(t *testing.T) {
	in := syntheticInput()
	a := mustPage(t, in)
	slices.Reverse(in.Rows)
	if b := mustPage(t, in); a != b {
		t.Error("the order of rows changes the page")
	}
	if string(resultsCSV(stats.Build(in.Rows))) != string(resultsCSV(stats.Build(syntheticInput().Rows))) {
		t.Error("the order of rows changes the table")
	}
}

// TestHostile puts markup into every text a row or a sweep can carry.
func TestHostile(t *testing.T) {
	evil := "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'`&<!--\u202egnp.exe\x00]]></style>"
	in := syntheticInput()
	in.Title, in.Question, in.Config, in.Command = evil, evil, evil, evil
	in.Warnings = []string{evil}
	for i := range in.Rows {
		r := &in.Rows[i]
		r.Label += evil
		if r.Baseline != "" {
			r.Baseline += evil
		}
		r.Trial += evil
		r.Error += evil
		r.Warnings = append(r.Warnings, evil)
		r.Axes["base"] += evil
		r.Axes["criterion"] += evil
		r.Axes["model"], r.Axes["activations"], r.Axes[evil] = evil, evil, evil
		for j := range r.Layers {
			r.Layers[j].Name += evil
		}
		for j := range r.Ledger {
			r.Ledger[j].Name += evil
		}
		in.Commands[r.Trial] = evil
	}
	in.Env = map[string]row.Environment{evil: {CPU: evil, Features: []string{evil}}}
	page := mustPage(t, in)
	charts := regexp.MustCompile(`<script type="application/json">[^<]*</script>`) // JSON without any "<"
	page = strings.Replace(charts.ReplaceAllString(page, ""), "<script>"+figures.Loader+"</script>", "", 1)
	page = strings.Replace(page, "<script>"+pageScript+"</script>", "", 1)
	for _, bad := range []string{"<script", "<img", "<!--", "\u202e", "\x00", "]]>"} {
		if strings.Contains(page, bad) {
			at := strings.Index(page, bad)
			t.Errorf("the page holds %q: %q", bad, page[max(0, at-60):min(len(page), at+60)])
		}
	}
	if n := strings.Count(page, "</style>"); n != 1 {
		t.Errorf("%d style elements end, want 1", n)
	}
	if !strings.Contains(page, "⟨U&#43;202E⟩") {
		t.Error("the bidirectional control is not spelled out")
	}
	table := stats.Build(in.Rows)
	for _, bad := range []string{" <script", "><script", "><img", "\u202e"} {
		if strings.Contains(string(tablesMarkdown(table)), bad) {
			t.Errorf("the Markdown table holds %q", bad)
		}
	}
	for _, f := range documentOf(table, in).figures() {
		svg, err := f.SVG()
		if err != nil {
			t.Fatal(err)
		}
		wellFormed(t, f.Key, svg)
		if strings.Contains(string(f.Chart), "</") || strings.Contains(string(f.Chart), "<!--") {
			t.Errorf("%s: chart options can end their script element", f.Key)
		}
	}
	if got := formulaFree([]string{"=cmd()", "-1", "a"}); got[0] != "'=cmd()" || got[1] != "'-1" || got[2] != "a" {
		t.Errorf("spreadsheet formulas pass: %q", got)
	}
}

// TestOdd renders what a sweep can leave behind on a bad day.
func TestOdd(t *testing.T) {
	s := rowtest.Synthetic{Windows: 5, Layers: 2}
	base := s.Row("rtn g128", "a16", map[string]string{"method": "rtn"}, 4.125, 0.08)
	bare := row.Row{Schema: row.Schema, Trial: "bare", Label: "bare", Status: row.OK}
	nan := s.Row("nan", "a16", map[string]string{"method": "rtn"}, math.NaN(), 0.05)
	nan.Series[2].Values[1] = math.Inf(1)
	nan.Layers[0].OutputError = math.NaN()
	short := rowtest.Synthetic{Windows: 4}.Row("short", "a16", map[string]string{"method": "gptq"}, 4.2, 0.06)
	same := s.Row("same", "a16", map[string]string{"method": "rtn"}, 4.125, 0.08)
	same.Series = base.Series
	one := rowtest.Synthetic{Windows: 1, Layers: 1}.Row("rtn g128", "a16", map[string]string{"method": "rtn"}, 4.125, 0.08)
	failed := row.Row{Schema: row.Schema, Trial: "f", Label: "f", Status: row.Failed}
	cases := map[string][]row.Row{
		"zero rows": nil, "one row": {base}, "bare": {bare}, "nan": {base, nan}, "other windows": {base, short},
		"identical": {base, same}, "one window": {one}, "failed alone": {failed},
		"mosaic alone":     {s.Row("m", "a16", map[string]string{"method": "mosaic", "density": "x"}, 4.3, 0.03)},
		"baseline missing": {s.Row("lonely", "a16", map[string]string{"method": "gptq"}, 4.3, 0.03)},
		"all":              {base, bare, nan, short, same, failed},
	}
	for name, rows := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := Write(dir, Input{Title: name, Rows: rows}); err != nil {
				t.Fatal(err)
			}
			page, err := os.ReadFile(filepath.Join(dir, "report.html"))
			if err != nil {
				t.Fatal(err)
			}
			for _, bad := range []string{"NaN", "%!"} {
				if strings.Contains(string(page), bad) && bad != "NaN" ||
					strings.Contains(string(page), "NaN") && name != "nan" && name != "all" {
					t.Errorf("the page holds %q", bad)
				}
			}
			var b bytes.Buffer
			if err := Summary(&b, stats.Build(rows)); err != nil || b.Len() == 0 {
				t.Errorf("summary: %d bytes, %v", b.Len(), err)
			}
			if _, err := csv.NewReader(bytes.NewReader(resultsCSV(stats.Build(rows)))).ReadAll(); err != nil {
				t.Error(err)
			}
		})
	}
	// what is missing is said, never guessed
	for rows, want := range map[string]string{"nan": "was left out", "other windows": "windows do not match",
		"baseline missing": "has no row", "one window": "nothing is claimed"} {
		if page := mustPage(t, Input{Rows: cases[rows]}); !strings.Contains(page, want) {
			t.Errorf("%s: the page does not say %q", rows, want)
		}
	}
}

// TestMany keeps the page of a big sweep usable: its size grows with the rows,
// not with their pairs.
func TestMany(t *testing.T) {
	size := func(n int) int { return len(mustPage(t, Input{Title: "many", Rows: rowtest.Many(n)})) }
	a, b := size(300), size(600)
	if more := float64(b-a) / 300; !(more < 3000) {
		t.Errorf("300 rows take %d bytes, 600 %d: %.0f for each more", a, b, more)
	}
}

// BenchmarkMany draws the whole report of 5,000 rows: the aim is 10 s.
func BenchmarkMany(b *testing.B) {
	rows := rowtest.Many(5000)
	for b.Loop() {
		if err := Write(b.TempDir(), Input{Title: "many", Rows: rows}); err != nil {
			b.Fatal(err)
		}
	}
}

// TestChartScript refuses a script that is not the known one, and without any
// lets the page load go-echarts' own or, on request, none.
func TestChartScript(t *testing.T) {
	in := goldenInput()
	in.Script = "alert(1)"
	if _, err := Page(in); err == nil || !strings.Contains(err.Error(), figures.EchartsSHA256) {
		t.Errorf("another script: %v", err)
	}
	in.Script = ""
	from := figures.UsualScript()
	if page := string(mustPage(t, in)); !strings.Contains(page, `<body data-charts="`+from+`">`) ||
		!strings.Contains(page, "script-src "+from+" &#39;sha256-") {
		t.Errorf("without a script the page does not load %s", from)
	}
	in.NoCharts = true
	if page := string(mustPage(t, in)); strings.Count(page, "<script") != 1 ||
		!strings.Contains(page, "script-src &#39;sha256-") {
		t.Error("a page without charts has more scripts than its own")
	}
}

// TestWarnings says each warning once, with the rows that it is about.
func TestWarnings(t *testing.T) {
	s := rowtest.Synthetic{Windows: 4}
	var rows []row.Row
	for i, m := range []string{"rtn", "gptq", "spqr"} {
		r := s.Row(m, "a16", map[string]string{"method": m}, 4+float64(i), .1)
		r.Warnings = []string{"outliers are synthetic"}
		rows = append(rows, r)
	}
	rows[1].Warnings = append(rows[1].Warnings, "12 dead columns")
	in := Input{Rows: rows}
	page := mustPage(t, in)
	for want, n := range map[string]int{"outliers are synthetic": 1, "3 rows: outliers are synthetic": 1,
		`<b><a href="#r2">r2</a> <bdi>gptq</bdi></b><ul><li>12 dead columns</li>`: 1} {
		if got := strings.Count(page, want); got != n {
			t.Errorf("%q is on the page %d times, want %d", want, got, n)
		}
	}
	_, rest, _ := strings.Cut(page, "3 rows: outliers are synthetic")
	if line, _, _ := strings.Cut(rest, "</p>"); strings.Count(line, `href="#r`) != 3 {
		t.Errorf("the warning does not lead to its three rows: %q", line)
	}
}
