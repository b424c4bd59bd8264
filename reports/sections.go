package reports

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// document says what the rows of in show, section by section.
func (t *Table) document(in Input) *document {
	d := &document{Title: in.Title}
	add := func(s section) { d.Sections = append(d.Sections, s) }
	add(t.opening(in))
	if lines := t.acrossLines(); lines != nil {
		add(section{"across", "What each setting does, side by side", "",
			[]block{tableOf("Effects by group", lines, ofNames), plain("small", acrossNote)}})
	}
	if len(t.entries()) == len(t.Failed) && len(t.Studies) == 0 {
		add(section{"empty", "No results", "",
			[]block{plain("", "No trial has produced values, so there is nothing to compare or to draw.")}})
	}
	for i, g := range t.Groups {
		where := ""
		if len(t.Groups) > 1 {
			where = g.Title()
		}
		d.Sections = append(d.Sections, g.sections(i, where, in.Styles)...)
	}
	for i, m := range t.Timings {
		d.Sections = append(d.Sections, m.sections(i)...)
	}
	for i, s := range t.Studies {
		d.Sections = append(d.Sections, s.sections(i)...)
	}
	d.Sections = append(d.Sections, t.closing(in)...)
	return d
}

// opening is the section of the question, what was measured, and the command.
func (t *Table) opening(in Input) section {
	s := section{Key: "title", Title: in.Title}
	for i, p := range paragraphs(in.Question) {
		switch {
		case indented(p):
			s.Blocks = append(s.Blocks, snippet{"", p})
		case i == 0:
			s.Blocks = append(s.Blocks, plain("lead", p))
		default:
			s.Blocks = append(s.Blocks, plain("asked", p))
		}
	}
	measured := len(t.entries()) - len(t.Failed)
	count := phrase{Text: plural(measured, "trial", "trials") + " measured"}
	if measured == 0 && len(t.Failed) == 0 && len(t.Studies) > 0 {
		count.Text = plural(len(t.Studies), "study", "studies") + " of the criteria"
	}
	says := []phrase{count}
	if n := len(t.Failed); n > 0 {
		says = append(says, phrase{", ", ""}, phrase{plural(n, "trial", "trials") + " failed", "failures"})
	}
	rest := "."
	if t.Replaced > 0 {
		rest = "; " + plural(t.Replaced, "earlier row", "earlier rows") + " of trials that ran again left out."
	}
	if len(t.Groups) > 1 {
		rest += " Rows are compared only within one model, protocol and activation format:"
	}
	s.Blocks = append(s.Blocks, paragraph{Phrases: append(says, phrase{rest, ""})})
	if len(t.Groups) > 1 {
		s.Blocks = append(s.Blocks, t.groupList())
	}
	if in.Command != "" {
		c := command{Key: "sweep", Text: in.Command}
		if in.Folder != "" { // Jupyter starts in the notebook's folder
			c.Setup = "%cd .." + strings.Repeat("/..", strings.Count(path.Clean(in.Folder), "/"))
		}
		s.Blocks = append(s.Blocks, c)
	}
	if in.Draw != "" {
		s.Blocks = append(s.Blocks, command{Key: "draw", Text: in.Draw})
	}
	return s
}

// groupList leads to the findings of each group, with the first of them.
func (t *Table) groupList() bullets {
	var b bullets
	for i, title := range t.shortTitles() {
		g := t.Groups[i]
		item := []phrase{{title, fmt.Sprintf("findings-%d", i+1)}, {", " + plural(len(g.Entries), "row", "rows"), ""}}
		if f := g.findings(); len(f) > 0 {
			item = append(item, phrase{". " + f[0].Text, ""})
		}
		b.Items = append(b.Items, item)
	}
	return b
}

// bulleted lists findings with the rows behind them.
func bulleted(findings []finding) bullets {
	b := bullets{Role: "findings"}
	for _, f := range findings {
		b.Items = append(b.Items, append([]phrase{{Text: f.Text}}, referencesTo(f.Rows)...))
	}
	return b
}

const claimsNote = "“Lower” and “higher” are claimed only after Holm's correction at 5\u00a0%, in comparisons paired by window. " +
	"Intervals are 95\u00a0%, each on its own. They cover the choice of windows, not other texts, calibration samples or models."

// sections are those of the i-th group; where is "" for the only one.
func (g *Group) sections(i int, where string, l Styles) []section {
	key := func(s string) string { return fmt.Sprintf("%s-%d", s, i+1) }
	findings := section{key("findings"), "Findings", g.Title(), nil}
	if f := g.findings(); len(f) > 0 {
		findings.Blocks = append(findings.Blocks, bulleted(f))
	} else {
		findings.Blocks = append(findings.Blocks, plain("", "These rows carry no finding: nothing to compare, or no windows to compare in pairs."))
	}
	scope := bullets{Role: "small"}
	for _, s := range append(g.scope(), claimsNote) {
		scope.Items = append(scope.Items, []phrase{{Text: s}})
	}
	findings.Blocks = append(findings.Blocks, scope)
	out := []section{findings, {key("results"), "Results", where, []block{g.table(l), plain("small", g.tableNote())}}}
	if lines := g.taskLines(); lines != nil {
		out = append(out, section{key("tasks"), "Zero-shot tasks", where, []block{tableOf("Zero-shot tasks", lines, ofRows, ofNames),
			plain("small", taskNote+" Every score at full precision is in tables/tasks.csv.")}})
	}
	out = append(out, g.figureSections(i, where, l)...)
	if lines := g.isoTimeLines(); lines != nil {
		out = append(out, section{key("iso-time"), "Divergence at equal time", where,
			[]block{tableOf("Comparisons at equal time", lines, ofRows, ofNames), plain("small", g.isoTimeNote())}})
	}
	if len(g.Iso) > 0 {
		out = append(out, section{key("iso-bits"), "Divergence at equal bits per weight", where,
			[]block{g.isoTable(l), plain("small", g.isoNote())}})
	}
	return out
}

