package reports

import (
	"bytes"
	"encoding/csv"
	"encoding/xml"
	"fmt"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/mosaicquant/mosaicquant/internal/row"
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
	if bytes.Contains(page, []byte("<script")) {
		t.Error("a page without charts carries a script")
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
	if string(Build(in.Rows).csv()) != string(Build(syntheticInput().Rows).csv()) {
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
	page = strings.Replace(charts.ReplaceAllString(page, ""), "<script>"+loader+"</script>", "", 1)
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
	table := Build(in.Rows)
	for _, bad := range []string{" <script", "><script", "><img", "\u202e"} {
		if strings.Contains(string(table.markdown()), bad) {
			t.Errorf("the Markdown table holds %q", bad)
		}
	}
	for _, f := range table.document(in).figures() {
		svg, err := f.svg()
		if err != nil {
			t.Fatal(err)
		}
		wellFormed(t, f.Key, svg)
		if strings.Contains(string(f.chart), "</") || strings.Contains(string(f.chart), "<!--") {
			t.Errorf("%s: chart options can end their script element", f.Key)
		}
	}
	if got := cells([]string{"=cmd()", "-1", "a"}); got[0] != "'=cmd()" || got[1] != "'-1" || got[2] != "a" {
		t.Errorf("spreadsheet formulas pass: %q", got)
	}
}

// TestOdd renders what a sweep can leave behind on a bad day.
func TestOdd(t *testing.T) {
	s := synthetic{windows: 5, layers: 2}
	base := s.row("rtn g128", "a16", map[string]string{"method": "rtn"}, 4.125, 0.08)
	bare := row.Row{Schema: row.Schema, Trial: "bare", Label: "bare", Status: row.OK}
	nan := s.row("nan", "a16", map[string]string{"method": "rtn"}, math.NaN(), 0.05)
	nan.Series[2].Values[1] = math.Inf(1)
	nan.Layers[0].OutputError = math.NaN()
	short := synthetic{windows: 4}.row("short", "a16", map[string]string{"method": "gptq"}, 4.2, 0.06)
	same := s.row("same", "a16", map[string]string{"method": "rtn"}, 4.125, 0.08)
	same.Series = base.Series
	one := synthetic{windows: 1, layers: 1}.row("rtn g128", "a16", map[string]string{"method": "rtn"}, 4.125, 0.08)
	failed := row.Row{Schema: row.Schema, Trial: "f", Label: "f", Status: row.Failed}
	cases := map[string][]row.Row{
		"zero rows": nil, "one row": {base}, "bare": {bare}, "nan": {base, nan}, "other windows": {base, short},
		"identical": {base, same}, "one window": {one}, "failed alone": {failed}, "mosaic alone": {s.row("m", "a16", map[string]string{"method": "mosaic", "density": "x"}, 4.3, 0.03)},
		"baseline missing": {s.row("lonely", "a16", map[string]string{"method": "gptq"}, 4.3, 0.03)},
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
				if strings.Contains(string(page), bad) && bad != "NaN" || strings.Contains(string(page), "NaN") && name != "nan" && name != "all" {
					t.Errorf("the page holds %q", bad)
				}
			}
			var b bytes.Buffer
			if err := Summary(&b, Build(rows)); err != nil || b.Len() == 0 {
				t.Errorf("summary: %d bytes, %v", b.Len(), err)
			}
			if _, err := csv.NewReader(bytes.NewReader(Build(rows).csv())).ReadAll(); err != nil {
				t.Error(err)
			}
		})
	}
	// what is missing is said, never guessed
	for rows, want := range map[string]string{"nan": "was left out", "other windows": "windows do not match", "baseline missing": "has no row", "one window": "nothing is claimed"} {
		if page := mustPage(t, Input{Rows: cases[rows]}); !strings.Contains(page, want) {
			t.Errorf("%s: the page does not say %q", rows, want)
		}
	}
}

