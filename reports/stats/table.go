package stats

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/format"
)

// Title names the group: model, protocol and activations.
func (g *Group) Title() string {
	var parts []string
	for _, s := range []string{g.Model, g.Activations, g.Protocol} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	if len(parts) == 0 {
		return "all rows"
	}
	return strings.Join(parts, " · ")
}

func CutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// Table is the analysed form of a sweep's rows, which every output draws from.
type Table struct {
	Groups   []*Group
	Timings  []*Timing // rows of experiments bench
	Studies  []*Study  // of the criteria
	Limits   []*Limit  // distances from the rate–distortion bound
	Failed   []*Entry  // trials without values
	Replaced int       // earlier rows of a trial that was run again
	Warnings []string  // about the table as a whole
}

// Group holds the rows that may be compared with each other: one model, one
// evaluation protocol, one activation format. Nothing is compared across
// groups.
type Group struct {
	Model, Protocol, Activations string

	Entries    []*Entry  // by bits per weight, then label
	Front      []*Entry  // Pareto front of (bits per weight, mean KL), by bits
	Best       *Entry    // lowest mean KL; nil where no row has one
	Iso        []Iso     // comparisons at equal bits
	IsoTime    []IsoTime // comparisons at equal time
	Effects    []Effect  // of each method's settings, in matched pairs
	Families   order     // of what is listed by family
	drop       []string  // words that labels share and names leave out
	ManyValued []string  // settings of too many values for Effects
	Windows    int       // evaluation windows, 0 where rows differ or have none
	Baseline   []string  // labels of the named baselines

	TaskNames     []string // scores of zero-shot tasks that rows have
	TaskReference *Entry   // row of 16-bit weights they are compared with; nil without exactly one
}

// Entry is one row with its estimates; a nil one was not measured.
type Entry struct {
	row.Row
	ID     string // r1, r2 ...: how the page refers to the row
	Name   string // the label inside its group; the label itself outside of any
	Family string // method, with mosaic's base: what colour and marker follow

	Bits                              float64
	HasBits                           bool
	NLL, KL, Top1                     *Estimate
	Reference                         bool // weights left in 16 bits: the limit, not a competitor
	Rank                              int  // by mean KL in the group, 1 is best; 0 without KL
	Standing                          Standing
	LikeBest                          bool // mean KL not distinguishable from the group's best
	Versus                            *Comparison
	VersusNote                        string // why there is no comparison, where one was asked for
	Tasks                             []TaskScore
	Speeds                            []Speed
	WindowTokens, WindowNLL, WindowKL []float64
	WindowTop1                        []float64
	// Lost and Gained are the shares of tokens that the 16-bit model alone, and the row
	// alone, predicts right as most likely; Right is their difference, paired by window.
	Lost, Gained, Right *Estimate

	// Draws are the rows that e is the mean of, where it was measured over several
	// draws of the calibration; Same are the equal rows that e stands for.
	Draws, Same []*Entry
	part        map[string]*Entry // e over some of its draws
}

// Calibration says which text the H of the group's output errors comes from.
func (g *Group) Calibration() string {
	var texts []string
	for _, e := range g.Entries {
		if t := e.Axes["calibration.text"]; t != "" && !slices.Contains(texts, t) {
			texts = append(texts, t)
		}
	}
	says := "H is that of the calibration"
	if len(texts) > 0 {
		says += " (" + format.List(texts, 3) + ")"
	}
	return says + ", not of the evaluated text."
}

// Value returns the named value's number, and whether the row has it.
func (e *Entry) Value(name string) (float64, bool) {
	v, ok := e.Row.Value(name)
	return v.Value, ok
}

// order is the order of families: those named, then others by name.
type order []string

func (o order) Compare(a, b string) int {
	rank := func(family string) int {
		if i := slices.Index(o, family); i >= 0 {
			return i
		}
		return len(o)
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), format.Natural(a, b))
}

// Build analyses rows. The order of rows matters only where one trial ran more
// than once: the last row that succeeded wins, else the last. Comparisons list
// the families in the order given, others after them by name. Rows that differ in the
// draw alone are averaged into one.
func Build(rows []row.Row, families ...string) *Table { return build(rows, true, families...) }

// build is Build, with rows of several draws averaged or not.
func build(rows []row.Row, averaged bool, families ...string) *Table {
	t := &Table{}
	kept := row.Merge(rows)
	t.Replaced = len(rows) - len(kept)
	groups := map[[3]string]*Group{}
	var timed []*Entry
	for _, r := range kept {
		e := newEntry(clean(r))
		if e.isTiming() {
			timed = append(timed, e)
			continue
		}
		if e.Status != row.OK {
			t.Failed = append(t.Failed, e)
			continue
		}
		key := [3]string{subject(&e.Row), Setting(&e.Row, "protocol"), Setting(&e.Row, "activations")}
		g := groups[key]
		if g == nil {
			g = &Group{Model: key[0], Protocol: key[1], Activations: key[2], Families: families}
			groups[key] = g
			t.Groups = append(t.Groups, g)
		}
		g.Entries = append(g.Entries, e)
	}
	slices.SortFunc(t.Groups, func(a, b *Group) int {
		return cmp.Or(format.Natural(a.Model, b.Model), format.Natural(a.Protocol, b.Protocol),
			byActivations(a.Activations, b.Activations))
	})
	t.timings(timed)
	slices.SortFunc(t.Failed, byLabel)
	n := 0
	for _, g := range t.Groups {
		if averaged {
			g.Entries = repeated(g.Entries)
		}
		slices.SortFunc(g.Entries, func(a, b *Entry) int {
			return cmp.Or(cmp.Compare(a.Bits, b.Bits), byLabel(a, b))
		})
		for _, e := range g.Entries {
			n++
			e.ID = "r" + strconv.Itoa(n)
		}
		g.Windows = g.windows()
		g.setNames()
	}
	for _, e := range t.Timed() {
		n++
		e.ID = "r" + strconv.Itoa(n)
	}
	for _, e := range t.Failed {
		n++
		e.ID = "r" + strconv.Itoa(n)
	}
	for _, g := range t.Groups {
		g.compare(t)
		g.rank()
		g.isoBit()
		g.isoTime()
		g.Effects = g.effects()
		g.compareTasks()
	}
	return t
}

