package reports

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/figures"
	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// column is one column of the results, as text for people.
type column struct {
	name  string
	is    columnKind
	brief bool // on the terminal and in tables/results.md as well
	cell  func(*stats.Entry) string
}

func valueColumn(name, value string, brief bool) column {
	return column{name: name, brief: brief, cell: func(e *stats.Entry) string { return valueText(e, value) }}
}

// columns are the results' columns; one without content is left out.
var columns = []column{
	{"row", ofRows, true, func(e *stats.Entry) string { return e.ID }},
	{"label", ofMethods, true, func(e *stats.Entry) string { return e.Name }},
	{"bits/weight", ofNumbers, true, func(e *stats.Entry) string {
		if !e.HasBits {
			return ""
		}
		return format.Fixed(e.Bits, 3)
	}},
	{"KL mean, nat/token", ofNumbers, true, func(e *stats.Entry) string {
		if e.KL == nil {
			return ""
		}
		return stats.WithInterval(*e.KL, format.Sig)
	}},
	{"KL over draws", ofNumbers, false, func(e *stats.Entry) string {
		low, high, ok := e.Spread()
		if !ok {
			return ""
		}
		return fmt.Sprintf("%d: %s to %s", len(e.Draws), format.Sig(low), format.Sig(high))
	}},
	{"KL vs baseline", ofNumbers, false, func(e *stats.Entry) string {
		switch v := e.Versus; {
		case v == nil:
			return e.VersusNote
		case v.KLRatio == nil:
			return starred(format.Sig(v.KL.Value), v.KL, v.HolmKL)
		default:
			return starred(format.Percent(v.KLRatio.Value), v.KL, v.HolmKL) + spaced(stats.Interval(*v.KLRatio, format.Percent))
		}
	}},
	{"KL vs baseline, over draws", ofNumbers, false, func(e *stats.Entry) string {
		if v := e.Versus; v == nil || v.Draws == 0 {
			return ""
		}
		return format.Percent(e.Versus.DrawLow) + " to " + format.Percent(e.Versus.DrawHigh)
	}},
	{"Pareto", ofNames, true, func(e *stats.Entry) string { return e.Standing.String() }},
	valueColumn("ppl, token", row.PPLToken, true),
	{"ppl vs baseline", ofNumbers, true, func(e *stats.Entry) string {
		v := e.Versus
		if v == nil {
			return e.VersusNote
		}
		return starred(format.Percent(v.PPL.Value), v.PPL, v.HolmNLL) + spaced(stats.Interval(v.PPL, format.Percent))
	}},
	{"top-1 agreement", ofNumbers, true, func(e *stats.Entry) string {
		if e.Top1 == nil {
			return ""
		}
		return format.Fixed(100*e.Top1.Value, 2) + "\u00a0%"
	}},
	{"tokens lost / gained", ofNumbers, false, func(e *stats.Entry) string {
		if e.Lost == nil || e.Gained == nil {
			return ""
		}
		return format.Fixed(100*e.Lost.Value, 2) + "\u00a0% / " + format.Fixed(100*e.Gained.Value, 2) + "\u00a0%"
	}},
	{"right tokens vs 16-bit, points", ofNumbers, false, func(e *stats.Entry) string {
		if e.Right == nil {
			return ""
		}
		return stats.WithInterval(*e.Right, func(v float64) string { return format.Signed(100*v, 2) })
	}},
	valueColumn("output error", row.OutputError, true),
	valueColumn("output error, evaluated text", row.OutputErrorEvaluated, false),
	valueColumn("KL median", row.KLMedian, false),
	valueColumn("KL 99.9 %", row.KLP999, false),
	valueColumn("ppl, word", row.PPLWord, false),
	valueColumn("quantize, s", row.QuantizeTime, false),
}

