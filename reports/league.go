package reports

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// contender is a line of a league: one method in one basis with one kind of inputs, on
// each model of the folder.
type contender struct {
	method, basis, inputs, details, family string
	rows                                   []*stats.Entry // of each model; nil where it has none
	bits                                   float64        // the mean over models
	score                                  float64        // the mean of log KL
	reference                              bool
	time                                   string // of a product in this form, "" where none was measured
}

// league is what a region of that kind lists.
type league struct {
	models     []string
	contenders []*contender
	spec       *LeagueRegion
	notes      []string // what the columns of inputs and time mean
}

// LeagueRegion says what a league lists: all rows of a folder with bits and a
// divergence, in classes of bits and in each by divergence; then the best of each method,
// basis and kind of inputs. Rows of several models are one line, ranked by the geometric
// mean.
type LeagueRegion struct {
	// Bounds are the upper ends of the classes of bits, rising. What stores more is a
	// class of its own, and not among the best.
	Bounds []float64 `yaml:"bounds"`
	Top    int       `yaml:"top"` // lines of each class; 0 is all
	// Time is a value of rows, the time of a product over that of another form. Lines
	// without it take it from the row of the folder Times of the same stored form and
	// inputs, unless their basis costs operations of its own.
	Time  string `yaml:"time"`
	Times string `yaml:"times"`
}

// inputAxes are the settings of the inputs' format beside its name, with the value that
// goes without saying and how others are worded.
var inputAxes = []struct{ axis, usual, prefix string }{
	{"activations_group", "default", "group "}, {"activations_zero", "symmetric", ""},
	{"activations_clip", "0", "clipped at "}, {"activations_scale", "dynamic", ""},
	{"activations_wide", "0", "wide "},
}

// inputsOf says what a row's inputs are beside the name of their format.
func inputsOf(e *stats.Entry) string {
	var says []string
	for _, a := range inputAxes {
		v := e.Axes[a.axis]
		switch {
		case v == "" || v == a.usual:
		case a.axis == "activations_group" && v == "row":
			says = append(says, "per token")
		default:
			says = append(says, a.prefix+v)
		}
	}
	return strings.Join(says, ", ")
}

// basisOf names the basis of a row's model.
func basisOf(e *stats.Entry) string {
	basis := cmp.Or(e.Axes["transform"], e.Axes["basis"], "none")
	if b := e.Axes["transform_block"]; b != "" && b != "0" && basis != "none" && basis != "folded" {
		basis += " " + b
	}
	if p := e.Axes["prefix"]; p != "" && p != "none" {
		basis += ", prefix"
	}
	return basis
}

// methodOf names a row's method, grid, group and further settings that vary, without
// model, basis and inputs.
func methodOf(e *stats.Entry) string {
	words := []string{e.Family}
	if e.Reference {
		words = []string{"16-bit weights"}
		for _, w := range strings.Fields(e.Name) {
			if strings.HasPrefix(w, "smooth") {
				words = append(words, w)
			}
		}
		return strings.Join(words, " ")
	}
	if base := setting(e, "base"); base != "" && !strings.HasSuffix(e.Family, " "+base) {
		words[0] += " on " + base
	}
	for _, axis := range []string{"format", "group", "density", "block"} {
		v := setting(e, axis)
		switch {
		case v == "":
			continue
		case axis == "group" && v == "row":
			v = "per-row"
		case axis == "group":
			v = "g" + v
		}
		words = append(words, v)
	}
	hidden := []string{"per-row", e.Axes["transform"], e.Axes["basis"], e.Axes["activations"],
		"prefix-" + e.Axes["prefix"]}
	for _, w := range strings.Fields(extras(e)) {
		if !slices.Contains(hidden, w) && !strings.HasPrefix(w, "inputs-") {
			words = append(words, w)
		}
	}
	return strings.Join(words, " ")
}

// newLeague gathers the rows of t. Rows of several protocols are an error: their
// divergences are never compared.
func newLeague(t *stats.Table, spec *LeagueRegion) (*league, error) {
	l := &league{spec: spec}
	if !slices.IsSorted(spec.Bounds) {
		return nil, fmt.Errorf("league: the bounds %v do not rise", spec.Bounds)
	}
	var entries []*stats.Entry
	for _, g := range t.Groups {
		if g.Protocol != t.Groups[0].Protocol {
			return nil, fmt.Errorf("league: rows of two protocols, %q and %q", t.Groups[0].Protocol, g.Protocol)
		}
		if model := g.Entries[0].Axes["model"]; !slices.Contains(l.models, model) {
			l.models = append(l.models, model)
		}
		for _, e := range g.Entries {
			if e.KL != nil && e.HasBits && e.KL.Value > 0 {
				entries = append(entries, e)
			}
		}
	}
	by := map[string]*contender{}
	for _, e := range entries {
		p := &contender{method: methodOf(e), basis: basisOf(e), inputs: e.Axes["activations"], details: inputsOf(e),
			family: e.Family, reference: e.Reference, rows: make([]*stats.Entry, len(l.models))}
		key := strings.TrimSuffix(p.method+", "+p.basis+", "+p.inputs+", "+p.details, ", ")
		if by[key] == nil {
			by[key] = p
			l.contenders = append(l.contenders, p)
		}
		at := &by[key].rows[slices.Index(l.models, e.Axes["model"])]
		if *at != nil {
			return nil, fmt.Errorf("league: %q and %q are one line, %q", (*at).Label, e.Label, key)
		}
		*at = e
	}
	if len(l.contenders) == 0 {
		return nil, errors.New("league: no row has bits and a divergence")
	}
	for _, p := range l.contenders {
		p.rate()
	}
	l.nameInputs()
	slices.SortStableFunc(l.contenders, func(a, b *contender) int {
		return cmp.Or(cmp.Compare(l.class(a), l.class(b)), cmp.Compare(a.score, b.score))
	})
	return l, nil
}

