package stats

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/format"
)

// seedAxis is the axis of the draw: of the calibration's sequences, and of methods
// and criteria that draw.
const seedAxis = "calibration.seed"

// repeated averages rows that differ in the draw alone into one: a draw is a repeat of
// a method, not a method. Rows of 16-bit weights that agree in every window are one
// row, whatever calibration stood beside them, for they use none.
func repeated(entries []*Entry) []*Entry {
	var order []string
	by := map[string][]*Entry{}
	for _, e := range entries {
		k := repeatKey(e)
		if by[k] == nil {
			order = append(order, k)
		}
		by[k] = append(by[k], e)
	}
	var out []*Entry
	for _, k := range order {
		list := by[k]
		slices.SortFunc(list, func(a, b *Entry) int {
			return cmp.Or(format.Natural(a.Axes[seedAxis], b.Axes[seedAxis]), byLabel(a, b))
		})
		switch {
		case len(list) > 1 && list[0].Reference && alike(list):
			one := newEntry(list[0].Row)
			one.Label, one.Same = sharedWords(list), list
			one.Name = one.Label
			out = append(out, one)
		case len(list) > 1 && repeats(list):
			out = append(out, average(list))
		default:
			out = append(out, list...)
		}
	}
	renameBaselines(out)
	return out
}

// repeatKey is the same for rows that may be repeats of each other. A setting that rows of
// an earlier version do not have is as good as one that is off.
func repeatKey(e *Entry) string {
	off := []string{"none", "false", "0"}
	var axes []string
	for k, v := range e.Axes {
		if k != seedAxis && !slices.Contains(off, v) && !(e.Reference && strings.HasPrefix(k, "calibration.")) {
			axes = append(axes, k)
		}
	}
	slices.Sort(axes)
	return Spell(e, axes)
}

// alike tells whether all rows have the same windows and the same values in them.
func alike(list []*Entry) bool {
	for _, e := range list[1:] {
		if !slices.Equal(e.WindowTokens, list[0].WindowTokens) || !slices.Equal(e.WindowNLL,
			list[0].WindowNLL) || !slices.Equal(e.WindowKL, list[0].WindowKL) {
			return false
		}
	}
	return list[0].WindowTokens != nil
}

// repeats tells whether the rows, sorted by their draws, are of different draws and
// saw the same windows.
func repeats(list []*Entry) bool {
	for i, e := range list {
		if e.Axes[seedAxis] == "" || !slices.Equal(e.WindowTokens, list[0].WindowTokens) || i > 0 &&
			e.Axes[seedAxis] == list[i-1].Axes[seedAxis] {
			return false
		}
	}
	return list[0].WindowTokens != nil
}

// average is the row of the mean over draws, window by window.
func average(draws []*Entry) *Entry {
	r := draws[0].Row
	r.Label = sharedWords(draws)
	r.Axes = map[string]string{}
	for k, v := range draws[0].Axes {
		if k != seedAxis {
			r.Axes[k] = v
		}
	}
	r.Values, r.Series, r.Layers, r.Warnings = nil, nil, slices.Clone(draws[0].Layers), nil
	for _, v := range draws[0].Values {
		if v, ok := averageValue(v, draws); ok {
			r.Values = append(r.Values, v)
		}
	}
	for _, s := range draws[0].Series {
		if mean := averageSeries(s.Name, draws); mean != nil {
			r.Series = append(r.Series, row.Series{Name: s.Name, Unit: s.Unit, Values: mean})
		}
	}
	for i := range r.Layers {
		r.Layers[i] = averageLayer(i, draws)
	}
	for _, d := range draws {
		for _, w := range d.Warnings {
			if !slices.Contains(r.Warnings, w) {
				r.Warnings = append(r.Warnings, w)
			}
		}
	}
	e := newEntry(r)
	e.Draws = draws
	return e
}

// averageValue is the mean of a value over draws, if all have it: the geometric one
// of a perplexity, which is an exponential, and the arithmetic one of all else.
func averageValue(v row.Value, draws []*Entry) (row.Value, bool) {
	geometric := strings.HasPrefix(v.Name, "ppl")
	in, out := func(x float64) float64 { return x }, func(x float64) float64 { return x }
	if geometric {
		in, out = math.Log, math.Exp
	}
	var value, low, high float64
	bounds := true
	for _, d := range draws {
		o, ok := d.Row.Value(v.Name)
		if !ok {
			return v, false
		}
		value += in(o.Value)
		if bounds = bounds && o.Low != nil && o.High != nil; bounds {
			low, high = low+in(*o.Low), high+in(*o.High)
		}
	}
	n := float64(len(draws))
	v.Value, v.SE, v.Low, v.High = out(value/n), nil, nil, nil
	if bounds {
		l, h := out(low/n), out(high/n)
		v.Low, v.High = &l, &h
	}
	return v, true
}