// starred marks s where e's difference from the baseline is significant.
func starred(s string, e stats.Estimate, holm float64) string {
	if e.Interval() && holm < 1-stats.Level {
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

// named returns the column of results of that name.
func named(name string) column {
	i := slices.IndexFunc(columns, func(c column) bool { return c.name == name })
	if i < 0 {
		panic("reports: results have no column " + name)
	}
	return columns[i]
}

// resultsTable is the group's table of results: the settings of each row and what
// counts most. The rest is in measuresTables.
func resultsTable(g *stats.Group, l figures.Styles) table {
	decode, prefill := g.Phases()
	chosen := append(settingColumns(g), named("bits/weight"), named("KL mean, nat/token"), named("KL over draws"),
		named("KL vs baseline"), named("KL vs baseline, over draws"),
		timeColumn(decode, "decoding time / 16-bit"), timeColumn(prefill,
			"prompt time / 16-bit"), named("ppl, token"), named("top-1 agreement"),
		named("tokens lost / gained"))
	t := rowTable("Results", g.Entries, chosen, l)
	t.Home = true
	return t
}

// otherMeasures are the columns of the second table of all measures; the first has the
// others, so that each fits a page of 1280 pixels.
var otherMeasures = []string{"ppl, token", "ppl vs baseline", "ppl, word", "output error", "output error, evaluated text",
	"quantize, s"}

// measuresTables are everything that was measured of the group's rows, by name:
// divergences and predictions, then perplexities, errors and times.
func measuresTables(g *stats.Group, l figures.Styles) []block {
	first := []column{named("row"), named("label"), named("bits/weight")}
	second := slices.Clone(first)
	for _, c := range columns[len(first):] {
		if slices.Contains(otherMeasures, c.name) {
			second = append(second, c)
		} else {
			first = append(first, c)
		}
	}
	return []block{rowTable("Divergence and predictions", g.Entries, first, l),
		rowTable("Perplexity, errors and times", g.Entries, second, l)}
}

// rowTable is a table of rows in the colours of l, without the columns that no row
// fills.
func rowTable(title string, rows []*stats.Entry, chosen []column, l figures.Styles) table {
	t := table{Title: title, Lines: make([]tableLine, len(rows))}
	for i, e := range rows {
		t.Lines[i] = tableLine{Trial: e.Trial, Label: e.Label, Color: figures.Hex(l.Look(e.Family).Color),
			NonDominated: e.Standing == stats.NonDominated}
	}
	for _, c := range chosen {
		if !slices.ContainsFunc(rows, func(e *stats.Entry) bool { return c.cell(e) != "" }) {
			continue
		}
		t.Columns = append(t.Columns, tableColumn{c.name, c.is})
		for i, e := range rows {
			t.Lines[i].Cells = append(t.Lines[i].Cells, c.cell(e))
		}
	}
	return t
}

const standingNote = "Pareto: no row has less of one and no more of the other, bits and divergence, than a " +
	"non-dominated row. “Dominated (n.s.)”: dominated by estimate, but not significantly by any non-dominated row of no " +
	"more bits."

// resultsNote explains the columns of table.
func resultsNote(g *stats.Group) string {
	says := "By bits per weight. Brackets: 95\u00a0% interval, clustered by window; differences are paired. "
	has := func(f func(*stats.Entry) bool) bool { return slices.ContainsFunc(g.Entries, f) }
	if has(func(e *stats.Entry) bool { return e.Versus != nil || e.VersusNote != "" }) {
		says += "* differs from its baseline after Holm's correction over this table. "
	}
	if has(func(e *stats.Entry) bool { return e.Standing != stats.Unplaced }) {
		says += standingNote + " "
	}
	if has(func(e *stats.Entry) bool { return e.Draws != nil }) {
		says += "A row over several draws of the calibration is their mean, window by window; “over draws” is the " +
			"smallest and the largest of them, differences of the same draw. "
	}
	if has(func(e *stats.Entry) bool { _, ok := e.Value(row.OutputError); return ok }) {
		says += "Output error: tr(E·H·Eᵀ)/tr(W·H·Wᵀ), summed over layers. " + g.Calibration() + " "
	}
	if has(func(e *stats.Entry) bool { _, ok := e.Value(row.OutputErrorEvaluated); return ok }) {
		says += "On the evaluated text: the same over a sample of the inputs that layers get from it. "
	}
	if has(func(e *stats.Entry) bool { return e.Lost != nil }) {
		says += "Tokens lost: the most likely prediction is the text's next token with 16-bit weights and not in this row; " +
			"gained: the other way round. "
	}
	quantized := has(func(e *stats.Entry) bool { return !e.Reference && e.KL != nil })
	var missing []string
	if !has(func(e *stats.Entry) bool { return e.Lost != nil }) {
		missing = append(missing, "tokens lost and gained")
	}
	if !has(func(e *stats.Entry) bool { _, ok := e.Value(row.OutputErrorEvaluated); return ok }) {
		missing = append(missing, "the output error on the evaluated text")
	}
	if quantized && missing != nil {
		says += "No row has " + strings.Join(missing, ", or ") + ": older rows were written without, a new run has " +
			"them. "
	}
	return says + "Each row number leads to the command behind it; every value at full precision is in tables/results.csv."
}

// filledColumns are those of the chosen columns that any row of g fills.
func filledColumns(g *stats.Group, chosen func(column) bool) []column {
	var out []column
	for _, c := range columns {
		if chosen(c) && slices.ContainsFunc(g.Entries, func(e *stats.Entry) bool { return c.cell(e) != "" }) {
			out = append(out, c)
		}
	}
	return out
}

// resultLines is the group's table of results at the width of a terminal, head first.
func resultLines(g *stats.Group) [][]string {
	chosen := filledColumns(g, func(c column) bool { return c.brief })
	for _, p := range phasesOf(g) {
		at := slices.IndexFunc(chosen, func(c column) bool { return c.name == "Pareto" })
		if at < 0 {
			at = len(chosen)
		}
		chosen = slices.Insert(chosen, at, timeColumn(p.tokens, p.name+" / 16-bit"))
	}
	lines := make([][]string, len(g.Entries)+1)
	for _, c := range chosen {
		lines[0] = append(lines[0], c.name)
		for i, e := range g.Entries {
			lines[i+1] = append(lines[i+1], c.cell(e))
		}
	}
	return lines
}
