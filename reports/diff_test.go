package reports

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/rowtest"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// scaled returns r with the named series of windows multiplied by f.
func scaled(r row.Row, series string, f float64) row.Row {
	r.Series = slices.Clone(r.Series)
	for i, s := range r.Series {
		if s.Name == series {
			r.Series[i].Values = slices.Clone(s.Values)
			for j := range s.Values {
				r.Series[i].Values[j] *= f
			}
		}
	}
	return r
}

func mustCompare(t *testing.T, a, b []row.Row, o stats.DiffOptions) *stats.Diff {
	t.Helper()
	if o.Names[0] == "" {
		o.Names = [2]string{"before", "after"}
	}
	d, err := stats.Compare(a, b, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range DiffFormats {
		var b bytes.Buffer
		if err := WriteDiff(d, &b, f); err != nil || b.Len() == 0 || strings.Contains(b.String(), "NaN") {
			t.Errorf("%s: %v\n%s", f, err, &b)
		}
		if f == "csv" {
			if recs, err := csv.NewReader(&b).ReadAll(); err != nil ||
				len(recs) != 1+len(d.Pairs)+len(d.Only[0])+len(d.Only[1]) {
				t.Errorf("CSV: %d lines, %v", len(recs), err)
			}
		}
	}
	return d
}

// pairOf finds the pair whose row of A has the label.
func pairOf(d *stats.Diff, t *testing.T, label string) *stats.Pair {
	t.Helper()
	for _, p := range d.Pairs {
		if p.A.Label == label {
			return p
		}
	}
	t.Fatalf("no pair of %s", label)
	return nil
}

func TestCompareIdentical(t *testing.T) {
	rows := syntheticInput().Rows
	d := mustCompare(t, rows, rows, stats.DiffOptions{})
	if len(d.Pairs) != len(rows) || len(d.Only[0])+len(d.Only[1]) != 0 {
		t.Fatalf("%d pairs of %d rows", len(d.Pairs), len(rows))
	}
	for _, p := range d.Pairs {
		switch {
		case p.A.Status == row.Failed:
			if p.Verdict != stats.NotPaired {
				t.Errorf("%s failed twice: %s", p.A.Label, p.Verdict)
			}
		case p.Matched != stats.ByTrial || p.Verdict != stats.Same || p.PPL.Value != 1 || p.KL.Value != 0 || *p.Bits != 0:
			t.Errorf("%s differs from itself: %+v", p.A.Label, p)
		}
	}
}

func TestCompareThreshold(t *testing.T) {
	s := rowtest.Synthetic{Windows: 40}
	a := s.Sweep("a16")
	b := slices.Clone(a)
	b[0] = scaled(b[0], row.WindowKL, 1.1)
	b[1] = scaled(b[1], row.WindowNLL, 1.002)
	b[2] = scaled(b[2], row.WindowKL, 0.9)
	b[3].Status, b[3].Error, b[3].Values, b[3].Series = row.Failed, "quant: broken", nil, nil
	for _, c := range []struct {
		threshold float64
		want      [4]stats.Verdict
	}{
		{0, [4]stats.Verdict{stats.Regression, stats.Regression, stats.Better, stats.Regression}},
		{0.05, [4]stats.Verdict{stats.Regression, stats.Worse, stats.Better, stats.Regression}},
		{0.2, [4]stats.Verdict{stats.Worse, stats.Worse, stats.Better, stats.Regression}},
	} {
		d := mustCompare(t, a, b, stats.DiffOptions{Threshold: c.threshold})
		n := 0
		for i, want := range c.want {
			if p := pairOf(d, t, a[i].Label); p.Verdict != want {
				t.Errorf("threshold %v, %s: %s (%s), want %s", c.threshold, a[i].Label, p.Verdict, p.Why, want)
			}
			if want == stats.Regression {
				n++
			}
		}
		if got := len(d.Regressions()); got != n {
			t.Errorf("threshold %v: %d regressions, want %d", c.threshold, got, n)
		}
		if r := pairOf(d, t, a[0].Label).KLRatio; !(math.Abs(r.Value-1.1) < 1e-12) || !(r.SE < 1e-9) {
			t.Errorf("KL ratio %v ± %v, want 1.1 exactly", r.Value, r.SE)
		}
		if p := pairOf(d, t, a[3].Label); !strings.Contains(p.Why, "quant: broken") {
			t.Errorf("a row that fails now: %q", p.Why)
		}
	}
	mixed := scaled(scaled(a[0], row.WindowKL, 1.1), row.WindowNLL, 0.99)
	if p := mustCompare(t, a[:1], []row.Row{mixed}, stats.DiffOptions{}).Pairs[0]; p.Verdict != stats.Regression ||
		p.Why != "KL; perplexity better" {
		t.Errorf("better in one measure, worse in the other: %s %q", p.Verdict, p.Why)
	}
	// from no divergence to some: past every threshold
	zero := scaled(a[0], row.WindowKL, 0)
	d := mustCompare(t, []row.Row{zero}, a[:1], stats.DiffOptions{Threshold: 10})
	if p := d.Pairs[0]; p.Verdict != stats.Regression || p.KLRatio != nil {
		t.Errorf("from zero: %+v", p)
	}
}

// TestCompareNoise compares 20 rows that differ in noise alone.
func TestCompareNoise(t *testing.T) {
	s := rowtest.Synthetic{Windows: 40}
	var a, b []row.Row
	for i := range 20 {
		axes := map[string]string{"method": "rtn", "n": fmt.Sprint(i)}
		a = append(a, s.Row(fmt.Sprint("a", i), "a16", axes, 4.1, 0.05))
		b = append(b, s.Row(fmt.Sprint("b", i), "a16", axes, 4.1, 0.05))
	}
	d := mustCompare(t, a, b, stats.DiffOptions{})
	for _, p := range d.Pairs {
		if p.Matched != stats.BySettings || p.Verdict != stats.Same {
			t.Errorf("%s: %s %s (%s)", p.A.Label, p.Matched, p.Verdict, p.Why)
		}
	}
	if len(d.Pairs) != 20 || len(d.Notes) != 1 || !strings.Contains(d.Notes[0], "by their names") {
		t.Errorf("%d pairs, notes %q", len(d.Pairs), d.Notes)
	}
}

func TestCompareMatching(t *testing.T) {
	s := rowtest.Synthetic{Windows: 30}
	mosaic := func(label, density, block string) row.Row {
		return s.Row(label, "a16", map[string]string{"method": "mosaic", "base": "rtn", "density": density, "block": block},
			4.3, 0.05)
	}
	none := s.Row("16-bit", "a16", map[string]string{"method": "none"}, 16, 0)
	rtn := s.Row("rtn", "a16", map[string]string{"method": "rtn"}, 4.1, 0.08)
	a := []row.Row{none, rtn, mosaic("x", "0.05", "16x64"), mosaic("y", "0.05", "1x32"), mosaic("only", "0.05", "9x9")}
	b := []row.Row{none, rtn, mosaic("x", "0.1", "16x64"), mosaic("y", "0.1", "1x32"), mosaic("y again", "0.2", "1x32")}
	for i := range a {
		a[i].Trial = fmt.Sprint("a", i) // no IDs in common
	}
	d := mustCompare(t, a, b, stats.DiffOptions{})
	if len(d.Pairs) != 2 || len(d.Only[0]) != 3 || len(d.Only[1]) != 3 || len(d.Notes) != 0 {
		t.Errorf("by settings: %d pairs, %d and %d left, notes %q", len(d.Pairs), len(d.Only[0]), len(d.Only[1]), d.Notes)
	}
	for _, u := range d.Only[0] {
		differs := cmp.Or(map[string]string{"only": "block, density"}[u.Label], "density")
		if want := "the nearest row left differs in " + differs; u.Why != want {
			t.Errorf("why %s is alone: %q", u.Label, u.Why)
		}
	}
	d = mustCompare(t, a, b, stats.DiffOptions{Across: []string{"density"}})
	if p := pairOf(d, t, "x"); len(d.Pairs) != 3 || p.Matched != stats.Across || p.KLRatio == nil {
		t.Errorf("across density: %d pairs, x %+v", len(d.Pairs), p)
	}
	for _, u := range d.Only[0] {
		if want := map[string]string{"y": "several rows have these settings",
			"only": "the nearest row left differs in block, density"}[u.Label]; u.Why != want {
			t.Errorf("why %s is alone: %q, want %q", u.Label, u.Why, want)
		}
	}

	// another text behind the same name: the 16-bit rows show it
	other := slices.Clone(b)
	other[0] = scaled(other[0], row.WindowNLL, 1.01)
	d = mustCompare(t, a, other, stats.DiffOptions{})
	if p := pairOf(d, t, "rtn"); p.Verdict != stats.NotPaired || !strings.Contains(p.Why, "other text or weights") ||
		p.Bits == nil {
		t.Errorf("another text: %s %q", p.Verdict, p.Why)
	}
	// another protocol, another model, other windows: refused by name
	for axis, want := range map[string]string{"protocol.context": "protocol.context is 256 and 512",
		"model": "model is builtin:tiny-llama3 and 512"} {
		c := s.Row("rtn", "a16", map[string]string{"method": "rtn", axis: "512"}, 4.1, 0.08)
		d = mustCompare(t, a[1:2], []row.Row{c}, stats.DiffOptions{Across: []string{axis}})
		if p := d.Pairs[0]; p.Verdict != stats.NotPaired || p.Why != want || p.PPL != nil || p.KL != nil {
			t.Errorf("another %s: %s %q", axis, p.Verdict, p.Why)
		}
	}
	shorter := rowtest.Synthetic{Windows: 29}.Row("rtn", "a16", map[string]string{"method": "rtn"}, 4.1, 0.08)
	if d = mustCompare(t, b[1:2], []row.Row{shorter}, stats.DiffOptions{}); d.Pairs[0].Verdict != stats.NotPaired ||
		!strings.Contains(d.Pairs[0].Why, "30 and 29") {
		t.Errorf("other windows: %s %q", d.Pairs[0].Verdict, d.Pairs[0].Why)
	}
	one := []row.Row{rowtest.Synthetic{Windows: 1}.Row("rtn", "a16", map[string]string{"method": "rtn"}, 4.1, 0.08)}
	if d = mustCompare(t, one, one, stats.DiffOptions{}); d.Pairs[0].Verdict != stats.NotPaired ||
		!strings.Contains(d.Pairs[0].Why, "one evaluation window") {
		t.Errorf("one window: %s %q", d.Pairs[0].Verdict, d.Pairs[0].Why)
	}
}

func TestCompareRefuses(t *testing.T) {
	s := rowtest.Synthetic{Windows: 5}
	a := []row.Row{s.Row("a", "a16", map[string]string{"method": "mosaic", "density": "0.05"}, 4.3, 0.05)}
	b := []row.Row{s.Row("b", "a16", map[string]string{"method": "mosaic", "density": "0.1"}, 4.5, 0.04)}
	if _, err := stats.Compare(a, b, stats.DiffOptions{}); !errors.Is(err, stats.ErrNoPairs) ||
		!strings.Contains(err.Error(), "density (0.05 and 0.1)") {
		t.Errorf("nothing to compare: %v", err)
	}
	if _, err := stats.Compare(nil, nil, stats.DiffOptions{}); !errors.Is(err, stats.ErrNoPairs) {
		t.Errorf("no rows: %v", err)
	}
	if _, err := stats.Compare(a, b, stats.DiffOptions{Across: []string{"densty"}}); err == nil ||
		!strings.Contains(err.Error(), `"densty"; there are activations, density`) {
		t.Errorf("an axis that no row has: %v", err)
	}
	for _, x := range []float64{-1, math.NaN(), math.Inf(1)} {
		if _, err := stats.Compare(a, a, stats.DiffOptions{Threshold: x}); err == nil {
			t.Errorf("threshold %v passed", x)
		}
	}
	if err := WriteDiff(mustCompare(t, a, a, stats.DiffOptions{}), &bytes.Buffer{}, "xls"); err == nil ||
		!strings.Contains(err.Error(), "xls") {
		t.Errorf("format: %v", err)
	}
}

// TestHostileDiff compares rows with markup in every name.
func TestHostileDiff(t *testing.T) {
	a := hostileFolders()[0].Rows
	b := slices.Clone(a[1:])
	b[0].Label += "\u202e"
	d := mustCompare(t, a, b, stats.DiffOptions{Names: [2]string{rowtest.Evil, rowtest.Evil}})
	for _, format := range DiffFormats {
		var out bytes.Buffer
		if err := WriteDiff(d, &out, format); err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"\u202e", "\x00", "\x1b"} {
			if strings.Contains(out.String(), bad) {
				t.Errorf("%s holds %q", format, bad)
			}
		}
		if format == "md" && regexp.MustCompile(`(^|[^\\])[<&]`).MatchString(out.String()) {
			t.Error("the Markdown holds markup")
		}
	}
}

// halves returns two sweeps of n rows, half of which have no partner.
func halves(n int) (a, b []row.Row) {
	s := rowtest.Synthetic{Windows: 20}
	for i := range n {
		r := s.Row(fmt.Sprint("row ", i), "a16", map[string]string{"method": "rtn", "n": fmt.Sprint(i)}, 4.1, 0.05)
		a = append(a, r)
		if i%2 == 1 {
			r = s.Row(r.Label, "a16", map[string]string{"method": "rtn", "n": fmt.Sprint(i + n)}, 4.1, 0.05)
			r.Trial += "b"
		}
		b = append(b, r)
	}
	return a, b
}

func TestCompareHalves(t *testing.T) {
	a, b := halves(400)
	if d, err := stats.Compare(a, b, stats.DiffOptions{}); err != nil || len(d.Pairs) != 200 || len(d.Only[0]) != 200 {
		t.Fatal(err, len(d.Pairs))
	}
}

// BenchmarkCompareMany compares two sweeps of 5,000 rows: the aim is 10 s.
func BenchmarkCompareMany(b *testing.B) {
	x, y := halves(5000)
	for b.Loop() {
		if _, err := stats.Compare(x, y, stats.DiffOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