// TestNeverMixed checks that rows of other models, protocols and activations
// are in groups of their own, and that no comparison crosses them.
func TestNeverMixed(t *testing.T) {
	s := synthetic{windows: 20}
	var rows []row.Row
	for i, change := range []string{"", "model", "protocol.context", "activations"} {
		for _, r := range s.sweep("a16") {
			if change != "" {
				r.Axes[change] = "other"
			}
			r.Trial += fmt.Sprint(i)
			rows = append(rows, r)
		}
	}
	table := Build(rows)
	if len(table.Groups) != 4 {
		t.Fatalf("%d groups, want 4", len(table.Groups))
	}
	for _, g := range table.Groups {
		for _, e := range g.Entries {
			if e.Versus != nil && !slices.Contains(g.Entries, e.Versus.Baseline) {
				t.Errorf("%s is compared with a row of another group", e.Label)
			}
		}
		for _, i := range g.Iso {
			if !slices.Contains(g.Entries, i.Lower) {
				t.Errorf("%s meets a rival of another group", i.Entry.Label)
			}
		}
	}
}

// TestProtocolLine reads a limit of zero tokens as none.
func TestProtocolLine(t *testing.T) {
	s := synthetic{windows: 3}
	for tokens, want := range map[string]string{"0": "text builtin:heldout, all tokens", "512": "text builtin:heldout, tokens 512"} {
		g := Build([]row.Row{s.row("a", "a16", map[string]string{"protocol.tokens": tokens}, 4, 0.1)}).Groups[0]
		if !strings.HasSuffix(g.Protocol, want) {
			t.Errorf("tokens %s: %q", tokens, g.Protocol)
		}
	}
}

// TestRowLabels cuts labels to the room they have, and only then.
func TestRowLabels(t *testing.T) {
	c := draw.New(vgsvg.New(columnWidth, columnWidth))
	long := "mosaic gptq g128 10% 16x64 delta r3 row-scale joint hessian dynamic natural-order"
	style, labels, width := sheet{columnFont, fileInk}.rowLabels(c, []*Entry{{Name: "rtn"}, {Name: long}})
	head, tail, cut := strings.Cut(labels[1], "…")
	if labels[0] != "rtn" || !cut || head == "" || tail == "" || !strings.HasPrefix(long, head) || !strings.HasSuffix(long, tail) {
		t.Errorf("labels %q", labels)
	}
	if w := style.Width(labels[1]); !(w <= 0.5*columnWidth) || !(w > 0.45*columnWidth) || !(width > w) {
		t.Errorf("the long label takes %v of %v", w, columnWidth)
	}
}

// TestPareto places rows whose order is known.
func TestPareto(t *testing.T) {
	s := synthetic{windows: 40}
	rows := []row.Row{
		s.row("small", "a16", map[string]string{"method": "rtn"}, 4.1, 0.08),
		s.row("good", "a16", map[string]string{"method": "gptq"}, 4.3, 0.04),
		s.row("bad", "a16", map[string]string{"method": "rtn"}, 4.4, 0.07),
		s.row("big", "a16", map[string]string{"method": "rtn"}, 4.8, 0.01),
	}
	twin := rows[1] // a little worse than "good" in every window's noise: not distinguishable
	twin.Trial, twin.Label = "twin", "twin"
	twin.Series = slices.Clone(twin.Series)
	kl := slices.Clone(rows[1].Windows(row.WindowKL))
	for i := range kl {
		kl[i] *= 1 + 0.05*float64(1-2*(i%2))
	}
	kl[0] *= 1.2
	twin.Series[2].Values = kl
	limit := s.row("none", "a16", map[string]string{"method": "none"}, 16, 0.0001)
	g := Build(append(rows, twin, limit)).Groups[0]
	want := map[string]Standing{"small": NonDominated, "good": NonDominated, "twin": NearlyNonDominated, "bad": Dominated, "big": NonDominated, "none": Unplaced}
	for _, e := range g.Entries {
		if e.Standing != want[e.Label] && !(e.Label == "twin" && e.Standing == NonDominated) {
			t.Errorf("%s is %q, want %q", e.Label, e.Standing, want[e.Label])
		}
	}
	if g.Best.Label != "big" {
		t.Errorf("the best row is %s", g.Best.Label)
	}
}