// rate fills bits and score; without a row of every model there is no score, and the
// line comes last in its class.
func (p *contender) rate() {
	n := 0
	for _, e := range p.rows {
		if e != nil {
			p.bits, p.score, n = p.bits+e.Bits, p.score+math.Log(e.KL.Value), n+1
		}
	}
	p.bits, p.score = p.bits/float64(n), p.score/float64(n)
	if n < len(p.rows) {
		p.score = math.Inf(1)
	}
}

// nameInputs calls inputs by the name of their format where all of that name are alike,
// and else by all of their settings.
func (l *league) nameInputs() {
	details := map[string][]string{}
	var names []string
	for _, p := range l.contenders {
		if !slices.Contains(details[p.inputs], p.details) {
			details[p.inputs] = append(details[p.inputs], p.details)
		}
		if !slices.Contains(names, p.inputs) {
			names = append(names, p.inputs)
		}
	}
	for _, name := range names {
		if d := details[name]; len(d) == 1 && d[0] != "" {
			l.notes = append(l.notes, "inputs "+name+": "+d[0])
		}
	}
	for _, p := range l.contenders {
		if len(details[p.inputs]) > 1 && p.details != "" {
			p.inputs += ", " + p.details
		}
	}
}

// class is the class of bits that p is in; 16-bit weights are the last.
func (l *league) class(p *contender) int {
	if p.reference {
		return len(l.spec.Bounds) + 1
	}
	for i, b := range l.spec.Bounds {
		if p.bits <= b {
			return i
		}
	}
	return len(l.spec.Bounds)
}

// className names a class of bits.
func (l *league) className(i int) string {
	two := func(v float64) string { return format.Fixed(v, 2) }
	switch {
	case i > len(l.spec.Bounds):
		return "weights in 16 bits"
	case len(l.spec.Bounds) == 0:
		return "any bits"
	case i == 0:
		return "up to " + two(l.spec.Bounds[0]) + " bits"
	case i == len(l.spec.Bounds):
		return "more than " + two(l.spec.Bounds[i-1]) + " bits"
	}
	return two(l.spec.Bounds[i-1]) + " to " + two(l.spec.Bounds[i]) + " bits"
}

// cells are the bits and the divergences of p, and how many times best's these are,
// paired by window; best is bold.
func (l *league) cells(p, best *contender) []string {
	two := 2
	cells := []string{briefNumber(p.bits, 0, &two)}
	var against []string
	for i, e := range p.rows {
		if e == nil {
			cells, against = append(cells, ""), append(against, "")
			continue
		}
		says := stats.WithInterval(*e.KL, func(v float64) string { return briefNumber(v, 0, nil) })
		if p == best {
			says = "**" + says + "**"
		}
		cells = append(cells, says)
		if r, err := stats.KLRatio(e, rowOf(best, i, e)); err == nil && p != best {
			against = append(against, stats.WithInterval(r, func(v float64) string { return briefNumber(v, 0, nil) }))
		}
	}
	return append(cells, strings.Join(against, " / "))
}

// rowOf is best's row on model i, or e where it has none.
func rowOf(best *contender, i int, e *stats.Entry) *stats.Entry {
	if best == nil || best.rows[i] == nil {
		return e
	}
	return best.rows[i]
}

