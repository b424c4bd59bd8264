package reports

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// Formats of Tables.
var TableFormats = []string{"md", "csv", "latex"}

// Tables writes the paper's tables, with what the folders measured beside the
// reported figures, and then the results of each folder. Title names a folder.
func Tables(w io.Writer, folders []Input, format string) error {
	var fs []*folderRows
	for _, in := range folders {
		in = in.visible()
		fs = append(fs, &folderRows{in.Title, in, stats.Build(in.Rows)})
	}
	var b bytes.Buffer
	switch format {
	case "md":
		paperMarkdown(&b, fs)
	case "csv":
		paperCSV(&b, fs)
	case "latex":
		paperLatex(&b, fs)
	default:
		return fmt.Errorf("reports: format %q is not one of %s", format, strings.Join(TableFormats, ", "))
	}
	_, err := w.Write(b.Bytes())
	return err
}

// measuredCell writes the measured figures of one line, each with its row.
func measuredCell(found []measured, escape func(string) string) string {
	var parts []string
	for _, m := range found {
		parts = append(parts, plusMinus(perplexity(m.Entry), 1, escape)+escape(" ("+m.name()+")"))
	}
	return strings.Join(parts, "; ")
}

func head(t paperTable) []string {
	if t.zeroShot {
		return []string{"model", "scheme", "zero-shot, reported", "zero-shot, measured", "PPL, reported", "PPL, measured"}
	}
	return []string{"model", "scheme", "PPL, reported", "PPL, measured"}
}

// lines calls f with each line of t; first marks the first of a model.
func (t paperTable) lines(fs []*folderRows, escape func(string) string,
	f func(first bool, cells []string)) (used, otherText []measured) {
	for _, m := range t.models {
		for i, r := range m.lines {
			found, other := beside(fs, m.name, r.scheme)
			used = append(used, found...)
			line := []string{escape(m.name), escape(r.scheme)}
			if t.zeroShot {
				var parts []string
				for _, o := range slices.Concat(found, other) {
					if z := zeroShot(o.Entry); z != nil {
						parts = append(parts, plusMinus(z, 100, escape)+escape(" ("+o.name()+")"))
						used = append(used, o)
					}
				}
				line = append(line, r.zeroShot, cmp.Or(strings.Join(parts, "; "), escape(t.missing(r.scheme))))
			}
			for _, o := range other {
				if !t.zeroShot || zeroShot(o.Entry) == nil {
					otherText = append(otherText, o)
				}
			}
			f(i == 0, append(line, escape(r.ppl), cmp.Or(measuredCell(found, escape), escape(t.missing(r.scheme)))))
		}
	}
	return used, otherText
}

func paperMarkdown(b *bytes.Buffer, fs []*folderRows) {
	b.WriteString("# The paper's tables\n\n" + reportedNote + "\n\n" + measuredNote + "\n")
	var used, otherText []measured
	for _, t := range paperTables {
		fmt.Fprintf(b, "\n## %s\n\n%s\n\n", t.title, t.note)
		h := head(t)
		b.WriteString("| " + strings.Join(h, " | ") + " |\n" + strings.Repeat("| --- ", len(h)) + "|\n")
		u, o := t.lines(fs, inMarkdown, func(_ bool, cells []string) {
			b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
		})
		used, otherText = append(used, u...), append(otherText, o...)
	}
	for _, c := range costTables(fs) {
		fmt.Fprintf(b, "\n## %s\n\n%s\n\n", inMarkdown(c.title), inMarkdown(c.note))
		b.WriteString(markdownTable(c.lines))
	}
	section := func(title string, ms []measured) {
		ms = distinct(ms)
		if len(ms) == 0 {
			return
		}
		fmt.Fprintf(b, "\n## %s\n\n", title)
		for _, m := range ms {
			fmt.Fprintf(b, "- %s: %s; %s", inMarkdown(m.name()), inMarkdown(m.Label), inMarkdown(m.group().Title()))
			if c := m.folder.in.Commands[m.Trial]; c != "" {
				b.WriteString("; " + code(c))
			}
			b.WriteString("\n")
		}
	}
	section("Measured rows above", used)
	section("Rows of these models and schemes on other texts, not entered above", otherText)
	for _, f := range fs {
		fmt.Fprintf(b, "\n# Results of %s\n\n", inMarkdown(f.name))
		b.Write(tablesMarkdown(f.table))
	}
}

// code writes s as inline code of Markdown.
func code(s string) string {
	ticks := "`"
	for strings.Contains(s, ticks) {
		ticks += "`"
	}
	s = strings.ReplaceAll(s, "\n", " ")
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " "
	}
	return ticks + s + ticks
}

func distinct(ms []measured) []measured {
	var out []measured
	for _, m := range ms {
		if !slices.ContainsFunc(out, func(o measured) bool { return o.Entry == m.Entry }) {
			out = append(out, m)
		}
	}
	return out
}

