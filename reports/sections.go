package reports

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/mosaicquant/mosaicquant/reports/figures"
	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// documentOf says what the rows of in show, section by section.
func documentOf(t *stats.Table, in Input) *document {
	d := &document{Title: in.Title}
	add := func(s section) { d.Sections = append(d.Sections, s) }
	add(opening(t, in))
	if lines := acrossLines(t); lines != nil {
		add(section{"across", "What each setting does, side by side", "",
			[]block{tableOf("Effects by group", lines, ofNames), plain("small", acrossNote)}})
	}
	if len(t.Entries()) == len(t.Failed) && len(t.Studies) == 0 {
		add(section{"empty", "No results", "",
			[]block{plain("", "No trial has produced values, so there is nothing to compare or to draw.")}})
	}
	for i, g := range t.Groups {
		where := ""
		if len(t.Groups) > 1 {
			where = g.Title()
		}
		d.Sections = append(d.Sections, groupSections(g, i, where, in.Styles)...)
	}
	for i, m := range t.Timings {
		d.Sections = append(d.Sections, timingSections(m, i)...)
	}
	for i, s := range t.Studies {
		d.Sections = append(d.Sections, criteriaSections(s, i)...)
	}
	d.Sections = append(d.Sections, closing(t, in)...)
	return d
}

// opening is the section of the question, what was measured, and the command.
func opening(t *stats.Table, in Input) section {
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
	measured := len(t.Entries()) - len(t.Failed)
	count := phrase{Text: format.Plural(measured, "trial", "trials") + " measured"}
	if measured == 0 && len(t.Failed) == 0 && len(t.Studies) > 0 {
		count.Text = format.Plural(len(t.Studies), "study", "studies") + " of the criteria"
	}
	says := []phrase{count}
	if n := len(t.Failed); n > 0 {
		says = append(says, phrase{", ", ""}, phrase{format.Plural(n, "trial", "trials") + " failed", "failures"})
	}
	rest := "."
	if t.Replaced > 0 {
		rest = "; " + format.Plural(t.Replaced, "earlier row", "earlier rows") + " of trials that ran again left out."
	}
	if len(t.Groups) > 1 {
		rest += " Rows are compared only within one model, protocol and activation format:"
	}
	s.Blocks = append(s.Blocks, paragraph{Phrases: append(says, phrase{rest, ""})})
	if len(t.Groups) > 1 {
		s.Blocks = append(s.Blocks, groupList(t))
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
func groupList(t *stats.Table) bullets {
	var b bullets
	for i, title := range shortTitles(t) {
		g := t.Groups[i]
		item := []phrase{{title, fmt.Sprintf("findings-%d", i+1)}, {", " + format.Plural(len(g.Entries), "row", "rows"), ""}}
		if f := groupFindings(g); len(f) > 0 {
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

// groupSections are those of the i-th group; where is "" for the only one.
func groupSections(g *stats.Group, i int, where string, l figures.Styles) []section {
	key := func(s string) string { return fmt.Sprintf("%s-%d", s, i+1) }
	findings := section{key("findings"), "Findings", g.Title(), nil}
	if f := groupFindings(g); len(f) > 0 {
		findings.Blocks = append(findings.Blocks, bulleted(f))
	} else {
		findings.Blocks = append(findings.Blocks, plain("", "These rows carry no finding: nothing to compare, or no windows to compare in pairs."))
	}
	scope := bullets{Role: "small"}
	for _, s := range append(scopeOf(g), claimsNote) {
		scope.Items = append(scope.Items, []phrase{{Text: s}})
	}
	findings.Blocks = append(findings.Blocks, scope)
	out := []section{findings, {key("results"), "Results", where, []block{resultsTable(g, l), plain("small", resultsNote(g))}}}
	if lines := taskLines(g); lines != nil {
		out = append(out, section{key("tasks"), "Zero-shot tasks", where, []block{tableOf("Zero-shot tasks", lines, ofRows, ofNames),
			plain("small", taskNote+" Every score at full precision is in tables/tasks.csv.")}})
	}
	out = append(out, figureSections(g, i, where, l)...)
	if lines := isoTimeLines(g); lines != nil {
		out = append(out, section{key("iso-time"), "Divergence at equal time", where,
			[]block{tableOf("Comparisons at equal time", lines, ofRows, ofNames), plain("small", isoTimeNote(g))}})
	}
	if len(g.Iso) > 0 {
		out = append(out, section{key("iso-bits"), "Divergence at equal bits per weight", where,
			[]block{isoTable(g, l), plain("small", isoNote(g))}})
	}
	return out
}

// figureSection is a section of one figure and what belongs to it.
func figureSection(f *figures.Figure, where string, more ...block) section {
	return section{"about-" + f.Key, f.Title, where, append([]block{drawing{f}}, more...)}
}

// figureSections are those of the i-th group's figures, in the order of the
// page. A figure without data does not exist; it is never an empty frame.
func figureSections(g *stats.Group, i int, where string, l figures.Styles) []section {
	var out []section
	add := func(f *figures.Figure, more ...block) {
		if f != nil {
			f.Nth(i)
			out = append(out, figureSection(f, where, more...))
		}
	}
	add(figures.Divergence(g, l))
	add(figures.AtEqualBits(g, l))
	add(figures.Rows(g, l))
	add(figures.Effects(g), details{Summary: "in numbers", Blocks: []block{
		tableOf("Effect of each setting", effectLines(g), ofNames, ofNames, ofNames, ofNames), plain("small", effectsNote)}})
	for _, tokens := range g.Batches() {
		add(figures.DivergenceOverTime(g, l, tokens))
	}
	for _, f := range figures.Density(g) {
		add(f)
	}
	add(figures.Perplexity(g, l))
	add(figures.Layers(g))
	add(figures.Ledger(g))
	return out
}

// closing are the sections about failures, the machine, the settings and the
// commands.
func closing(t *stats.Table, in Input) []section {
	var out []section
	add := func(key, title string, blocks []block) {
		if len(blocks) > 0 {
			out = append(out, section{key, title, "", blocks})
		}
	}
	all := t.Entries()
	add("failures", "Failures and warnings", alertsOf(t, in.Warnings))
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
		add("reproduce", "Reproduce", []block{details{format.Plural(len(all), "trial", "trials") + ", by row", len(all) <= 40, []block{runs}}})
	}
	return out
}

// alertsOf are the warnings about the sweep, the failed rows, and the warnings
// about others.
func alertsOf(t *stats.Table, warnings []string) []block {
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
	all := t.Entries()
	for _, e := range all[:len(all)-len(t.Failed)] {
		if len(e.Warnings) > 0 {
			out = append(out, alert{false, e.ID, e.Label, slices.Clone(e.Warnings)})
		}
	}
	return out
}
