package reports

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"strings"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// Formats of Diff.Write.
var DiffFormats = []string{"text", "md", "csv"}

// WriteDiff writes d as text for a terminal, Markdown, or CSV at full precision.
func WriteDiff(d *stats.Diff, w io.Writer, format string) error {
	var b bytes.Buffer
	switch format {
	case "text":
		diffText(d, &b)
	case "md":
		diffMarkdown(d, &b)
	case "csv":
		diffCSV(d, &b)
	default:
		return fmt.Errorf("reports: format %q is not one of %s", format, strings.Join(DiffFormats, ", "))
	}
	_, err := w.Write(b.Bytes())
	return err
}

// diffTable returns the pairs as text for people; columns without content are
// left out, but for the verdict.
func diffTable(d *stats.Diff) [][]string {
	head := []string{"A", "B", "label", "bits A", "bits B−A", "ppl A", "ppl B", "ppl change", "KL A", "KL B", "KL change",
		"verdict"}
	lines := [][]string{head}
	for _, p := range d.Pairs {
		label := p.A.Label
		switch {
		case p.Matched == stats.Across:
			for _, k := range stats.Differing(p.A, p.B) {
				label += fmt.Sprintf(", %s %s → %s", k, format.Named(p.A.Axes[k]), format.Named(p.B.Axes[k]))
			}
		case p.B.Label != label:
			label += " → " + p.B.Label
		}
		line := []string{p.A.ID, p.B.ID, label, "", "", valueText(p.A, row.PPLToken), valueText(p.B, row.PPLToken), "",
			estimateText(p.A.KL), estimateText(p.B.KL), "", string(p.Verdict)}
		if p.A.HasBits {
			line[3] = format.Fixed(p.A.Bits, 3)
		}
		if p.Bits != nil {
			line[4] = format.Signed(*p.Bits, 3)
		}
		if p.PPL != nil {
			line[7] = stats.WithInterval(*p.PPL, format.Percent)
		}
		switch {
		case p.KLRatio != nil:
			line[10] = stats.WithInterval(*p.KLRatio, format.Percent)
		case p.KL != nil:
			line[10] = format.Sig(p.KL.Value)
		}
		if p.Why != "" {
			line[11] += ": " + p.Why
		}
		lines = append(lines, line)
	}
	for j := len(head) - 2; j >= 3; j-- {
		empty := true
		for _, l := range lines[1:] {
			empty = empty && l[j] == ""
		}
		if empty {
			for i, l := range lines {
				lines[i] = append(l[:j:j], l[j+1:]...)
			}
		}
	}
	return lines
}

func valueText(e *stats.Entry, name string) string {
	if v, ok := e.Value(name); ok {
		return format.Sig(v)
	}
	return ""
}

func estimateText(e *stats.Estimate) string {
	if e == nil {
		return ""
	}
	return format.Sig(e.Value)
}

// diffCounts sums d up in a line.
func diffCounts(d *stats.Diff) string {
	how, what := map[stats.Matching]int{}, map[stats.Verdict]int{}
	for _, p := range d.Pairs {
		how[p.Matched]++
		what[p.Verdict]++
	}
	var matched []string
	for _, h := range []struct {
		by   stats.Matching
		name string
	}{{stats.ByTrial, "by trial ID"}, {stats.BySettings, "by settings"}, {stats.Across, "across " +
		strings.Join(d.Across, ", ")}} {
		if how[h.by] > 0 {
			matched = append(matched, fmt.Sprintf("%d %s", how[h.by], h.name))
		}
	}
	limit := "past the threshold"
	if d.Threshold == 0 {
		limit = "(any distinguishable increase counts)"
	} else {
		limit += " of " + format.Sig(100*d.Threshold) + " %"
	}
	return fmt.Sprintf("%s matched (%s): %s %s, %d worse within it, %d better, %d not distinguishable, %d not "+
		"compared; %d only in A, %d only in B.",
		format.Plural(len(d.Pairs), "pair", "pairs"), strings.Join(matched, ", "), format.Plural(what[stats.Regression],
			"regression", "regressions"), limit,
		what[stats.Worse], what[stats.Better], what[stats.Same], what[stats.NotPaired], len(d.Only[0]), len(d.Only[1]))
}