// TestIsoBit interpolates between two rows whose divergences are exact powers.
func TestIsoBit(t *testing.T) {
	s := synthetic{windows: 30}
	low := s.row("rtn a", "a16", map[string]string{"method": "rtn"}, 4, 0.08)
	high, mid := low, low
	scaled := func(r row.Row, label, method string, bits, f float64) row.Row {
		r.Trial, r.Label, r.Axes = label, label, map[string]string{}
		for k, v := range low.Axes {
			r.Axes[k] = v
		}
		r.Axes["method"] = method
		r.Values = []row.Value{{Name: row.BitsPerWeight, Value: bits}}
		r.Series = slices.Clone(r.Series)
		kl := slices.Clone(r.Series[2].Values)
		for i := range kl {
			kl[i] *= f
		}
		r.Series[2].Values = kl
		return r
	}
	high, mid = scaled(high, "rtn b", "rtn", 5, 0.25), scaled(mid, "m", "mosaic", 4.5, 0.4)
	far := scaled(low, "far", "mosaic", 5.2, 0.1)
	g := Build([]row.Row{low, high, mid, far}).Groups[0]
	var found bool
	for _, i := range g.Iso {
		if i.Entry.Label == "far" {
			t.Errorf("a row outside the rival's range was compared: %+v", i)
		}
		if i.Entry.Label == "m" {
			found = true
			// the rival at 4.5 bits is √(1·0.25) = 0.5 of rtn a: 0.4/0.5
			if !(math.Abs(i.Ratio.Value-0.8) < 1e-12) || !(math.Abs(i.Weight-0.5) < 1e-12) || i.Upper == nil {
				t.Errorf("KL ratio %v at weight %v, want 0.8 at 0.5", i.Ratio.Value, i.Weight)
			}
		}
	}
	if !found {
		t.Error("the row between the rival's two was not compared")
	}

	// A row of the rival that is hardly larger and better counts as equally large.
	near := scaled(low, "rtn c", "rtn", 4.51, 0.3)
	for _, i := range Build([]row.Row{low, high, near, mid}).Groups[0].Iso {
		if i.Entry.Label == "m" && (i.Lower.Label != "rtn c" || i.Upper != nil || !(math.Abs(i.Ratio.Value-0.4/0.3) < 1e-12)) {
			t.Errorf("KL ratio %v to %s, want %v to rtn c", i.Ratio.Value, i.Lower.Label, 0.4/0.3)
		}
	}
}

// TestEffects recovers a known effect, also across bases that do not share all
// their settings.
func TestEffects(t *testing.T) {
	got := map[string]Effect{}
	for _, f := range Build(synthetic{windows: 60}.sweep("a16")).Groups[0].Effects {
		got[f.Axis+" "+f.To] = f
	}
	for name, want := range map[string]float64{"criterion random": 1.3, "block 1x32": 0.85, "base gptq": 0.049 / 0.082} {
		f, ok := got[name]
		if !ok {
			t.Errorf("no effect of %s among %d", name, len(got))
		} else if !(f.Ratio.Low < want*1.03 && want*0.97 < f.Ratio.High) || !(f.Holm < 0.05) {
			t.Errorf("%s: ratio %v %v, p %v, want %v", name, f.Ratio.Value, interval(f.Ratio, sig), f.Holm, want)
		}
	}
	if f := got["base gptq"]; f.Pairs != 5 || f.Lower != 5 {
		t.Errorf("base: %d pairs, %d lower, want 5 and 5", f.Pairs, f.Lower)
	}
	if f := got["criterion error"]; f.Holm < 0.05 {
		t.Errorf("an effect of 1 %% in one pair is claimed: %+v", f)
	}
}

