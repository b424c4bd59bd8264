package reports

import (
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/rowtest"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// timedSweep is a sweep whose rows carry times: residuals are a little slower.
func timedSweep(activations string) []row.Row {
	rows := rowtest.Synthetic{Windows: 40, Layers: 2}.Sweep(activations)
	for i, r := range rows {
		decode, prefill := .27, .8
		if r.Axes["method"] == "mosaic" {
			decode, prefill = .31, .84
		}
		if r.Axes["group"] == "32" {
			decode = .30
		}
		rows[i] = rowtest.WithTimes(r, decode, prefill)
	}
	return rows
}

// TestAnswer wants the first words of a page to be a comparison at equal bits and at
// equal time, whatever the rows are.
func TestAnswer(t *testing.T) {
	s := rowtest.Synthetic{Windows: 30}
	mosaic := func(label string, bits, kl float64) row.Row {
		return s.Row(label, "a16", map[string]string{"method": "mosaic", "base": "gptq", "density": "0.1"}, bits, kl)
	}
	rtn, gptq := s.Row("rtn g32", "a16", map[string]string{"method": "rtn"}, 4.5, .05),
		s.Row("gptq g32", "a16", map[string]string{"method": "gptq"}, 4.5, .03)
	big := s.Row("gptq int6", "a16", map[string]string{"method": "gptq"}, 6.125, .001)
	for name, c := range map[string]struct {
		rows []row.Row
		want []string
	}{
		"a residual wins": {[]row.Row{rtn, gptq, mosaic("thin", 4.5, .02), mosaic("wide", 4.5, .06)},
			[]string{"At equal bits, the best residual is thin, 4.500 bits: KL −3",
				"strongest other method there, gptq g32. Of 2 residuals 1 lower, 1 higher.",
				"these rows carry no times, so nothing is said of speed."}},
		"a residual loses": {[]row.Row{rtn, gptq, mosaic("wide", 4.5, .06)},
			[]string{"the best residual is wide, 4.500 bits: KL +"}},
		"no residual": {[]row.Row{rtn, gptq, big},
			[]string{"At equal bits, the row of lowest divergence that has a rival there is gptq g32, 4.500 bits: KL −",
				"against the next method, rtn g32"}},
		"no rival": {[]row.Row{rtn, big},
			[]string{"Over bits: less divergence for more bits, in steps: rtn g32 (4.500 bits, KL 0.05",
				"), gptq int6 (6.125 bits, KL 0.001", "; no two methods have rows of one size over the same windows."}},
		"times": {[]row.Row{rowtest.WithTimes(rtn, .25, .8), rowtest.WithTimes(gptq, .25, .8),
			rowtest.WithTimes(mosaic("thin", 4.5, .02), .26, .9)},
			[]string{"at once, on the fronts of bits, decoding time and prompt time: thin: 4.500 bits, KL 0.02",
				"In decoding time (M=1), the best residual is thin, 0.260 of the time of 16-bit weights: KL −",
				"the strongest other method that is no slower, gptq g32, for 1.04 [1.00, 1.08] times its time.",
				"In prompt time (M=512), the best residual is thin, 0.900", "for 1.12 [1.08, 1.17] times its time."}},
		"slow": {[]row.Row{rowtest.WithTimes(gptq, .25, .8), rowtest.WithTimes(mosaic("thin", 4.5, .02), .75, .9),
			rowtest.WithTimes(mosaic("wide", 4.5, .06), .26, .9)},
			[]string{"on the fronts of bits, decoding time and prompt time: thin: 4.500 bits, KL 0.02057, decoding time 0.750",
				"Of 2 residuals 0 lower in no more time, 1 lower for more time, 1 higher."}},
	} {
		g := stats.Build(c.rows).Groups[0]
		var all []string
		for _, f := range answers(g) {
			all = append(all, f.Text)
		}
		text := strings.Join(all, "\n")
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: the answer lacks %q:\n%s", name, want, text)
			}
		}
		if name != "no rival" && strings.Contains(text, "int6") {
			t.Errorf("%s: a row without a rival of its size is an answer:\n%s", name, text)
		}
	}
}

// TestPrice: a slow row beats a fast one for a price, and a row on the front of time by
// estimate is told apart from one that the intervals put there.
func TestPrice(t *testing.T) {
	s := rowtest.Synthetic{Windows: 30}
	of := func(label, method string, kl, decode float64) row.Row {
		r := s.Row(label, "a16", map[string]string{"method": method, "base": "gptq"}, 4.5, kl)
		return rowtest.WithTimes(r, decode, decode)
	}
	g := stats.Build([]row.Row{of("fast", "gptq", .03, .30), of("alike", "gptq", .02, .305),
		of("slow", "mosaic", .01, .6)}).Groups[0]
	find := func(label string) *stats.Entry {
		for _, e := range g.Entries {
			if e.Label == label {
				return e
			}
		}
		t.Fatalf("no row %s", label)
		return nil
	}
	iso := g.HardestInTime("M=1", residuals)[find("slow")]
	if iso.Rival != find("alike") || !iso.Lower() || !iso.Slower() || timeVerdict(iso) != "lower, for more time" ||
		!(iso.Price.Low < .6/.305 && .6/.305 < iso.Price.High) {
		t.Errorf("slow stands against %s at a price of %+v: %s", iso.Rival.Label, iso.Price, timeVerdict(iso))
	}
	if got := g.TiedInTime(find("fast"), "M=1"); got != find("alike") {
		t.Errorf("fast is not told apart in time from %v, want alike", got)
	}
	if got := g.TiedInTime(find("alike"), "M=1"); got != nil {
		t.Errorf("alike is tied with %s, which is clearly slower", got.Label)
	}
	var b strings.Builder
	two := stats.Build([]row.Row{of("fast", "gptq", .03, .30), of("slow", "mosaic", .01, .6)})
	if err := Answers(&b, two, 60); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"accurate and fast, on the fronts of bits", "for 2.00 times its decoding time"} {
		if !strings.Contains(strings.ReplaceAll(b.String(), "\n  ", " "), want) {
			t.Errorf("the answer lacks %q:\n%s", want, &b)
		}
	}
	for _, l := range strings.Split(b.String(), "\n") {
		if n := len([]rune(l)); n > 60 {
			t.Errorf("%d columns: %s", n, l)
		}
	}
}

// TestFirstScreen wants the pictures before the tables: time, then bits.
func TestFirstScreen(t *testing.T) {
	page := mustPage(t, Input{Title: "timed", Rows: timedSweep("a16"), Styles: styles})
	at := 0
	for _, want := range []string{`<h1>`, `id="answer-1"`, `data-figure="kl-time-m1"`, `data-figure="kl-time-m512"`,
		`data-figure="kl-bits"`, `id="front-1"`, `id="results-1"`} {
		i := strings.Index(page[at:], want)
		if i < 0 {
			t.Fatalf("the page has no %s after what should come before it", want)
		}
		at += i
	}
	for _, want := range []string{"decoding time / 16-bit", "prompt time / 16-bit",
		"Accurate and fast at once, on the fronts of bits, decoding time and prompt time: "} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}
