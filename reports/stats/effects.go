package stats

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/mosaicquant/mosaicquant/reports/format"
)

// Effect is what changing one setting of a method does to the divergence, all
// other settings equal: the geometric mean, over the matched pairs, of the
// ratio of mean KL. Its interval covers the windows, with the pairs as they
// are; it says nothing of settings that were not swept.
type Effect struct {
	Method, Axis, From, To string

	Pairs      int
	Lower      int      // pairs in which To has the lower divergence
	Ratio      Estimate // KL with To over KL with From
	BitsChange float64  // mean of bits(To) - bits(From)
	Holm       float64  // corrected over the group's effects
}

// Bits is the change of the bits per weight as text, "" where there is none.
func (f Effect) Bits() string {
	if b := format.Signed(f.BitsChange, 3); b != "0.000" {
		return b + " bits"
	}
	return ""
}

// None tells that no row of a pair differs from the other in any window.
func (f Effect) None() bool { return f.Ratio.Low == 1 && f.Ratio.High == 1 }

// Change is the change of the divergence with its interval, as text.
func (f Effect) Change() string {
	if f.None() {
		return "the same"
	}
	return format.Percent(f.Ratio.Value) + " " + Interval(f.Ratio, format.Percent)
}

// contextAxes are settings that define a group or a family, or draw a repeat: no
// ablation.
var contextAxes = []string{"model", "protocol", "activations", "method", seedAxis}

// Varying returns the axes, context aside, that take several values in rows,
// sorted, and those values in natural order.
func Varying(rows []*Entry) (axes []string, values map[string][]string) {
	values = map[string][]string{}
	for _, e := range rows {
		for k, v := range e.Axes {
			if !slices.Contains(values[k], v) {
				values[k] = append(values[k], v)
			}
		}
	}
	for k, v := range values {
		if len(v) > 1 && !slices.Contains(contextAxes, k) && !strings.HasPrefix(k, "protocol.") {
			axes = append(axes, k)
		}
		slices.SortFunc(v, byNumber)
	}
	slices.Sort(axes)
	return axes, values
}

// ContrastLimit is how many values a setting may have and still be compared
// value by value.
const ContrastLimit = 24

// effects compares, within each method and along each varying axis other than
// density, each value with one: that of the group's baseline, else the one that
// most rows have.
func (g *Group) effects() []Effect {
	of := map[string][]*Entry{}
	for _, e := range g.Entries {
		if m := Setting(&e.Row, "method"); e.KL != nil && e.KL.Value > 0 && !e.Reference {
			of[m] = append(of[m], e)
		}
	}
	var out []Effect
	for _, method := range slices.SortedFunc(maps.Keys(of), g.Families.compareMethods) {
		rows := of[method]
		axes, values := Varying(rows)
		for _, axis := range axes {
			if axis == "density" {
				continue // a curve, not a contrast: drawn instead
			}
			if len(values[axis]) > ContrastLimit {
				g.ManyValued = append(g.ManyValued, method+", "+axis)
				continue
			}
			from := g.usual(rows, axis, values[axis])
			for _, to := range values[axis] {
				if ef, ok := effect(rows, axis, from, to); to != from && ok {
					ef.Method = method
					out = append(out, ef)
				}
			}
		}
	}
	ps := make([]float64, len(out))
	for i, ef := range out {
		ps[i] = ef.Ratio.P
	}
	for i, p := range Holm(ps) {
		out[i].Holm = p
	}
	return out
}

// compareMethods puts mosaic, which the sweeps are about, first.
func (o order) compareMethods(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == "mosaic":
		return -1
	case b == "mosaic":
		return 1
	}
	return o.Compare(a, b)
}

// usual is the value that rows are compared with along axis: that of the
// group's baseline, if it is among the values, else the most frequent one.
func (g *Group) usual(rows []*Entry, axis string, values []string) string {
	if len(g.Baseline) == 1 {
		for _, e := range g.Entries {
			if v, ok := e.Axes[axis]; ok && e.Label == g.Baseline[0] && slices.Contains(values, v) {
				return v
			}
		}
	}
	count := map[string]int{}
	for _, e := range rows {
		if v, ok := e.Axes[axis]; ok {
			count[v]++
		}
	}
	usual := values[0]
	for _, v := range values {
		if count[v] > count[usual] {
			usual = v
		}
	}
	return usual
}

// effect compares rows that agree in all settings that every row with one of
// the two values has: a GPTQ base has a column order, which an RTN base cannot
// match. Where that leaves several candidates for one side, none is picked.
func effect(rows []*Entry, axis, from, to string) (Effect, bool) {
	ef := Effect{Axis: axis, From: from, To: to}
	var with []*Entry
	for _, e := range rows {
		if v, ok := e.Axes[axis]; ok && (v == from || v == to) {
			with = append(with, e)
		}
	}
	shared := SharedAxes(with, axis, seedAxis)
	cells := map[string]map[string][]*Entry{}
	for _, e := range with {
		rest := Spell(e, shared)
		if cells[rest] == nil {
			cells[rest] = map[string][]*Entry{}
		}
		cells[rest][e.Axes[axis]] = append(cells[rest][e.Axes[axis]], e)
	}
	var pairs [][2]*Entry
	for _, rest := range slices.Sorted(maps.Keys(cells)) {
		a, b := cells[rest][to], cells[rest][from]
		if len(a) == 1 && len(b) == 1 && slices.Equal(a[0].WindowTokens, b[0].WindowTokens) {
			pairs = append(pairs, [2]*Entry(pairedDraws(a[0], b[0])))
		}
	}
	ef.Pairs = len(pairs)
	if ef.Pairs == 0 {
		return ef, false
	}
	var terms []Term
	w := 1 / float64(len(pairs))
	for _, p := range pairs {
		terms = append(terms, Term{w, p[0].WindowKL}, Term{-w, p[1].WindowKL})
		ef.BitsChange += w * (p[0].Bits - p[1].Bits)
		if p[0].KL.Value < p[1].KL.Value {
			ef.Lower++
		}
	}
	est, err := LogContrast(terms...)
	if err != nil || !est.Interval() {
		return ef, false
	}
	ef.Ratio = est.Exp()
	return ef, true
}

// SharedAxes returns the axes, some aside, that all rows have, sorted.
func SharedAxes(rows []*Entry, but ...string) []string {
	var shared []string
	for k := range rows[0].Axes {
		if !slices.Contains(but, k) && !slices.ContainsFunc(rows, func(e *Entry) bool { _, ok := e.Axes[k]; return !ok }) {
			shared = append(shared, k)
		}
	}
	slices.Sort(shared)
	return shared
}

// Spell writes the given axes of e so that equal text means equal settings.
func Spell(e *Entry, axes []string) string {
	var b strings.Builder
	for _, k := range axes {
		b.WriteString(k + "\x00" + e.Axes[k] + "\x00")
	}
	return b.String()
}

// byNumber orders numbers by value and anything else naturally after them.
func byNumber(a, b string) int {
	x, xok := format.Number(a)
	y, yok := format.Number(b)
	switch {
	case xok && yok:
		return cmp.Or(cmp.Compare(x, y), cmp.Compare(a, b))
	case xok:
		return -1
	case yok:
		return 1
	}
	return format.Natural(a, b)
}