// figureSection is a section of one figure and what belongs to it.
func figureSection(f *figure, where string, more ...block) section {
	return section{"about-" + f.Key, f.Title, where, append([]block{drawing{f}}, more...)}
}

// figureSections are those of the i-th group's figures, in the order of the
// page. A figure without data does not exist; it is never an empty frame.
func (g *Group) figureSections(i int, where string, l Styles) []section {
	var out []section
	add := func(f *figure, more ...block) {
		if f != nil {
			f.nth(i)
			out = append(out, figureSection(f, where, more...))
		}
	}
	add(g.divergenceFigure(l))
	add(g.isoFigure(l))
	add(g.rowsFigure(l))
	add(g.effectsFigure(), details{Summary: "in numbers", Blocks: []block{
		tableOf("Effect of each setting", g.effectLines(), ofNames, ofNames, ofNames, ofNames), plain("small", effectsNote)}})
	for _, tokens := range g.batches() {
		add(g.speedFigure(l, tokens))
	}
	for _, m := range []measure{divergence, recovery} {
		for _, f := range g.densityFigures(m) {
			add(f)
		}
	}
	add(g.perplexityFigure(l))
	add(g.layerFigure())
	add(g.ledgerFigure())
	return out
}

// section is that of the findings and tables of m, the i-th set of timings.
func (m *Timing) section(i int) section {
	s := section{fmt.Sprintf("timing-%d", i+1), "Kernel timing", m.Title(), nil}
	if m.Predicted {
		s.Title = "Predicted times"
	}
	if f := m.findings(); len(f) > 0 {
		b := bulleted(f)
		for i := range b.Items {
			b.Items[i] = b.Items[i][:1] // the table below has the rows
		}
		s.Blocks = append(s.Blocks, b)
	}
	for _, part := range []struct {
		title string
		lines [][]string
	}{{"Timed products", m.lines()}, {"End to end", m.generatedLines()}} {
		if part.lines == nil {
			continue
		}
		t := tableOf(part.title, part.lines, ofRows, ofNames)
		t.Home = true
		s.Blocks = append(s.Blocks, t)
	}
	s.Blocks = append(s.Blocks, plain("small", timingNote+" Every value at full precision is in tables/timings.csv."))
	return s
}

// sections are section and those of its figures.
func (m *Timing) sections(i int) []section {
	out := []section{m.section(i)}
	for _, f := range m.figures() {
		f.nth(i)
		out = append(out, figureSection(f, m.Title()))
	}
	return out
}

// sections are those of the i-th study of the criteria.
func (s *Study) sections(i int) []section {
	about := section{fmt.Sprintf("criteria-%d", i+1), "How the criteria choose", s.Label, nil}
	if f := s.finding(); f != "" {
		about.Blocks = append(about.Blocks, bulleted([]finding{{f, nil}}))
	}
	about.Blocks = append(about.Blocks, tableOf("Criteria", s.lines(), ofNames), plain("small", s.note()))
	out := []section{about}
	for _, f := range s.figures() {
		f.nth(i)
		out = append(out, figureSection(f, ""))
	}
	return out
}

// closing are the sections about failures, the machine, the settings and the
// commands.
func (t *Table) closing(in Input) []section {
	var out []section
	add := func(key, title string, blocks []block) {
		if len(blocks) > 0 {
			out = append(out, section{key, title, "", blocks})
		}
	}
	all := t.entries()
	add("failures", "Failures and warnings", t.alerts(in.Warnings))
	var machines []block
	for _, e := range in.environments() {
		machines = append(machines, e)
	}
	add("environment", "Environment", machines)
	if in.Config != "" {
		add("settings", "Settings, resolved", []block{snippet{"yaml", in.Config}})
	}
	if len(all) > 0 {
		var runs trials
		for _, e := range all {
			runs = append(runs, trialCommand{e.ID, e.Label, e.Trial, in.Commands[e.Trial]})
		}
		add("reproduce", "Reproduce", []block{details{plural(len(all), "trial", "trials") + ", by row", len(all) <= 40, []block{runs}}})
	}
	return out
}

// alerts are the warnings about the sweep, the failed rows, and the warnings
// about others.
func (t *Table) alerts(warnings []string) []block {
	var out []block
	for _, w := range warnings {
		out = append(out, alert{Texts: []string{w}})
	}
	for _, e := range t.Failed {
		reason := e.Error
		if reason == "" {
			reason = "no reason given"
		}
		out = append(out, alert{true, e.ID, e.Label, []string{reason}})
	}
	all := t.entries()
	for _, e := range all[:len(all)-len(t.Failed)] {
		if len(e.Warnings) > 0 {
			out = append(out, alert{false, e.ID, e.Label, slices.Clone(e.Warnings)})
		}
	}
	return out
}