// TestNoClaim draws rows that differ in noise alone: nothing may be claimed.
func TestNoClaim(t *testing.T) {
	s := synthetic{windows: 40}
	var rows []row.Row
	for i := range 20 {
		rows = append(rows, s.row(fmt.Sprintf("mosaic %d", i), "a16", map[string]string{"method": "mosaic", "criterion": fmt.Sprint(i)}, 4.3, 0.05))
	}
	rows = append(rows, s.row("rtn g128", "a16", map[string]string{"method": "rtn"}, 4.3, 0.05))
	g := Build(rows).Groups[0]
	if n, kl, ppl, _ := g.againstBaseline(); n != 20 || kl != [2]int{} || ppl != [2]int{} {
		t.Errorf("%d comparisons, divergence %v, perplexity %v: want 20 and no claim", n, kl, ppl)
	}
	for _, f := range g.Effects {
		if f.Holm < 0.05 {
			t.Errorf("criterion %s is claimed: %+v", f.To, f.Ratio)
		}
	}
	for _, i := range g.Iso {
		if i.Holm < 0.05 {
			t.Errorf("%s at equal bits is claimed: %+v", i.Entry.Label, i.Ratio)
		}
	}
}

func many(n int) []row.Row {
	s := synthetic{windows: 60, layers: 2}
	var rows []row.Row
	for i := range n {
		m := []string{"rtn", "gptq", "spqr", "mosaic"}[i%4]
		u := float64(i) / float64(n)
		rows = append(rows, s.row(fmt.Sprintf("row %d", i), "a16", map[string]string{"method": m, "n": fmt.Sprint(i)}, 4.1+u, 0.08*math.Exp(-2*u+0.3*math.Sin(float64(i)))))
	}
	rows[0].Label = "rtn g128"
	return rows
}

// TestMany keeps the page of a big sweep usable: its size grows with the rows,
// not with their pairs.
func TestMany(t *testing.T) {
	size := func(n int) int { return len(mustPage(t, Input{Title: "many", Rows: many(n)})) }
	a, b := size(300), size(600)
	if more := float64(b-a) / 300; !(more < 3000) {
		t.Errorf("300 rows take %d bytes, 600 %d: %.0f for each more", a, b, more)
	}
}

// BenchmarkMany draws the whole report of 5,000 rows: the aim is 10 s.
func BenchmarkMany(b *testing.B) {
	rows := many(5000)
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
	if _, err := Page(in); err == nil || !strings.Contains(err.Error(), EchartsSHA256) {
		t.Errorf("another script: %v", err)
	}
	in.Script = ""
	from := usualScript()
	if page := string(mustPage(t, in)); !strings.Contains(page, `<body data-charts="`+from+`">`) || !strings.Contains(page, "script-src "+from+" &#39;sha256-") {
		t.Errorf("without a script the page does not load %s", from)
	}
	in.NoCharts = true
	if page := string(mustPage(t, in)); strings.Contains(page, "<script") || !strings.Contains(page, "script-src &#39;none&#39;") {
		t.Error("a page without charts has a script")
	}
}

// Rows of a model with synthetic outliers are a group of their own, which says
// so: nothing is ranked or compared across.
func TestStressedModelsStandApart(t *testing.T) {
	s := synthetic{windows: 20, layers: 1}
	axes := func(stress bool) map[string]string {
		a := map[string]string{"method": "rtn", "group": "128"}
		if stress {
			a["stress.channels"], a["stress.gain"], a["stress.seed"] = "0.01", "30", "1"
		}
		return a
	}
	table := Build([]row.Row{s.row("rtn", "a8", axes(false), 4.1, 0.02), s.row("rtn synthetic stress 1% x30", "a8", axes(true), 4.1, 0.3)})
	if len(table.Groups) != 2 {
		t.Fatalf("%d groups, want 2", len(table.Groups))
	}
	if got, want := table.Groups[1].Model, "builtin:tiny-llama3 with synthetic outliers (channels 0.01, gain x30, seed 1)"; got != want {
		t.Errorf("the group is %q, want %q", got, want)
	}
}
