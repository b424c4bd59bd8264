package reports

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// latexHead says what a document needs to \input the tables that follow.
const latexHead = "% Made from rows alone; needs \\usepackage{booktabs}.\n"

// latexTable writes a booktabs table whose cells are LaTeX already; columns is
// its column specification. Empty lines among the rows become rules.
func latexTable(b *bytes.Buffer, label, caption, columns string, head []string, lines [][]string) {
	fmt.Fprintf(b, "\\begin{table*}[htbp]\n\\centering\\footnotesize\\setlength{\\tabcolsep}{4pt}\n"+
		"\\caption{%s}\n\\label{%s}\n\\begin{tabular}{@{}%s@{}}\n\\toprule\n", caption, label, columns)
	b.WriteString(strings.Join(head, " & ") + " \\\\\n\\midrule\n")
	for _, l := range lines {
		if len(l) == 0 {
			b.WriteString("\\midrule\n")
			continue
		}
		b.WriteString(strings.Join(l, " & ") + " \\\\\n")
	}
	b.WriteString("\\bottomrule\n\\end{tabular}\n\\end{table*}\n")
}

// latexColumns are the results' columns in LaTeX, as value ± standard error.
var latexColumns = []struct {
	name, align string
	cell        func(*stats.Entry) string
}{
	{"row", "l", func(e *stats.Entry) string { return e.ID }},
	{"label", "l", func(e *stats.Entry) string { return inLatex(e.Name) }},
	{"bits/weight", "r", func(e *stats.Entry) string {
		if !e.HasBits {
			return ""
		}
		return format.Fixed(e.Bits, 3)
	}},
	{"PPL, token", "r", func(e *stats.Entry) string { return plusMinus(perplexity(e), 1, inLatex) }},
	{"KL, nat/token", "r", func(e *stats.Entry) string { return plusMinus(e.KL, 1, inLatex) }},
	{"top-1, \\%", "r", func(e *stats.Entry) string { return plusMinus(e.Top1, 100, inLatex) }},
	{"output error", "r", func(e *stats.Entry) string { return inLatex(valueText(e, "output_error")) }},
}

// resultsLatex returns one table per group; columns without content are left out.
func resultsLatex(t *stats.Table) []byte {
	var b bytes.Buffer
	b.WriteString(latexHead)
	latexTables(t, &b, "results")
	return b.Bytes()
}

func latexTables(t *stats.Table, b *bytes.Buffer, label string) {
	for i, g := range t.Groups {
		var head []string
		lines := make([][]string, len(g.Entries))
		align := ""
		for _, c := range latexColumns {
			var column []string
			for _, e := range g.Entries {
				column = append(column, c.cell(e))
			}
			if strings.Join(column, "") == "" {
				continue
			}
			head, align = append(head, c.name), align+c.align
			for j := range lines {
				lines[j] = append(lines[j], column[j])
			}
		}
		caption := inLatex(g.Title()) + ". Value $\\pm$ standard error over "
		if g.Windows > 0 {
			caption += format.Plural(g.Windows, "evaluation window", "evaluation windows") + "."
		} else {
			caption += "the evaluation windows."
		}
		caption += " Rows share their windows, so differences between rows are surer than these errors."
		latexTable(b, fmt.Sprintf("tab:%s-%d", label, i+1), caption, align, head, lines)
	}
	for _, e := range t.Failed {
		fmt.Fprintf(b, "%% %s failed: %s\n", e.ID, inLatex(strings.ReplaceAll(e.Label+": "+e.Error, "\n", " ")))
	}
}

// perplexity is e's perplexity per token with its standard error, or the value
// alone where the windows are missing.
func perplexity(e *stats.Entry) *stats.Estimate {
	v, ok := e.Value("ppl_token")
	if !ok {
		return nil
	}
	if e.NLL != nil && e.NLL.Interval() {
		p := e.NLL.Exp()
		p.Value = v // as the row states it
		return &p
	}
	return &stats.Estimate{Value: v, Low: v, High: v, P: 1}
}

// plusMinus writes scale times e as "value ± standard error", with as many
// decimals as the two leading digits of the error need, or the value alone.
func plusMinus(e *stats.Estimate, scale float64, escape func(string) string) string {
	switch {
	case e == nil:
		return ""
	case !e.Interval():
		return escape(format.Sig(scale * e.Value))
	case e.SE == 0:
		return escape(format.Sig(scale*e.Value) + " ± 0")
	}
	decimals := format.DecimalsOf(scale * e.SE)
	return escape(format.Fixed(scale*e.Value, decimals) + " ± " + format.Fixed(scale*e.SE, decimals))
}

// inLatex escapes all that LaTeX would take for markup, and spells out what
// is not ASCII and has no standard command: pdfTeX would stop at it.
func inLatex(s string) string {
	var b strings.Builder
	for _, r := range s {
		if m, ok := latexOf[r]; ok {
			b.WriteString(m)
		} else if r >= ' ' && r <= '~' {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "\\texttt{U+%04X}", r)
		}
	}
	return b.String()
}

var latexOf = map[rune]string{
	'\\': `\textbackslash{}`, '{': `\{`, '}': `\}`, '$': `\$`, '&': `\&`, '#': `\#`, '^': `\textasciicircum{}`, '_': `\_`,
	'%': `\%`, '~': `\textasciitilde{}`, '<': `\textless{}`, '>': `\textgreater{}`, '|': `\textbar{}`,
	'"': `''`, '`': `\textasciigrave{}`,
	'[': `{[}`, ']': `{]}`, '-': `-{}`, '*': `{*}`, // no optional argument after a row, no dashes, no starred command
	'\n': " ", '\t': " ", '\u00a0': "~",
	'−': `$-$`, '±': `$\pm$`, '·': `$\cdot$`, '×': `$\times$`, 'ρ': `$\rho$`, '→': `$\rightarrow$`, '–': `--`,
	'…': `\ldots{}`, '‖': `$\|$`, '⟨': `$\langle$`, '⟩': `$\rangle$`, 'Δ': `$\Delta$`, '“': "``", '”': "''", '’': "'",
}