// lines writes a table of contenders, each against the first of them. Its first column
// is named by first; basis and inputs have a column where not all lines of the league
// share them.
func (l *league) lines(b *strings.Builder, first string, contenders []*contender) {
	columns := []struct {
		name string
		cell func(*contender) string
	}{{first, func(p *contender) string { return inMarkdown(p.method) }},
		{"basis", func(p *contender) string { return p.basis }}, {"inputs", func(p *contender) string { return p.inputs }}}
	columns = slices.DeleteFunc(columns, func(c struct {
		name string
		cell func(*contender) string
	}) bool {
		return !slices.ContainsFunc(l.contenders, func(p *contender) bool { return c.cell(p) != c.cell(l.contenders[0]) })
	})
	var head []string
	for _, c := range columns {
		head = append(head, c.name)
	}
	words := len(head)
	head = append(head, "bits")
	for _, m := range l.models {
		name := "KL, nat/token"
		if len(l.models) > 1 {
			name = "KL, " + strings.TrimPrefix(m, "builtin:")
		}
		head = append(head, name)
	}
	head = append(head, "times the first")
	timed := slices.ContainsFunc(l.contenders, func(p *contender) bool { return p.time != "" })
	if timed {
		head = append(head, "time")
	}
	b.WriteString("\n| " + strings.Join(head, " | ") + " |\n" + strings.Repeat("|---", words) +
		strings.Repeat("|---:", len(head)-words) + "|\n")
	for _, p := range contenders {
		var cells []string
		for _, c := range columns {
			cells = append(cells, c.cell(p))
		}
		cells = append(cells, l.cells(p, contenders[0])...)
		if timed {
			cells = append(cells, p.time)
		}
		b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
}

// best returns the lowest divergence of each value of a setting, of quantized weights
// within the last bound, lowest first.
func (l *league) best(setting func(*contender) string) []*contender {
	of := map[string]*contender{}
	for _, p := range l.contenders {
		if p.reference || len(l.spec.Bounds) > 0 && l.class(p) >= len(l.spec.Bounds) || math.IsInf(p.score, 1) {
			continue
		}
		if was := of[setting(p)]; was == nil || p.score < was.score {
			of[setting(p)] = p
		}
	}
	var out []*contender
	for _, p := range l.contenders {
		if of[setting(p)] == p {
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, func(a, b *contender) int { return cmp.Compare(a.score, b.score) })
	return out
}

// leagueRegion fills a region of a league. Times are the rows of spec.Times, nil where
// none is named.
func leagueRegion(t, times *stats.Table, spec *LeagueRegion) (string, error) {
	l, err := newLeague(t, spec)
	if err != nil {
		return "", err
	}
	if err := l.timed(times); err != nil {
		return "", err
	}
	var b strings.Builder
	if l.notes != nil {
		note := strings.Join(l.notes, "; ") + ".\n"
		b.WriteString("\n" + strings.ToUpper(note[:1]) + note[1:])
	}
	for i := 0; i <= len(spec.Bounds)+1; i++ {
		of := slices.DeleteFunc(slices.Clone(l.contenders), func(p *contender) bool { return l.class(p) != i })
		if len(of) == 0 {
			continue
		}
		name := strings.ToUpper(l.className(i)[:1]) + l.className(i)[1:]
		if n := len(of); spec.Top > 0 && n > spec.Top {
			of = of[:spec.Top]
			name += fmt.Sprintf(", the first %d of %d", spec.Top, n)
		}
		b.WriteString("\n" + name + ":\n")
		l.lines(&b, "method", of)
	}
	limit := ""
	if n := len(spec.Bounds); n > 0 {
		limit = ", up to " + format.Fixed(spec.Bounds[n-1], 2) + " bits"
	}
	for _, s := range []struct {
		name string
		of   func(*contender) string
	}{{"method", func(p *contender) string { return p.family }}, {"basis", func(p *contender) string { return p.basis }},
		{"kind of inputs", func(p *contender) string { return p.inputs }}} {
		if best := l.best(s.of); len(best) > 1 {
			b.WriteString("\nBest of each " + s.name + limit + ":\n")
			l.lines(&b, "row", best)
		}
	}
	return b.String(), nil
}

// formOf names the stored form of a row and its inputs: rows of one form are executed
// alike. Of rounding and GPTQ the grid and the group alone are stored.
func formOf(e *stats.Entry) string {
	form := methodOf(e)
	plain := e.Axes["awq"] != "true" && slices.Contains([]string{"", "0"}, e.Axes["smoothing"])
	if plain && (e.Family == "rtn" || e.Family == "gptq") {
		form = "dense " + setting(e, "format") + " " + setting(e, "group")
	}
	return form + " " + e.Axes["activations"] + inputsOf(e)
}

// timed fills the times of contenders, from their own rows or those of times.
func (l *league) timed(times *stats.Table) error {
	if l.spec.Time == "" && times != nil {
		return errors.New("league: times needs time, the name of a value")
	}
	if l.spec.Time == "" {
		return nil
	}
	two := 2
	of := map[string]string{}
	if times != nil {
		for _, e := range times.Entries() {
			if v, ok := e.Value(l.spec.Time); ok && of[formOf(e)] == "" {
				of[formOf(e)] = briefNumber(v, 0, &two)
			}
		}
		if len(of) == 0 {
			return fmt.Errorf("league: no row of times has the value %q", l.spec.Time)
		}
	}
	product, over, _ := strings.Cut(strings.TrimPrefix(l.spec.Time, "speed/"), "/time_over/")
	l.notes = append(l.notes, "time: of a product of "+product+", over that of "+over)
	for _, p := range l.contenders {
		for _, e := range p.rows {
			if e == nil || p.time != "" {
				continue
			}
			online, _ := e.Value("online_operations")
			if v, ok := e.Value(l.spec.Time); ok {
				p.time = briefNumber(v, 0, &two)
			} else if online == 0 {
				p.time = of[formOf(e)]
			}
		}
	}
	return nil
}