// averageSeries is the mean of a series over draws, nil unless all have it at one length.
func averageSeries(name string, draws []*Entry) []float64 {
	var mean []float64
	for i, d := range draws {
		x := d.Row.Windows(name)
		if i == 0 {
			mean = make([]float64, len(x))
		}
		if len(x) != len(mean) {
			return nil
		}
		for j, v := range x {
			mean[j] += v / float64(len(draws))
		}
	}
	return mean
}

// averageLayer is the mean of the i-th layer's errors over the draws that have it.
func averageLayer(i int, draws []*Entry) row.Layer {
	l := draws[0].Layers[i]
	var n, output, weight, base float64
	for _, d := range draws {
		if i >= len(d.Layers) || d.Layers[i].Name != l.Name ||
			(d.Layers[i].BaseOutputError == nil) != (l.BaseOutputError == nil) {
			continue
		}
		n, output, weight = n+1, output+d.Layers[i].OutputError, weight+d.Layers[i].WeightError
		if b := d.Layers[i].BaseOutputError; b != nil {
			base += *b
		}
	}
	l.OutputError, l.WeightError = output/n, weight/n
	if l.BaseOutputError != nil {
		base /= n
		l.BaseOutputError = &base
	}
	return l
}

// sharedWords is the first label without the words that others lack.
func sharedWords(draws []*Entry) string {
	words := slices.DeleteFunc(strings.Fields(draws[0].Label), func(w string) bool {
		return slices.ContainsFunc(draws, func(d *Entry) bool { return !hasWord(d.Label, w) })
	})
	return cmp.Or(strings.Join(words, " "), draws[0].Label)
}

// renameBaselines makes rows that name a draw as their baseline name the row that the
// draw went into.
func renameBaselines(entries []*Entry) {
	now := map[string]string{}
	for _, e := range entries {
		for _, d := range slices.Concat(e.Draws, e.Same) {
			now[d.Label] = e.Label
		}
	}
	for _, e := range entries {
		if to, ok := now[e.Baseline]; ok {
			e.Baseline = to
		}
	}
}

// Trials returns the rows behind e: its draws, or e itself and those equal to it.
func (e *Entry) Trials() []*Entry {
	if e.Draws != nil {
		return e.Draws
	}
	if e.Same != nil {
		return e.Same
	}
	return []*Entry{e}
}

// Spread returns the smallest and the largest mean divergence of e's draws.
func (e *Entry) Spread() (low, high float64, ok bool) {
	for i, d := range e.Draws {
		if d.KL == nil {
			return 0, 0, false
		}
		if i == 0 {
			low, high = d.KL.Value, d.KL.Value
		}
		low, high = min(low, d.KL.Value), max(high, d.KL.Value)
	}
	return low, high, e.Draws != nil
}

// pairedDraws returns the rows over the draws that all of them have, so that the luck
// of a draw does not decide between them. A row without draws goes with any; where
// none is common all keep theirs.
func pairedDraws(rows ...*Entry) []*Entry {
	var common []string
	found := false
	for _, e := range rows {
		seeds := e.seeds()
		if seeds == nil {
			continue
		}
		if !found {
			common, found = seeds, true
			continue
		}
		common = slices.DeleteFunc(slices.Clone(common), func(s string) bool { return !slices.Contains(seeds, s) })
	}
	if len(common) == 0 {
		return rows
	}
	out := slices.Clone(rows)
	for i, e := range rows {
		if e.Draws != nil && len(common) < len(e.Draws) {
			out[i] = e.over(common)
		}
	}
	return out
}

// seeds are those of e's draws; nil where e uses none.
func (e *Entry) seeds() []string {
	var out []string
	for _, d := range e.Draws {
		out = append(out, d.Axes[seedAxis])
	}
	if s := e.Axes[seedAxis]; out == nil && s != "" && !e.Reference {
		out = []string{s}
	}
	return out
}

// over is e over some of its draws.
func (e *Entry) over(seeds []string) *Entry {
	key := strings.Join(seeds, "\x00")
	if o := e.part[key]; o != nil {
		return o
	}
	var some []*Entry
	for _, d := range e.Draws {
		if slices.Contains(seeds, d.Axes[seedAxis]) {
			some = append(some, d)
		}
	}
	o := some[0]
	if len(some) > 1 {
		o = average(some)
	}
	if e.part == nil {
		e.part = map[string]*Entry{}
	}
	e.part[key] = o
	return o
}
