package plan

import (
	"slices"
	"strings"
)

// Sweep is a validated sweep file.
type Sweep struct {
	Name     string
	Question string // the comment that the file opens with, a line per paragraph
	// Trials are distinct and labelled; models vary slowest, methods fastest,
	// in the order of the file.
	Trials []Trial

	source *source
}

// maxCombinations bounds the product of a sweep file before filters.
const maxCombinations = 100_000

// expand multiplies out the lists of src, resolves defaults, filters, and
// removes duplicates. src is complete and valid.
func (p *parser) expand(src *source) []Trial {
	common := src.common.combinations()
	perCommon := 0
	for _, e := range src.methods {
		perCommon += e.combinations()
		if common > maxCombinations || perCommon > maxCombinations || common*perCommon > maxCombinations {
			p.errorf(e.line, e.path, "more than %d combinations up to here; sweep fewer values at once", maxCombinations)
			return nil
		}
	}
	var trials []Trial
	var lines []int
	var from []*entry // that a trial is of, and is named by
	seen := map[Trial]int{}
	use := usage{}
	src.common.each(func(outer []chosen) {
		for _, e := range src.methods {
			e.each(func(inner []chosen) {
				all := append(slices.Clip(outer), inner...)
				t := resolve(all, use)
				t.Tasks = strings.Join(src.tasks, ",")
				if !e.keeps(&t, use) || !src.common.keeps(&t, use) || !p.check(&t, all) || !e.layers.apply(p, &t) {
					return
				}
				if i, ok := seen[t]; ok {
					from[i] = p.named(from[i], e)
					return
				}
				seen[t] = len(trials)
				trials, lines, from = append(trials, t), append(lines, e.line), append(from, e)
			})
		}
	})
	if s := src.speed; s != nil {
		speed := s.speed()
		for i := range trials {
			trials[i].Speed = speed
		}
	}
	p.unused(src, use)
	if len(p.errs) == 0 && len(trials) == 0 {
		p.errorf(src.common.line, "methods", "no trial passes the filters")
	}
	if len(p.errs) > 0 {
		return nil
	}
	if p.setLabels(trials, from); len(p.errs) > 0 {
		return nil
	}
	src.lines = map[string]int{}
	for i, t := range trials {
		src.lines[t.Label] = lines[i]
	}
	if src.baseline != nil {
		p.setBaselines(trials, src.baseline)
	}
	return trials
}

// usage records which settings mattered to a trial, and which conditions held
// for one: what never does is a mistake of the file.
type usage map[any]bool

// chosen is one value of a setting.
type chosen struct {
	*setting
	value any
}

// dimensions groups the settings of e that advance together.
func (e *entry) dimensions() [][]*setting {
	var dims [][]*setting
	for _, s := range e.settings {
		i := slices.IndexFunc(e.zip, func(g []*setting) bool { return slices.Contains(g, s) })
		if i < 0 {
			dims = append(dims, []*setting{s})
			continue
		}
		first := slices.IndexFunc(e.settings, func(s *setting) bool { return slices.Contains(e.zip[i], s) })
		if e.settings[first] == s {
			dims = append(dims, e.zip[i])
		}
	}
	return dims
}

// combinations is the number of calls that each makes, or some number above
// maxCombinations.
func (e *entry) combinations() int {
	n := 1
	for _, d := range e.dimensions() {
		if n > maxCombinations {
			break
		}
		n *= len(d[0].values)
	}
	return n
}

// each calls f with every combination; the last setting varies fastest.
func (e *entry) each(f func([]chosen)) {
	dims := e.dimensions()
	at := make([]int, len(dims))
	for {
		var c []chosen
		for i, d := range dims {
			for _, s := range d {
				c = append(c, chosen{s, s.values[at[i]]})
			}
		}
		f(c)
		i := len(dims) - 1
		for ; i >= 0; i-- {
			if at[i]++; at[i] < len(dims[i][0].values) {
				break
			}
			at[i] = 0
		}
		if i < 0 {
			return
		}
	}
}