func (m measured) group() *stats.Group {
	i := slices.IndexFunc(m.folder.table.Groups, func(g *stats.Group) bool { return slices.Contains(g.Entries, m.Entry) })
	return m.folder.table.Groups[i]
}

// paperCSV writes one line per figure, reported and measured alike: a sheet to
// filter, not to look at.
func paperCSV(b *bytes.Buffer, fs []*folderRows) {
	w := csv.NewWriter(b)
	w.Write([]string{"table", "model", "scheme", "quantity", "source", "value", "se", "row", "trial", "label",
		"bits_per_weight", "row_model", "row_activations", "row_protocol"})
	const source = "reported, reading notes, not checked against the PDF"
	mine := func(table, model, scheme, quantity string, m measured, e *stats.Estimate) {
		if e == nil {
			return
		}
		se, bits := "", ""
		if e.Interval() {
			se = full(e.SE)
		}
		if m.HasBits {
			bits = full(m.Bits)
		}
		g := m.group()
		w.Write(append(append(formulaFree([]string{table, model, scheme, quantity, "measured"}), full(e.Value), se),
			formulaFree([]string{m.name(), m.Trial, m.Label, bits, g.Model, g.Activations, g.Protocol})...))
	}
	for _, t := range paperTables {
		for _, model := range t.models {
			for _, r := range model.lines {
				for _, q := range [][2]string{{"zero_shot_percent", r.zeroShot}, {"ppl", r.ppl}} {
					if q[1] != "" {
						w.Write([]string{t.key, model.name, r.scheme, q[0], source, q[1], "", "", "", "", "", "", "", ""})
					}
				}
				found, other := beside(fs, model.name, r.scheme)
				for _, m := range found {
					mine(t.key, model.name, r.scheme, "ppl_token", m, perplexity(m.Entry))
				}
				if t.zeroShot {
					for _, m := range slices.Concat(found, other) {
						if z := zeroShot(m.Entry); z != nil {
							percent := *z
							percent.Value, percent.SE = 100*z.Value, 100*z.SE
							mine(t.key, model.name, r.scheme, "zero_shot_percent", m, &percent)
						}
					}
				}
			}
		}
	}
	for _, c := range costTables(fs) {
		for _, l := range c.lines[1:] {
			for i, of := range []string{source, "measured"} {
				if l[1+i] != "" && !strings.HasPrefix(l[1+i], noRun) {
					w.Write(formulaFree([]string{c.key, "", "", l[0], of, l[1+i], "", "", "", "", "", "", "", ""}))
				}
			}
		}
	}
	for _, f := range fs {
		for _, g := range f.table.Groups {
			for _, e := range g.Entries {
				m := measured{e, f}
				method := stats.Setting(&e.Row, "method")
				for _, q := range []struct {
					name string
					e    *stats.Estimate
				}{{"ppl_token", perplexity(e)}, {"nll", e.NLL}, {"kl_mean", e.KL}, {"top1", e.Top1}} {
					mine("results of "+f.name, g.Model, method, q.name, m, q.e)
				}
			}
		}
	}
	w.Flush()
}

func paperLatex(b *bytes.Buffer, fs []*folderRows) {
	b.WriteString(latexHead + "% " + reportedNote + "\n")
	for _, t := range paperTables {
		var rows [][]string
		var h []string
		for _, name := range head(t) {
			h = append(h, inLatex(name))
		}
		used, _ := t.lines(fs, inLatex, func(first bool, cells []string) {
			if first && rows != nil {
				rows = append(rows, nil)
			}
			if !first {
				cells[0] = ""
			}
			rows = append(rows, cells)
		})
		caption := inLatex(t.title) + ". " + inLatex(t.note) + " " + inLatex(reportedNote) + " " + inLatex(measuredNote)
		latexTable(b, "tab:paper-"+t.key, caption, "ll"+strings.Repeat("r", len(h)-3)+"l", h, rows)
		for _, m := range distinct(used) {
			fmt.Fprintf(b, "%% %s: %s; %s; %s\n", inLatex(m.name()), inLatex(m.Label), inLatex(m.group().Title()),
				inLatex(m.folder.in.Commands[m.Trial]))
		}
	}
	for _, c := range costTables(fs) {
		var rows [][]string
		for _, l := range c.lines {
			var cells []string
			for _, s := range l {
				cells = append(cells, inLatex(s))
			}
			rows = append(rows, cells)
		}
		latexTable(b, "tab:paper-"+c.key, inLatex(c.title)+". "+inLatex(c.note), strings.Repeat("l", len(c.lines[0])),
			rows[0], rows[1:])
	}
	for i, f := range fs {
		fmt.Fprintf(b, "%% Results of %s\n", inLatex(f.name))
		latexTables(f.table, b, fmt.Sprintf("results-%d", i+1))
	}
}
