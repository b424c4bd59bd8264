package reports

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
)

// A block is a piece of a report that is read from top to bottom: text, or
// code with what it shows. report.md and report.ipynb are the same blocks.
type block struct {
	key   string   // unique, of letters, digits and '-': a notebook cell's ID
	text  string   // Markdown; empty in a block of code
	code  []string // lines of Python and, behind '!', of shell
	shows []output
}

// output is a table or a figure.
type output struct {
	title  string     // of a table
	table  [][]string // the first line is the head
	figure *figure
	png    []byte
}

// trialLimit bounds the rows whose commands are blocks of their own.
const trialLimit = 60

// blocks is the report of t, whose figures were drawn as the given PNG files.
func (t *Table) blocks(in Input, figures [][]*figure, png map[string][]byte) []block {
	var out []block
	text := func(key, format string, args ...any) {
		out = append(out, block{key: key, text: fmt.Sprintf(format, args...)})
	}
	intro := "# " + inMarkdown(in.Title) + "\n"
	for _, p := range paragraphs(in.Question) {
		if indented(p) {
			intro += "\n" + fenced("", p)
		} else {
			intro += "\n" + inMarkdown(p) + "\n"
		}
	}
	all := t.entries()
	intro += fmt.Sprintf("\n%s measured, %d failed.", plural(len(all)-len(t.Failed), "trial", "trials"), len(t.Failed))
	if t.Replaced > 0 {
		intro += fmt.Sprintf(" %s of trials that ran again left out.", plural(t.Replaced, "earlier row", "earlier rows"))
	}
	if len(t.Groups) > 1 {
		intro += " Rows are compared only within one model, protocol and activation format."
	}
	text("title", "%s", intro)
	if in.Command != "" {
		code := []string{shell(in.Command)}
		if in.Folder != "" { // Jupyter starts in the notebook's folder
			code = append([]string{"%cd .." + strings.Repeat("/..", strings.Count(path.Clean(in.Folder), "/"))}, code...)
		}
		out = append(out, block{key: "sweep", code: code})
	}
	if len(t.Groups) > 0 {
		b := block{key: "results"}
		if in.Draw != "" {
			b.code = []string{shell(in.Draw)}
		}
		for _, g := range t.Groups {
			b.shows = append(b.shows, output{title: g.Title(), table: g.lines()})
		}
		out = append(out, b)
		text("columns", "Brackets: 95 %% interval, clustered by window; differences are paired. Every value at full precision is in `tables/results.csv`.")
	}
	show := func(f *figure, title string) {
		text("about-"+f.Key, "## %s\n\n%s\n\n%s", inMarkdown(f.Title), inMarkdown(title), inMarkdown(f.Caption))
		name, err := json.Marshal(path.Join(in.Folder, "plots", f.Key+".png"))
		if err != nil {
			panic("reports: file name: " + err.Error()) // a string
		}
		out = append(out, block{key: "figure-" + f.Key, shows: []output{{figure: f, png: png[f.Key]}},
			code: []string{"from IPython.display import Image", "Image(" + string(name) + ")"}})
		if f.Lines != nil {
			text("numbers-"+f.Key, "%s\n%s", markdownTable(f.Lines), f.LinesNote)
		}
	}
	if lines := t.acrossLines(); lines != nil {
		text("across", "## What each setting does, side by side\n\n%s\n%s", markdownTable(lines), inMarkdown(acrossNote))
	}
	for i, g := range t.Groups {
		suffix := ""
		if len(t.Groups) > 1 {
			suffix = fmt.Sprint("-", i+1)
		}
		text("findings"+suffix, "%s", g.findingsMarkdown())
		for _, f := range figures[i] {
			show(f, g.Title())
		}
		if lines := g.taskLines(); lines != nil {
			text("tasks"+suffix, "## Zero-shot tasks\n\n%s\n%s", markdownTable(lines), taskNote)
		}
		if len(g.Iso) > 0 {
			more := ""
			if len(g.Iso) > isoLimit {
				more = fmt.Sprintf(" First %d of %d; all are in `tables/iso_bits.csv`.", isoLimit, len(g.Iso))
			}
			text("iso-bits"+suffix, "## Divergence at equal bits per weight\n\n%s\nTwo rival rows: interpolated between them at exactly these bits, never extrapolated; one: the best within 0.03 bits, where that has the lower divergence. Below zero: the row on the left has the lower divergence.%s", markdownTable(g.isoLines()), more)
		}
	}
	for i, g := range t.Groups {
		if lines := g.isoTimeLines(); lines != nil {
			text(fmt.Sprintf("iso-time-%d", i+1), "## Divergence at equal time\n\n%s\n\n%s\n%s", inMarkdown(g.Title()), markdownTable(lines), g.isoTimeNote())
		}
	}
	for i, m := range t.Timings {
		text(fmt.Sprintf("timing-%d", i+1), "%s", m.markdown())
		for _, f := range figures[len(t.Groups)+i] {
			show(f, m.Title())
		}
	}
	for i, s := range t.Studies {
		text(fmt.Sprintf("criteria-%d", i+1), "%s", s.markdown())
		for _, f := range figures[len(t.Groups)+len(t.Timings)+i] {
			show(f, s.Label)
		}
	}
	if w := t.warningsMarkdown(in); w != "" {
		text("warnings", "## Failures and warnings\n\n%s", w)
	}
	if envs := in.environments(); len(envs) > 0 {
		var b strings.Builder
		b.WriteString("## Environment\n")
		for _, e := range envs {
			lines := [][]string{{"environment", e.Key}}
			for _, f := range e.Fields {
				lines = append(lines, []string{f.Name, f.Value})
			}
			b.WriteString("\n" + markdownTable(lines))
		}
		text("environment", "%s", b.String())
	}
	if in.Config != "" {
		text("settings", "## Settings, resolved\n\n%s", fenced("yaml", in.Config))
	}
	out = append(out, reproduce(in, all)...)
	return out
}

