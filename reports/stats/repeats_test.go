package stats

import (
	"fmt"
	"maps"
	"math"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/rowtest"
)

// drawn is a row of one draw, whose divergence is the method's times luck.
func drawn(label string, axes map[string]string, seed int, kl, luck float64) row.Row {
	axes = maps.Clone(axes)
	axes["calibration.seed"] = fmt.Sprint(seed)
	r := rowtest.Synthetic{Windows: 30}.Row(label, "a16", axes, 4.5, kl)
	for i := range r.Series {
		if r.Series[i].Name == row.WindowKL {
			for j := range r.Series[i].Values {
				r.Series[i].Values[j] *= luck
			}
		}
	}
	r.Label, r.Trial, r.Baseline = fmt.Sprintf("%s seed%d", label, seed), fmt.Sprintf("%s%d", label, seed),
		fmt.Sprintf("rtn g128 seed%d", seed)
	return r
}

// TestRepeats averages draws into one row, pairs equal draws, and never lets the
// luckiest draw of a method stand for it.
func TestRepeats(t *testing.T) {
	rtn, gptq, none := map[string]string{"method": "rtn"}, map[string]string{"method": "gptq"},
		map[string]string{"method": "none"}
	mosaic := map[string]string{"method": "mosaic", "base": "rtn", "criterion": "random"}
	luck := []float64{.5, 1, 1.5}
	var rows []row.Row
	for i, l := range luck {
		rows = append(rows, drawn("rtn g128", rtn, i+1, .04, 1), drawn("gptq", gptq, i+1, .02, l),
			drawn("mosaic", mosaic, i+1, .02, l),
			drawn("16-bit", none, i+1, 1e-9, 1))
	}
	rows = append(rows, drawn("gptq long", map[string]string{"method": "gptq", "calibration.tokens": "4096"}, 1, .02, .5))
	g := Build(rows).Groups[0]
	if len(g.Entries) != 5 {
		t.Fatalf("%d rows, want rtn, gptq, mosaic and 16-bit once each, and gptq of another length", len(g.Entries))
	}
	of := map[string]*Entry{}
	for _, e := range g.Entries {
		of[e.Label] = e
	}
	q, m := of["gptq"], of["mosaic"]
	if q == nil || m == nil || len(q.Draws) != 3 || of["16-bit"] == nil || len(of["16-bit"].Trials()) != 3 {
		t.Fatalf("rows %v", of)
	}
	mean := 0.0
	for _, d := range q.Draws {
		mean += d.KL.Value / 3
	}
	low, high, ok := q.Spread()
	if !(math.Abs(q.KL.Value/mean-1) < 1e-12) || !ok || low != q.Draws[0].KL.Value || high != q.Draws[2].KL.Value {
		t.Errorf("gptq: KL %v, spread %v to %v; want the mean %v of its draws and their ends", q.KL.Value, low, high, mean)
	}
	if v := m.Versus; v == nil || v.Baseline.Label != "rtn g128" || v.Draws != 3 ||
		!(math.Abs(v.DrawHigh/v.DrawLow-3) < 1e-9) {
		t.Errorf("mosaic against its baseline: %+v, want three draws from half to 1.5 times", v)
	}
	if v := of["rtn g128"]; v.VersusNote != "baseline" {
		t.Errorf("the baseline is not known as one: %q", v.VersusNote)
	}
	// gptq long has the first draw alone: it meets gptq's first, not the mean
	r, err := logKLRatio(of["gptq long seed1"], q)
	first, _ := logKLRatio(of["gptq long seed1"], q.Draws[0])
	if err != nil || r != first {
		t.Errorf("one draw against three: %v (%v), want %v over the draw that both have", r.Value, err, first.Value)
	}
	for _, f := range g.Effects {
		if f.Axis == seedAxis {
			t.Errorf("a draw counts as a setting: %+v", f)
		}
	}
	if d, err := Compare(rows, rows, DiffOptions{}); err != nil || len(d.Pairs) != len(rows) {
		t.Errorf("comparison of two folders: %v; every trial has its own partner", err)
	}
}

// TestNoRepeats leaves rows alone that differ in more than the draw or in nothing.
func TestNoRepeats(t *testing.T) {
	rtn := map[string]string{"method": "rtn"}
	a, b := drawn("rtn g128", rtn, 1, .04, 1), drawn("rtn g128", rtn, 1, .04, 1.1)
	b.Trial = "other"
	if n := len(Build([]row.Row{a, b}).Groups[0].Entries); n != 2 {
		t.Errorf("two rows of one draw became %d", n)
	}
	c := drawn("rtn g128", map[string]string{"method": "rtn", "group": "64"}, 2, .04, 1)
	if n := len(Build([]row.Row{a, c}).Groups[0].Entries); n != 2 {
		t.Errorf("two groups of scales became %d rows", n)
	}
	d := drawn("rtn g128", rtn, 2, .04, 1)
	d.Series = nil
	if n := len(Build([]row.Row{a, d}).Groups[0].Entries); n != 2 {
		t.Errorf("a row without windows was averaged: %d rows", n)
	}
	e := drawn("rtn g128", map[string]string{"method": "rtn", "lm_head": "false"}, 2, .04, 1)
	if n := len(Build([]row.Row{a, e}).Groups[0].Entries); n != 1 {
		t.Errorf("a draw from before a setting existed, and one where it is off, are %d rows", n)
	}
}