// Entries returns all rows, in the order of the page.
func (t *Table) Entries() []*Entry {
	var all []*Entry
	for _, g := range t.Groups {
		all = append(all, g.Entries...)
	}
	return slices.Concat(all, t.Timed(), t.Failed)
}

func newEntry(r row.Row) *Entry {
	e := &Entry{Row: r, Name: r.Label, Family: family(&r), Reference: Setting(&r, "method") == "none"}
	e.Bits, e.HasBits = e.Value(row.BitsPerWeight)
	e.WindowTokens, e.WindowNLL = r.Windows(row.WindowTokens), r.Windows(row.WindowNLL)
	e.WindowKL, e.WindowTop1 = r.Windows(row.WindowKL), r.Windows(row.WindowTop1)
	e.NLL = e.estimate(e.WindowNLL, row.NLL)
	e.KL = e.estimate(e.WindowKL, row.KLMean)
	e.Top1 = e.estimate(e.WindowTop1, row.Top1)
	lost, gained := r.Windows(row.WindowLost), r.Windows(row.WindowGained)
	e.Lost, e.Gained = e.estimate(lost, row.Top1Lost), e.estimate(gained, row.Top1Gained)
	if d, err := Difference(gained, lost, e.WindowTokens); err == nil {
		e.Right = &d
	}
	e.taskScores()
	e.speeds()
	return e
}

// estimate computes a mean per token from the windows; where the row has none
// it takes the value as the row states it, without an interval.
func (e *Entry) estimate(x []float64, name string) *Estimate {
	if x != nil {
		est, err := Mean(x, e.WindowTokens)
		if err == nil {
			return &est
		}
		e.Warnings = append(e.Warnings, fmt.Sprintf("%s: %v: no interval", name, err))
	}
	if v, ok := e.Value(name); ok {
		return &Estimate{Value: v, Low: v, High: v, P: 1}
	}
	return nil
}

// windows returns the number of windows all rows with series share, or 0.
func (g *Group) windows() int {
	n := 0
	for _, e := range g.Entries {
		switch {
		case e.WindowTokens == nil:
		case n == 0:
			n = len(e.WindowTokens)
		case n != len(e.WindowTokens):
			return 0
		}
	}
	return n
}

// family is the method, for mosaic with the base its residual sits on.
func family(r *row.Row) string {
	m := Setting(r, "method")
	if m == "" {
		return "unnamed method"
	}
	if b := Setting(r, "base"); m == "mosaic" && b != "" {
		return "mosaic on " + b
	}
	return m
}

// subject names the model of r; one with synthetic outliers is another one, and so
// is one in another basis, whose outliers and divergences are others.
func subject(r *row.Row) string {
	model := Setting(r, "model")
	if b := r.Axes["basis"]; b != "" {
		model += ", " + b
		if seed := r.Axes["basis_seed"]; seed != "" {
			model += " (seed " + seed + ")"
		}
	}
	if s := Setting(r, "stress"); s != "" {
		model += " with synthetic outliers (" + s + ")"
	}
	return model
}

// Setting returns an axis of r, or its axes of the section of that name
// ("protocol.context" and so on), or else the field of that name in its
// resolved configuration (at the top or under "method"), as text. Sections
// become "key value, key value" with sorted keys.
func Setting(r *row.Row, name string) string {
	if v, ok := r.Axes[name]; ok {
		return v
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(r.Axes)) {
		if rest, ok := strings.CutPrefix(k, name+"."); ok {
			part := rest + " " + r.Axes[k]
			switch {
			case k == "protocol.tokens" && r.Axes[k] == "0":
				part = "all tokens" // 0 sets no limit
			case k == "stress.gain":
				part = "gain x" + r.Axes[k]
			}
			parts = append(parts, part)
		}
	}
	if parts != nil {
		return strings.Join(parts, ", ")
	}
	var top map[string]any
	d := json.NewDecoder(bytes.NewReader(r.Config))
	d.UseNumber()
	if d.Decode(&top) != nil {
		return ""
	}
	v, ok := top[name]
	if nested, is := top["method"].(map[string]any); is && (!ok || name == "method") {
		v, ok = nested[name]
	}
	if !ok {
		return ""
	}
	return format.Visible(format.Flat(v), false)
}

func byLabel(a, b *Entry) int {
	return cmp.Or(format.Natural(a.Label, b.Label), cmp.Compare(a.Trial, b.Trial))
}

// byActivations puts the widest format first: a16, a8, a4.
func byActivations(a, b string) int { return format.Natural(b, a) }