// reproduce gives each row's command a block, up to trialLimit.
func reproduce(in Input, all []*Entry) []block {
	var out []block
	n := 0
	for _, e := range all {
		if c := in.Commands[e.Trial]; c != "" {
			if n++; n <= trialLimit {
				out = append(out, block{key: "trial-" + e.ID, code: []string{"# " + e.ID + " " + e.Label, shell(c)}})
			}
		}
	}
	if n == 0 {
		return nil
	}
	about := "## Reproduce\n\nEach row by itself."
	if n > trialLimit {
		about += fmt.Sprintf(" The first %d of %d; report.html has the commands of all.", trialLimit, n)
	}
	return slices.Insert(out, 0, block{key: "reproduce", text: about})
}

// shell is a command as a notebook's line.
func shell(command string) string { return "!" + strings.ReplaceAll(command, "\n", " ") }

// lines is the group's table of results, head first, without empty columns.
func (g *Group) lines() [][]string {
	lines := make([][]string, len(g.Entries)+1)
	for _, c := range columns {
		if !slices.ContainsFunc(g.Entries, func(e *Entry) bool { return c.cell(e) != "" }) {
			continue
		}
		lines[0] = append(lines[0], c.name)
		for i, e := range g.Entries {
			lines[i+1] = append(lines[i+1], c.cell(e))
		}
	}
	return lines
}

func (g *Group) findingsMarkdown() string {
	var b strings.Builder
	b.WriteString("## Findings\n\n" + inMarkdown(g.Title()) + "\n\n")
	for _, f := range g.findings() {
		b.WriteString("- " + inMarkdown(f.Text))
		for i, e := range f.Rows {
			if i == 12 {
				b.WriteString(" …")
				break
			}
			b.WriteString(" " + e.ID)
		}
		b.WriteString("\n")
	}
	for _, s := range g.scope() {
		b.WriteString("- " + inMarkdown(s) + "\n")
	}
	b.WriteString("- “Lower” and “higher” are claimed only after Holm's correction at 5 %, in comparisons paired by window. Intervals are 95 %, each on its own. They cover the choice of windows, not other texts, calibration samples or models.\n")
	return b.String()
}

