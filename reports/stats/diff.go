package stats

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/format"
)

// DiffOptions say how two sets of rows are compared.
type DiffOptions struct {
	// Names are what the two sides are called.
	Names [2]string
	// Across are axes in which matched rows may differ, such as density.
	Across []string
	// Threshold is the relative increase of the mean divergence or of the
	// perplexity that a row may show before it is a regression: 0.02 = 2 %.
	Threshold float64
}

// Diff is the comparison of two sets of rows, A (the earlier) and B.
type Diff struct {
	DiffOptions
	Pairs []*Pair
	Only  [2][]Unmatched // rows without a partner on the other side
	Notes []string       // remarks about the comparison as a whole
}

// Unmatched is a row without a partner, and why.
type Unmatched struct {
	*Entry
	Why string
}

// Matching tells what made two rows partners.
type Matching string

const (
	ByTrial    Matching = "trial"    // same trial ID: same settings, weights, texts and code revision
	BySettings Matching = "settings" // the same axes
	Across     Matching = "across"   // the same axes, but those of DiffOptions.Across
)

// Verdict is what the comparison of a pair came to. "Better" and "worse" mean
// distinguishable after Holm's correction over all pairs.
type Verdict string

const (
	Regression Verdict = "REGRESSION"   // worse by more than the threshold, or no longer running
	Worse      Verdict = "worse"        // worse, but not distinguishably by more than the threshold
	Better     Verdict = "better"       // in one measure at least, and worse in none
	Same       Verdict = "same"         // not distinguishable
	NotPaired  Verdict = "not compared" // Why says why
)

// Pair is two matched rows and their paired differences, B minus A. A nil one
// could not be computed.
type Pair struct {
	A, B    *Entry
	Matched Matching
	Verdict Verdict
	Why     string // of the verdict, where it needs words
	Bits    *float64
	NLL, KL *Estimate // nat/token
	PPL     *Estimate // ratio B/A of perplexities per token
	KLRatio *Estimate // ratio B/A of mean divergences; nil where one is zero

	Tests [2]test // perplexity, divergence
}

// test holds the p-values of one measure of a pair.
type test struct {
	Done      bool
	value     float64 // signed: positive is worse
	excess    float64 // signed distance beyond the threshold
	P, beyond float64 // of "no difference" and "as bad as the threshold allows"
}

// ErrNoPairs is returned where no row has a partner: nothing was compared.
var ErrNoPairs = errors.New("no row of one folder has a partner in the other")

// Compare matches the rows of a and b one to one and compares the partners.
// Rows are partners if they have the same trial ID; else, among those left, if
// all their axes are equal; else if all axes but o.Across are. Where a row has
// several candidates none is taken. Differences are paired by window, which
// needs one model, one protocol and the same text.
func Compare(a, b []row.Row, o DiffOptions) (*Diff, error) {
	if !(o.Threshold >= 0) || math.IsInf(o.Threshold, 0) {
		return nil, fmt.Errorf("reports: threshold %v is not a share of at least 0", o.Threshold)
	}
	for i, n := range o.Names {
		o.Names[i] = format.Visible(n, false)
	}
	d := &Diff{DiffOptions: o}
	sides := [2][]*Entry{build(a, false).scored(), build(b, false).scored()}
	if err := knownAxes(o.Across, sides); err != nil {
		return nil, err
	}
	left := d.match(sides)
	if len(d.Pairs) == 0 {
		return nil, fmt.Errorf("reports: %s has %s and %s has %s, and %w%s", o.Names[0], format.Plural(len(sides[0]), "row",
			"rows"),
			o.Names[1], format.Plural(len(sides[1]), "row", "rows"), ErrNoPairs, hint(sides))
	}
	for i := range left {
		for _, e := range left[i] {
			d.Only[i] = append(d.Only[i], Unmatched{e, whyUnmatched(e, left[1-i], o.Across)})
		}
	}
	texts := newTextCheck(sides)
	for _, p := range d.Pairs {
		p.compare(texts, o.Threshold)
	}
	d.judge()
	d.Notes = append(d.Notes, texts.notes(d.Pairs)...)
	return d, nil
}

