package reports

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// tablesMarkdown returns one table per group.
func tablesMarkdown(t *stats.Table) []byte {
	var b bytes.Buffer
	for i, g := range t.Groups {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "**%s**\n\n", inMarkdown(g.Title()))
		b.WriteString(markdownTable(resultLines(g)))
	}
	for i, m := range t.Timings {
		s := timingSection(m, i)
		b.WriteString("\n" + s.heading(false))
		for _, bl := range s.Blocks {
			b.WriteString("\n" + blockMarkdown(bl))
		}
	}
	for _, e := range t.Failed {
		fmt.Fprintf(&b, "\n%s %s failed: %s\n", e.ID, inMarkdown(e.Label), inMarkdown(e.Error))
	}
	return b.Bytes()
}

// resultsCSV returns every row with every value at full precision, failed ones too.
func resultsCSV(t *stats.Table) []byte {
	var all []*stats.Entry
	group := map[*stats.Entry]*stats.Group{}
	for _, g := range t.Groups {
		for _, e := range g.Entries {
			all, group[e] = append(all, e), g
		}
	}
	all = append(all, t.Failed...)
	var axes, values []string
	for _, e := range all {
		for k := range e.Axes {
			if !slices.Contains(axes, k) {
				axes = append(axes, k)
			}
		}
		for _, v := range e.Values {
			if !slices.Contains(values, v.Name) {
				values = append(values, v.Name)
			}
		}
	}
	slices.Sort(axes)
	slices.Sort(values)
	estimates := []string{"nll", "kl", "top1", "baseline_nll_difference", "baseline_ppl_ratio", "baseline_kl_difference",
		"baseline_kl_ratio", "baseline_top1_difference"}
	head := []string{"row", "trial", "label", "status", "baseline", "group_model", "group_protocol", "group_activations",
		"rank_kl", "pareto"}
	for _, a := range axes {
		head = append(head, "axis_"+a)
	}
	head = append(head, values...)
	for _, n := range estimates {
		head = append(head, n+"_estimate", n+"_se", n+"_low", n+"_high")
	}
	head = append(head, "baseline_nll_p_holm", "baseline_kl_p_holm", "windows", "draws", "kl_draws_low", "kl_draws_high",
		"error")
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	w.Write(formulaFree(head))
	for _, e := range all {
		w.Write(resultsRecord(e, group[e], axes, values))
	}
	w.Flush()
	return b.Bytes() // writes to a buffer do not fail
}

// resultsRecord is the line of e, which is in g or, failed, in no group.
func resultsRecord(e *stats.Entry, g *stats.Group, axes, values []string) []string {
	rec := []string{e.ID, e.Trial, e.Label, string(e.Status), e.Baseline, "", "", "", "", e.Standing.String()}
	if g != nil {
		rec[5], rec[6], rec[7] = g.Model, g.Protocol, g.Activations
	}
	if e.Rank > 0 {
		rec[8] = strconv.Itoa(e.Rank)
	}
	for _, a := range axes {
		rec = append(rec, e.Axes[a])
	}
	rec = formulaFree(rec)
	for _, name := range values {
		if v, ok := e.Value(name); ok {
			rec = append(rec, full(v))
		} else {
			rec = append(rec, "")
		}
	}
	es := []*stats.Estimate{e.NLL, e.KL, e.Top1, nil, nil, nil, nil, nil}
	holm := []string{"", ""}
	if v := e.Versus; v != nil {
		copy(es[3:], []*stats.Estimate{&v.NLL, &v.PPL, &v.KL, v.KLRatio, v.Top1})
		if v.NLL.Interval() {
			holm = []string{full(v.HolmNLL), full(v.HolmKL)}
		}
	}
	for _, x := range es {
		rec = append(rec, estimateCells(x)...)
	}
	rec = append(rec, holm...)
	rec = append(rec, strconv.Itoa(len(e.WindowTokens)))
	if low, high, ok := e.Spread(); ok {
		rec = append(rec, strconv.Itoa(len(e.Draws)), full(low), full(high))
	} else {
		rec = append(rec, "", "", "")
	}
	return append(rec, formulaFree([]string{e.Error})[0])
}

func isoCSV(t *stats.Table) []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	w.Write([]string{"row", "label", "bits_per_weight", "rival_method", "rival_lower", "rival_upper", "upper_weight",
		"kl_ratio", "kl_ratio_low", "kl_ratio_high", "p", "p_holm"})
	for _, g := range t.Groups {
		for _, i := range g.Iso {
			upper := ""
			if i.Upper != nil {
				upper = i.Upper.Label
			}
			w.Write(append(formulaFree([]string{i.Entry.ID, i.Entry.Label, full(i.Entry.Bits), i.Family, i.Lower.Label, upper}),
				full(i.Weight), full(i.Ratio.Value), full(i.Ratio.Low), full(i.Ratio.High), full(i.Ratio.P), full(i.Holm)))
		}
	}
	w.Flush()
	return b.Bytes()
}

// full writes v with all its digits, and an integer as one.
func full(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// formulaFree quotes text that a spreadsheet would run as a formula.
func formulaFree(text []string) []string {
	out := make([]string, len(text))
	for i, s := range text {
		if s != "" && strings.ContainsRune("=+-@\t", rune(s[0])) {
			s = "'" + s
		}
		out[i] = s
	}
	return out
}

// Summary writes the table for a terminal: the results group by group, without
// intervals, then what failed. Columns without any content are left out.
func Summary(w io.Writer, t *stats.Table) error {
	var b strings.Builder
	for i, g := range t.Groups {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(g.Title() + "\n")
		lines := resultLines(g)
		for _, l := range lines[1:] {
			for j := range l {
				v := cutInterval(l[j])
				if l[j] = format.Short(v.Value, 44); v.Star {
					l[j] += "*"
				}
			}
		}
		align(&b, lines)
	}
	for i, m := range t.Timings {
		if i+len(t.Groups) > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(m.Title() + "\n")
		for _, lines := range [][][]string{productLines(m), generatedLines(m)} {
			if lines != nil {
				align(&b, lines)
			}
		}
	}
	for _, e := range t.Failed {
		fmt.Fprintf(&b, "%s %s failed: %s\n", e.ID, e.Label,
			format.Short(strings.ReplaceAll(cmp.Or(e.Error, "no reason given"), "\n", " "), 160))
	}
	for i, s := range t.Studies {
		if i+len(t.Groups)+len(t.Timings) > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(s.Label + "\n")
		align(&b, criteriaLines(s))
	}
	if len(t.Groups)+len(t.Timings)+len(t.Studies)+len(t.Failed) == 0 {
		b.WriteString("no rows\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// textColumns are headings of columns of text, apart from the first two.
var textColumns = []string{"Pareto", "label", "verdict", "variant", "kernel"}

// align writes lines in columns; numbers end at the right, text starts at the left.
func align(b *strings.Builder, lines [][]string) {
	for j := range lines[0] {
		width, numeric := 0, j > 1 && !slices.Contains(textColumns, lines[0][j])
		for _, l := range lines {
			width = max(width, utf8.RuneCountInString(l[j]))
		}
		for _, l := range lines {
			space := strings.Repeat(" ", width-utf8.RuneCountInString(l[j]))
			if numeric {
				l[j] = space + l[j]
			} else {
				l[j] += space
			}
		}
	}
	for _, l := range lines {
		b.WriteString("  " + strings.TrimRight(strings.Join(l, "  "), " ") + "\n")
	}
}