func (g *Group) effectLines() [][]string {
	lines := [][]string{{"method", "setting", "from", "to", "pairs", "KL lower in", "KL change", "95 % interval", "p, Holm", "bits / weight change"}}
	for _, f := range g.Effects {
		lines = append(lines, []string{f.Method, f.Axis, named(f.From), named(f.To), fmt.Sprint(f.Pairs), fmt.Sprint(f.Lower), percentOf(f.Ratio.Value), interval(f.Ratio, percentOf), pvalue(f.Holm), signed(f.BitsChange, 3)})
	}
	return lines
}

func (g *Group) isoLines() [][]string {
	lines := [][]string{{"row", "label", "bits / weight", "rival", "rival's rows", "KL vs rival", "95 % interval", "p, Holm"}}
	for _, i := range g.Iso[:min(len(g.Iso), isoLimit)] {
		rows := i.Lower.ID
		if i.Upper != nil {
			rows += " to " + i.Upper.ID
		}
		lines = append(lines, []string{i.Entry.ID, i.Entry.Name, fixed(i.Entry.Bits, 3), i.Family, rows, percentOf(i.Ratio.Value), interval(i.Ratio, percentOf), pvalue(i.Holm)})
	}
	return lines
}

func (t *Table) warningsMarkdown(in Input) string {
	var b strings.Builder
	for _, w := range in.Warnings {
		b.WriteString("- " + inMarkdown(w) + "\n")
	}
	for _, e := range t.Failed {
		fmt.Fprintf(&b, "- %s %s failed: %s\n", e.ID, inMarkdown(e.Label), inMarkdown(named(e.Error)))
	}
	for _, g := range t.Groups {
		for _, e := range warned(g.Entries) {
			for _, w := range e.Warnings {
				fmt.Fprintf(&b, "- %s %s: %s\n", e.ID, inMarkdown(e.Label), inMarkdown(w))
			}
		}
	}
	return b.String()
}

// markdownTable writes lines, the first of which is the head.
func markdownTable(lines [][]string) string {
	var b strings.Builder
	for i, l := range lines {
		for _, c := range l {
			b.WriteString("| " + inMarkdown(c) + " ")
		}
		b.WriteString("|\n")
		if i == 0 {
			b.WriteString(strings.Repeat("| --- ", len(l)) + "|\n")
		}
	}
	return b.String()
}

// fenced writes s as a block of code that nothing in s can end.
func fenced(language, s string) string {
	fence := "```"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	return fence + language + "\n" + strings.TrimSuffix(s, "\n") + "\n" + fence + "\n"
}

// reportMarkdown writes blocks as a page beside the folder plots.
func reportMarkdown(blocks []block) []byte {
	var b strings.Builder
	for _, bl := range blocks {
		if b.Len() > 0 {
			b.WriteString("\n")
		}
		if bl.text != "" {
			b.WriteString(strings.TrimSuffix(bl.text, "\n") + "\n")
			continue
		}
		var commands []string
		for _, l := range bl.code {
			if c, ok := strings.CutPrefix(l, "!"); ok {
				commands = append(commands, c)
			} else if strings.HasPrefix(l, "# ") {
				commands = append(commands, l)
			}
		}
		if commands != nil {
			b.WriteString(fenced("sh", strings.Join(commands, "\n")))
		}
		for _, o := range bl.shows {
			if o.figure != nil {
				fmt.Fprintf(&b, "![%s](plots/%s.png)\n", inMarkdown(o.figure.Title), o.figure.Key)
				continue
			}
			if commands != nil || o.title != bl.shows[0].title {
				b.WriteString("\n")
			}
			b.WriteString("**" + inMarkdown(o.title) + "**\n\n" + markdownTable(o.table))
		}
	}
	return []byte(b.String())
}