const diffNote = "Changes are B against A, paired by window, with 95 % intervals; a verdict needs a difference " +
	"after Holm's correction over all pairs and both measures."

func diffText(d *stats.Diff, b *bytes.Buffer) {
	fmt.Fprintf(b, "A: %s\nB: %s\n\n", d.Names[0], d.Names[1])
	lines := diffTable(d)
	for _, l := range lines[1:] {
		l[2] = format.Short(l[2], 80)
	}
	var s strings.Builder
	align(&s, lines)
	b.WriteString(s.String())
	for i, side := range d.Only {
		if len(side) == 0 {
			continue
		}
		fmt.Fprintf(b, "\nonly in %s:\n", string('A'+rune(i)))
		for _, u := range side {
			fmt.Fprintf(b, "  %s %s (%s)\n", u.ID, u.Label, u.Why)
		}
	}
	b.WriteString("\n" + diffCounts(d) + "\n" + diffNote + "\n")
	for _, n := range d.Notes {
		fmt.Fprintf(b, "note: %s\n", n)
	}
}

func diffMarkdown(d *stats.Diff, b *bytes.Buffer) {
	fmt.Fprintf(b, "**%s** (A) against **%s** (B)\n\n", inMarkdown(d.Names[0]), inMarkdown(d.Names[1]))
	b.WriteString(markdownTable(diffTable(d)))
	for i, side := range d.Only {
		for j, u := range side {
			if j == 0 {
				fmt.Fprintf(b, "\nOnly in %s:\n\n", string('A'+rune(i)))
			}
			fmt.Fprintf(b, "- %s %s (%s)\n", u.ID, inMarkdown(u.Label), inMarkdown(u.Why))
		}
	}
	b.WriteString("\n" + diffCounts(d) + " " + diffNote + "\n")
	for _, n := range d.Notes {
		b.WriteString("\n" + inMarkdown(n) + "\n")
	}
}

func diffCSV(d *stats.Diff, b *bytes.Buffer) {
	w := csv.NewWriter(b)
	head := []string{"row_a", "row_b", "label_a", "label_b", "trial_a", "trial_b", "matched", "verdict", "why", "bits_a",
		"bits_b", "ppl_a", "ppl_b", "kl_a", "kl_b"}
	for _, n := range []string{"nll_difference", "ppl_ratio", "kl_difference", "kl_ratio"} {
		head = append(head, n, n+"_se", n+"_low", n+"_high")
	}
	w.Write(append(head, "nll_p_holm", "kl_p_holm"))
	value := func(e *stats.Entry, name string) string {
		if e == nil {
			return ""
		}
		if v, ok := e.Value(name); ok {
			return full(v)
		}
		return ""
	}
	line := func(a, b *stats.Entry, p *stats.Pair, matched, verdict, why string) {
		text := make([]string, 6)
		for i, e := range []*stats.Entry{a, b} {
			if e != nil {
				text[i], text[2+i], text[4+i] = e.ID, e.Label, e.Trial
			}
		}
		rec := formulaFree(append(text, matched, verdict, why))
		for _, name := range []string{row.BitsPerWeight, row.PPLToken, row.KLMean} {
			rec = append(rec, value(a, name), value(b, name))
		}
		for _, e := range []*stats.Estimate{p.NLL, p.PPL, p.KL, p.KLRatio} {
			rec = append(rec, estimateCells(e)...)
		}
		for _, t := range p.Tests {
			if t.Done {
				rec = append(rec, full(t.P))
			} else {
				rec = append(rec, "")
			}
		}
		w.Write(rec)
	}
	for _, p := range d.Pairs {
		line(p.A, p.B, p, string(p.Matched), string(p.Verdict), p.Why)
	}
	for _, u := range d.Only[0] {
		line(u.Entry, nil, &stats.Pair{}, "", "only in A", u.Why)
	}
	for _, u := range d.Only[1] {
		line(nil, u.Entry, &stats.Pair{}, "", "only in B", u.Why)
	}
	w.Flush()
}

// estimateCells are value, standard error and interval of e at full precision.
func estimateCells(e *stats.Estimate) []string {
	switch {
	case e == nil:
		return []string{"", "", "", ""}
	case !e.Interval():
		return []string{full(e.Value), "", "", ""}
	}
	return []string{full(e.Value), full(e.SE), full(e.Low), full(e.High)}
}
