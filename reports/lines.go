package reports

import (
	"fmt"
	"slices"

	"github.com/mosaicquant/mosaicquant/internal/row"
)

// isoLimit bounds the rows of long secondary tables; the CSV files have all.
const isoLimit = 60

// column is one column of the results, as text for people.
type column struct {
	name  string
	is    columnKind
	brief bool // on the terminal and in tables/results.md as well
	cell  func(*Entry) string
}

func valueColumn(name, value string, brief bool) column {
	return column{name: name, brief: brief, cell: func(e *Entry) string { return valueText(e, value) }}
}

// columns are the results' columns; one without content is left out.
var columns = []column{
	{"row", ofRows, true, func(e *Entry) string { return e.ID }},
	{"label", ofMethods, true, func(e *Entry) string { return e.Name }},
	{"bits/weight", ofNumbers, true, func(e *Entry) string {
		if !e.HasBits {
			return ""
		}
		return fixed(e.Bits, 3)
	}},
	{"KL mean, nat/token", ofNumbers, true, func(e *Entry) string {
		if e.KL == nil {
			return ""
		}
		return withInterval(*e.KL, sig)
	}},
	{"KL vs baseline", ofNumbers, false, func(e *Entry) string {
		switch v := e.Versus; {
		case v == nil:
			return e.VersusNote
		case v.KLRatio == nil:
			return starred(sig(v.KL.Value), v.KL, v.HolmKL)
		default:
			return starred(percentOf(v.KLRatio.Value), v.KL, v.HolmKL) + spaced(interval(*v.KLRatio, percentOf))
		}
	}},
	{"Pareto", ofNames, true, func(e *Entry) string { return e.Standing.String() }},
	valueColumn("ppl, token", row.PPLToken, true),
	{"ppl vs baseline", ofNumbers, true, func(e *Entry) string {
		v := e.Versus
		if v == nil {
			return e.VersusNote
		}
		return starred(percentOf(v.PPL.Value), v.PPL, v.HolmNLL) + spaced(interval(v.PPL, percentOf))
	}},
	{"top-1 agreement", ofNumbers, true, func(e *Entry) string {
		if e.Top1 == nil {
			return ""
		}
		return fixed(100*e.Top1.Value, 2) + "\u00a0%"
	}},
	valueColumn("output error", row.OutputError, true),
	valueColumn("KL median", row.KLMedian, false),
	valueColumn("KL 99.9 %", row.KLP999, false),
	valueColumn("ppl, word", row.PPLWord, false),
	valueColumn("quantize, s", row.QuantizeTime, false),
}

// starred marks s where e's difference from the baseline is significant.
func starred(s string, e Estimate, holm float64) string {
	if e.Interval() && holm < 1-Level {
		return s + "*"
	}
	return s
}

func spaced(s string) string {
	if s == "" {
		return ""
	}
	return " " + s
}

// table is the group's table of results, in the colours of l.
func (g *Group) table(l Styles) table {
	t := table{Title: "Results", Home: true, Lines: make([]tableLine, len(g.Entries))}
	for i, e := range g.Entries {
		t.Lines[i] = tableLine{Trial: e.Trial, Color: hexColor(l.look(e.Family).color), NonDominated: e.Standing == NonDominated}
	}
	for _, c := range g.columns(func(column) bool { return true }) {
		t.Columns = append(t.Columns, tableColumn{c.name, c.is})
		for i, e := range g.Entries {
			t.Lines[i].Cells = append(t.Lines[i].Cells, c.cell(e))
		}
	}
	return t
}

const standingNote = "Pareto: no row has less of one and no more of the other, bits and divergence, than a non-dominated row. " +
	"“Dominated (n.s.)”: dominated by estimate, but not significantly by any non-dominated row of no more bits."

// tableNote explains the columns of table.
func (g *Group) tableNote() string {
	says := "By bits per weight. Brackets: 95\u00a0% interval, clustered by window; differences are paired. "
	has := func(f func(*Entry) bool) bool { return slices.ContainsFunc(g.Entries, f) }
	if has(func(e *Entry) bool { return e.Versus != nil || e.VersusNote != "" }) {
		says += "* differs from its baseline after Holm's correction over this table. "
	}
	if has(func(e *Entry) bool { return e.Standing != Unplaced }) {
		says += standingNote + " "
	}
	return says + "Each row number leads to the command behind it; every value at full precision is in tables/results.csv."
}

// columns are those of the chosen columns that any row of g fills.
func (g *Group) columns(chosen func(column) bool) []column {
	var out []column
	for _, c := range columns {
		if chosen(c) && slices.ContainsFunc(g.Entries, func(e *Entry) bool { return c.cell(e) != "" }) {
			out = append(out, c)
		}
	}
	return out
}

// lines is the group's table of results at the width of a terminal, head first.
func (g *Group) lines() [][]string {
	lines := make([][]string, len(g.Entries)+1)
	for _, c := range g.columns(func(c column) bool { return c.brief }) {
		lines[0] = append(lines[0], c.name)
		for i, e := range g.Entries {
			lines[i+1] = append(lines[i+1], c.cell(e))
		}
	}
	return lines
}

const effectsNote = "Geometric mean over pairs of rows that differ in this setting alone, paired by window. " +
	"The interval covers the windows, with the pairs as they are. Settings that change the bits per weight are not compared at equal size here."

func (g *Group) effectLines() [][]string {
	lines := [][]string{{"method", "setting", "from", "to", "pairs", "KL lower in", "KL change", "95 % interval", "p, Holm", "bits / weight change"}}
	for _, f := range g.Effects {
		lines = append(lines, []string{f.Method, f.Axis, named(f.From), named(f.To), fmt.Sprint(f.Pairs), fmt.Sprint(f.Lower),
			percentOf(f.Ratio.Value), interval(f.Ratio, percentOf), pvalue(f.Holm), signed(f.BitsChange, 3)})
	}
	return lines
}

// isoTable is the comparisons at equal bits, isoLimit of them.
func (g *Group) isoTable(l Styles) table {
	t := table{Title: "Comparisons at equal bits", Columns: []tableColumn{{"row", ofRows}, {"label", ofMethods}, {"bits/weight", ofNumbers},
		{"rival", ofNames}, {"rival's rows", ofReferences}, {"KL vs rival", ofNumbers}, {"95 % interval", ofNumbers}, {"p, Holm", ofNumbers}}}
	for _, i := range g.Iso[:min(len(g.Iso), isoLimit)] {
		rows := i.Lower.ID
		if i.Upper != nil {
			rows += " to " + i.Upper.ID
		}
		t.Lines = append(t.Lines, tableLine{Color: hexColor(l.look(i.Entry.Family).color), Cells: []string{i.Entry.ID, i.Entry.Name, fixed(i.Entry.Bits, 3),
			i.Family, rows, percentOf(i.Ratio.Value), interval(i.Ratio, percentOf), pvalue(i.Holm)}})
	}
	return t
}

func (g *Group) isoNote() string {
	note := fmt.Sprintf("Two rival rows: the rival's divergence at exactly these bits, log KL interpolated linearly between neighbours on the rival method's own front. "+
		"One rival row: its best row within %s bits, where that has the lower divergence. Nothing is extrapolated. "+
		"Below zero: the row on the left has the lower divergence.", fixed(IsoTolerance, 2))
	if len(g.Iso) > isoLimit {
		note += fmt.Sprintf(" First %d of %d; all are in tables/iso_bits.csv.", isoLimit, len(g.Iso))
	}
	return note
}