// Regressions returns the pairs that got worse by more than the threshold.
func (d *Diff) Regressions() []*Pair {
	var out []*Pair
	for _, p := range d.Pairs {
		if p.Verdict == Regression {
			out = append(out, p)
		}
	}
	return out
}

// entries returns all rows of t in the order of the report.
// scored returns the rows of all groups, and those that failed.
func (t *Table) scored() []*Entry {
	var all []*Entry
	for _, g := range t.Groups {
		all = append(all, g.Entries...)
	}
	return append(all, t.Failed...)
}

func knownAxes(names []string, sides [2][]*Entry) error {
	known := map[string]bool{}
	for _, s := range sides {
		for _, e := range s {
			for k := range e.Axes {
				known[k] = true
			}
		}
	}
	for _, n := range names {
		if !known[n] {
			return fmt.Errorf("reports: no row has the axis %q; there are %s", n,
				strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
	}
	return nil
}

// match fills d.Pairs, in the order of the first side, and returns what is left.
func (d *Diff) match(sides [2][]*Entry) (left [2][]*Entry) {
	left = [2][]*Entry{slices.Clone(sides[0]), slices.Clone(sides[1])}
	steps := []struct {
		how Matching
		key func(*Entry) string
	}{
		{ByTrial, func(e *Entry) string { return e.Trial }},
		{BySettings, func(e *Entry) string { return Spell(e, axesBut(e, nil)) }},
		{Across, func(e *Entry) string { return Spell(e, axesBut(e, d.Across)) }},
	}
	if len(d.Across) == 0 {
		steps = steps[:2]
	}
	for _, step := range steps {
		var by [2]map[string][]*Entry
		for i := range left {
			by[i] = map[string][]*Entry{}
			for _, e := range left[i] {
				by[i][step.key(e)] = append(by[i][step.key(e)], e)
			}
		}
		taken := map[*Entry]bool{}
		for _, e := range left[0] {
			k := step.key(e)
			if a, b := by[0][k], by[1][k]; len(a) == 1 && len(b) == 1 {
				d.Pairs = append(d.Pairs, &Pair{A: e, B: b[0], Matched: step.how})
				taken[e], taken[b[0]] = true, true
			}
		}
		for i := range left {
			left[i] = slices.DeleteFunc(left[i], func(e *Entry) bool { return taken[e] })
		}
	}
	order := map[*Entry]int{}
	for i, e := range sides[0] {
		order[e] = i
	}
	slices.SortFunc(d.Pairs, func(p, q *Pair) int { return order[p.A] - order[q.A] })
	return left
}

// axesBut returns the axes of e, some aside, sorted.
func axesBut(e *Entry, but []string) []string {
	var axes []string
	for k := range e.Axes {
		if !slices.Contains(but, k) {
			axes = append(axes, k)
		}
	}
	slices.Sort(axes)
	return axes
}

// nearestLimit bounds the rows among which the nearest one is looked for: with
// many left over on both sides the answer takes long and helps nobody.
const nearestLimit = 200

// whyUnmatched says whether e has several candidates, or what sets it apart from
// the nearest row of the others that are left.
func whyUnmatched(e *Entry, others []*Entry, across []string) string {
	if len(others) > nearestLimit {
		return "no single row has these settings"
	}
	key := Spell(e, axesBut(e, across))
	var nearest []string
	for _, o := range others {
		if Spell(o, axesBut(o, across)) == key {
			return "several rows have these settings"
		}
		if diff := Differing(e, o); nearest == nil || len(diff) < len(nearest) {
			nearest = diff
		}
	}
	if nearest != nil && len(nearest) <= 3 {
		return "the nearest row left differs in " + strings.Join(nearest, ", ")
	}
	return "no row has these settings"
}

// Differing lists the axes in which a and b differ, sorted.
func Differing(a, b *Entry) []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(a.Axes)) {
		if v, ok := b.Axes[k]; !ok || v != a.Axes[k] {
			out = append(out, k)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(b.Axes)) {
		if _, ok := a.Axes[k]; !ok {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

// hint names axes that are constant on each side but differ between them.
func hint(sides [2][]*Entry) string {
	var values [2]map[string][]string
	for i, s := range sides {
		values[i] = map[string][]string{}
		for _, e := range s {
			for k, v := range e.Axes {
				if !slices.Contains(values[i][k], v) {
					values[i][k] = append(values[i][k], v)
				}
			}
		}
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(values[0])) {
		if a, b := values[0][k], values[1][k]; len(a) == 1 && len(b) == 1 && a[0] != b[0] {
			parts = append(parts, fmt.Sprintf("%s (%s and %s)", k, format.Named(a[0]), format.Named(b[0])))
		}
	}
	if parts == nil {
		return ""
	}
	return "; they differ in " + format.List(parts, 6)
}

// compare fills the differences of p.
func (p *Pair) compare(texts *textCheck, threshold float64) {
	a, b := p.A, p.B
	switch {
	case a.Status != row.OK && b.Status != row.OK:
		p.Verdict, p.Why = NotPaired, "failed on both sides"
		return
	case a.Status != row.OK:
		p.Verdict, p.Why = NotPaired, "failed in A, runs in B"
		return
	case b.Status != row.OK:
		p.Verdict, p.Why = Regression, "runs in A, failed in B: "+format.Short(strings.ReplaceAll(b.Error, "\n", " "), 120)
		return
	}
	if a.HasBits && b.HasBits {
		bits := b.Bits - a.Bits
		p.Bits = &bits
	}
	if why := texts.refuse(a, b); why != "" {
		p.Verdict, p.Why = NotPaired, why
		return
	}
	if d, err := Difference(b.WindowNLL, a.WindowNLL, a.WindowTokens); err == nil {
		ratio := d.Exp()
		p.NLL, p.PPL = &d, &ratio
		p.Tests[0] = newTest(d, math.Log1p(threshold))
	}
	if d, err := Difference(b.WindowKL, a.WindowKL, a.WindowTokens); err == nil {
		p.KL = &d
		if r, err := logKLRatio(b, a); err == nil {
			ratio := r.Exp()
			p.KLRatio = &ratio
			p.Tests[1] = newTest(r, math.Log1p(threshold))
		} else { // from or to no divergence at all: no ratio, and past any threshold
			p.Tests[1] = newTest(d, 0)
		}
	}
	switch {
	case p.NLL == nil && p.KL == nil:
		p.Verdict, p.Why = NotPaired, "no series of windows"
	case !p.Tests[0].Done && !p.Tests[1].Done:
		p.Verdict, p.Why = NotPaired, "one evaluation window: no interval"
	}
}

func newTest(e Estimate, threshold float64) test {
	if !e.Interval() {
		return test{}
	}
	t := test{Done: true, value: e.Value, excess: e.Value - threshold, P: e.P, beyond: 1}
	if t.excess > 0 {
		t.beyond = pOf(t.excess, e.SE, e.N)
	}
	return t
}

// judge gives each compared pair its verdict. The tests of both measures over
// all pairs are one family.
func (d *Diff) judge() {
	var tests []*test
	for _, p := range d.Pairs {
		for i := range p.Tests {
			if p.Tests[i].Done && p.Verdict == "" {
				tests = append(tests, &p.Tests[i])
			}
		}
	}
	ps, beyond := make([]float64, len(tests)), make([]float64, len(tests))
	for i, t := range tests {
		ps[i], beyond[i] = t.P, t.beyond
	}
	ps, beyond = Holm(ps), Holm(beyond)
	for i, t := range tests {
		t.P, t.beyond = ps[i], beyond[i]
	}
	for _, p := range d.Pairs {
		if p.Verdict != "" {
			continue
		}
		p.Verdict = Same
		var past, worse, better []string
		for i, name := range []string{"perplexity", "KL"} {
			switch t := p.Tests[i]; {
			case !t.Done:
			case t.excess > 0 && t.beyond < 1-Level:
				past = append(past, name)
			case t.value > 0 && t.P < 1-Level:
				worse = append(worse, name)
			case t.value < 0 && t.P < 1-Level:
				better = append(better, name)
			}
		}
		switch {
		case past != nil:
			p.Verdict, p.Why = Regression, strings.Join(append(past, worse...), " and ")
		case worse != nil:
			p.Verdict, p.Why = Worse, strings.Join(worse, " and ")
		case better != nil:
			p.Verdict, p.Why = Better, strings.Join(better, " and ")
		}
		if better != nil && p.Verdict != Better {
			p.Why += "; " + strings.Join(better, " and ") + " better"
		}
	}
}