// resolve makes a trial of the chosen values and the defaults of all others.
func resolve(values []chosen, use usage) Trial {
	var t Trial
	for _, k := range keys {
		if !k.matters(&t) {
			continue
		}
		if i := slices.IndexFunc(values, func(c chosen) bool { return c.key == k }); i >= 0 {
			k.set(&t, values[i].value)
			use[values[i].setting] = true
		} else if v, ok := k.defaultOf(&t); ok { // else t is of one section only
			k.set(&t, v)
		}
	}
	return t
}

// check reports settings of t, made of values, that contradict each other.
func (p *parser) check(t *Trial, values []chosen) bool {
	ok := true
	blame := func(axis, says string) {
		ok = false
		i := slices.IndexFunc(values, func(v chosen) bool { return v.key.axis() == axis })
		if i < 0 { // a default contradicts what is given
			i = slices.IndexFunc(values, func(v chosen) bool { return v.key.axis() == "method" })
			says = axis + " " + says
		}
		if s := values[i]; !p.bad[s.path] { // once, not for every trial
			p.errorf(s.line, s.path, "%s %s", s.key.file(s.value), says)
		}
	}
	for _, c := range constraints {
		if c.fail(t) {
			blame(c.axis, c.says)
		}
	}
	for _, r := range t.Method.Method().Rules {
		if r.Fails(t.Method) {
			blame(r.Key, r.Says)
		}
	}
	return ok
}

// keeps reports whether t passes the filters of e.
func (e *entry) keeps(t *Trial, use usage) bool {
	keep := len(e.only) == 0
	for _, c := range e.only {
		if c.holds(t, use) {
			keep = true
		}
	}
	for _, c := range e.skip {
		if c.holds(t, use) {
			keep = false
		}
	}
	return keep
}

// holds reports whether t meets c. A setting that has no meaning for t has no
// value, so no condition on it holds.
func (c *condition) holds(t *Trial, use usage) bool {
	for _, s := range c.settings {
		if !s.key.matters(t) || !slices.Contains(s.values, s.key.get(t)) {
			return false
		}
	}
	use[c] = true
	return true
}

// unused reports what had no effect on any trial.
func (p *parser) unused(src *source, use usage) {
	for _, e := range append([]*entry{&src.common}, src.methods...) {
		for _, s := range e.settings {
			if !use[s] {
				p.errorf(s.line, s.path, "has no effect here: it needs %s", s.key.needs)
			}
		}
		for _, c := range append(slices.Clip(e.only), e.skip...) {
			if !use[c] && len(p.errs) == 0 {
				p.errorf(c.line, c.path, "matches no trial")
			}
		}
	}
}

// setBaselines finds for each trial the one that meets c and is equal in
// model, protocol, calibration, stress and activations, save what c itself names.
// Where none is, a setting that has no meaning for one of the two, such as the
// execution of 16-bit weights, is taken for equal.
func (p *parser) setBaselines(trials []Trial, c *condition) {
	named := func(k *key) bool {
		return slices.ContainsFunc(c.settings, func(s *setting) bool { return s.key == k })
	}
	var common []*key
	for _, k := range keys {
		if k.section != "method" && !named(k) {
			common = append(common, k)
		}
	}
	at := func(t *Trial) string {
		var parts []string
		for _, k := range common {
			parts = append(parts, k.axis()+" "+k.file(k.get(t)))
		}
		return strings.Join(parts, ", ")
	}
	found := map[string][]string{}
	var all []*Trial
	for i := range trials {
		if t := &trials[i]; c.holds(t, usage{}) {
			found[at(t)] = append(found[at(t)], t.Label)
			all = append(all, t)
		}
	}
	near := func(t *Trial) (labels []string) {
		for _, b := range all {
			differ := func(k *key) bool { return k.matters(t) && k.matters(b) && k.get(t) != k.get(b) }
			if !slices.ContainsFunc(common, differ) {
				labels = append(labels, b.Label)
			}
		}
		return labels
	}
	for i := range trials {
		t := &trials[i]
		where := at(t)
		if len(found[where]) == 0 {
			found[where] = near(t)
		}
		switch labels := found[where]; len(labels) {
		case 1:
			t.Baseline = labels[0]
		case 0:
			p.errorf(c.line, c.path, "no trial of the sweep matches it for %s", t.Label)
			return
		default:
			p.errorf(c.line, c.path, "matches %d trials: %s; name more settings", len(labels),
				strings.Join(labels[:min(4, len(labels))], ", "))
			return
		}
	}
}
