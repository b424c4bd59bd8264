package stats

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/rowtest"
)

// TestPareto places rows whose order is known.
func TestPareto(t *testing.T) {
	s := rowtest.Synthetic{Windows: 40}
	rows := []row.Row{
		s.Row("small", "a16", map[string]string{"method": "rtn"}, 4.1, 0.08),
		s.Row("good", "a16", map[string]string{"method": "gptq"}, 4.3, 0.04),
		s.Row("bad", "a16", map[string]string{"method": "rtn"}, 4.4, 0.07),
		s.Row("big", "a16", map[string]string{"method": "rtn"}, 4.8, 0.01),
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
	limit := s.Row("none", "a16", map[string]string{"method": "none"}, 16, 0.0001)
	g := Build(append(rows, twin, limit)).Groups[0]
	want := map[string]Standing{"small": NonDominated, "good": NonDominated, "twin": NearlyNonDominated, "bad": Dominated,
		"big": NonDominated, "none": Unplaced}
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
	s := rowtest.Synthetic{Windows: 30}
	low := s.Row("rtn a", "a16", map[string]string{"method": "rtn"}, 4, 0.08)
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
	high, mid = scaled(high, "rtn b", "rtn", 5, 0.36), scaled(mid, "m", "mosaic", 4.5, 0.4)
	far := scaled(low, "far", "mosaic", 5.2, 0.1)
	g := Build([]row.Row{low, high, mid, far}).Groups[0]
	var found bool
	for _, i := range g.Iso {
		if i.Entry.Label == "far" {
			t.Errorf("a row outside the rival's range was compared: %+v", i)
		}
		if i.Entry.Label == "m" {
			found = true
			// the rival at 4.5 bits is √(1·0.36) = 0.6 of rtn a: 0.4/0.6
			if !(math.Abs(i.Ratio.Value-0.4/0.6) < 1e-12) || !(math.Abs(i.Weight-0.5) < 1e-12) || i.Upper == nil {
				t.Errorf("KL ratio %v at weight %v, want .667 at 0.5", i.Ratio.Value, i.Weight)
			}
		}
	}
	if !found {
		t.Error("the row between the rival's two was not compared")
	}

	// The line goes along the front: a row of more bits and more divergence does not bend it, another does.
	near, above := scaled(low, "rtn c", "rtn", 4.54, 0.7), scaled(low, "rtn d", "rtn", 4.6, 0.8)
	want := 0.4 / math.Pow(0.7, 0.5/0.54)
	for _, i := range Build([]row.Row{low, high, near, above, mid}).Groups[0].Iso {
		if i.Entry.Label == "m" && (i.Lower.Label != "rtn a" || i.Upper.Label != "rtn c" ||
			!(math.Abs(i.Ratio.Value-want) < 1e-12)) {
			t.Errorf("KL ratio %v to %s and %s, want %v to rtn a and rtn c", i.Ratio.Value, i.Lower.Label, i.Upper.Label, want)
		}
	}
	// Past its ends a row is read at other bits, a quarter for each bit, not far.
	for at, want := range map[float64]float64{
		5.02: 0.2 / (0.36 * math.Pow(4, -0.02)), 5.04: 0, 3.98: 0.2 / math.Pow(4, 0.02), 3.96: 0,
	} {
		got := 0.0
		for _, i := range Build([]row.Row{low, high, scaled(low, "m", "mosaic", at, 0.2)}).Groups[0].Iso {
			if i.Entry.Label == "m" {
				got = i.Ratio.Value
			}
		}
		if !(math.Abs(got-want) < 1e-12) {
			t.Errorf("at %v bits: KL ratio %v, want %v (0: not compared)", at, got, want)
		}
	}
	// A steep line between two rows is followed neither between nor below them.
	steep := scaled(low, "rtn f", "rtn", 4.1, 0.5)
	for at, want := range map[float64]float64{3.99: 0.4 / math.Pow(4, 0.01), 4.05: 0.4 / (0.5 * math.Pow(4, 0.05))} {
		for _, i := range Build([]row.Row{low, steep, scaled(low, "m", "mosaic", at, 0.4)}).Groups[0].Iso {
			if i.Entry.Label == "m" && !(math.Abs(i.Ratio.Value-want) < 1e-12) {
				t.Errorf("at %v bits: KL ratio %v to %s, want %v", at, i.Ratio.Value, i.Lower.Label, want)
			}
		}
	}
	// A rival that has fewer bits and less divergence is ahead, whatever its larger rows do.
	worse := scaled(low, "rtn e", "rtn", 5.1, 0.5)
	for kl, ok := range map[float64]bool{0.4: true, 0.2: false} {
		found := false
		for _, i := range Build([]row.Row{low, high, scaled(low, "m", "mosaic", 5.1, kl)}).Groups[0].Iso {
			if i.Entry.Label == "m" {
				found = true
				if i.Lower.Label != "rtn b" || i.Upper != nil || !(math.Abs(i.Ratio.Value-kl/0.36) < 1e-12) ||
					!(math.Abs(i.Apart()+0.1) < 1e-12) {
					t.Errorf("KL ratio %v to %s, want %v to rtn b", i.Ratio.Value, i.Lower.Label, kl/0.36)
				}
			}
		}
		if found != ok {
			t.Errorf("%v of the divergence at 5.1 bits: compared %v, want %v", kl, found, ok)
		}
	}
	// Where it has larger rows of this size, its best smaller one is the rival either way.
	for _, i := range Build([]row.Row{low, high, worse, scaled(low, "m", "mosaic", 5.1, 0.2)}).Groups[0].Iso {
		if i.Entry.Label == "m" && (i.Lower.Label != "rtn b" || !(math.Abs(i.Ratio.Value-0.2/0.36) < 1e-12)) {
			t.Errorf("KL ratio %v to %s, want .556 to rtn b", i.Ratio.Value, i.Lower.Label)
		}
	}
	for at, ok := range map[float64]bool{4.029: true, 4.031: false} {
		if got := len(Build([]row.Row{low, scaled(low, "m", "mosaic", at, 0.2)}).Groups[0].Iso) > 0; got != ok {
			t.Errorf("at %v bits against one row of 4: compared %v, want %v", at, got, ok)
		}
	}
}

// TestEffects recovers a known effect, also across bases that do not share all
// their settings.
func TestEffects(t *testing.T) {
	got := map[string]Effect{}
	for _, f := range Build(rowtest.Synthetic{Windows: 60}.Sweep("a16")).Groups[0].Effects {
		got[f.Axis+" "+f.To] = f
	}
	for name, want := range map[string]float64{"criterion random": 1.3, "block 1x32": 0.85, "base gptq": 0.049 / 0.082} {
		f, ok := got[name]
		if !ok {
			t.Errorf("no effect of %s among %d", name, len(got))
		} else if !(f.Ratio.Low < want*1.03 && want*0.97 < f.Ratio.High) || !(f.Holm < 0.05) {
			t.Errorf("%s: ratio %v %v, p %v, want %v", name, f.Ratio.Value, Interval(f.Ratio, format.Sig), f.Holm, want)
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
	s := rowtest.Synthetic{Windows: 40}
	var rows []row.Row
	for i := range 20 {
		rows = append(rows, s.Row(fmt.Sprintf("mosaic %d", i), "a16",
			map[string]string{"method": "mosaic", "criterion": fmt.Sprint(i)}, 4.3, 0.05))
	}
	rows = append(rows, s.Row("rtn g128", "a16", map[string]string{"method": "rtn"}, 4.3, 0.05))
	g := Build(rows).Groups[0]
	if n, kl, ppl, _ := g.AgainstBaseline(); n != 20 || kl != [2]int{} || ppl != [2]int{} {
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

// TestIsoCheckpoints: no line goes between two checkpoints, which are no sizes of one
// method; one of a row's own size is its rival.
func TestIsoCheckpoints(t *testing.T) {
	s := rowtest.Synthetic{Windows: 30}
	made := func(label, method string, bits, kl float64) row.Row {
		r := s.Row(label, "a16", map[string]string{"method": method, "label": label}, bits, kl)
		r.Trial = label
		return r
	}
	rows := []row.Row{made("low", "checkpoint", 4.1, 0.09), made("high", "checkpoint", 5, 0.001),
		made("between", "rtn", 4.5, 0.05), made("beside", "gptq", 5.002, 0.03), made("worse", "checkpoint", 5.003, 0.2)}
	found := map[string]string{}
	for _, i := range Build(rows).Groups[0].Iso {
		if i.Family == "checkpoint" {
			found[i.Entry.Label] = i.Lower.Label
		}
	}
	if len(found) != 1 || found["beside"] != "high" {
		t.Errorf("rows and the checkpoints that they meet at equal bits: %v", found)
	}
}
