package reports

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/mosaicquant/mosaicquant/reports/figures"
	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// documentOf says what the rows of in show, section by section.
func documentOf(t *stats.Table, in Input) *document {
	d := &document{Title: in.Title, Groups: groupsOf(t)}
	add := func(s section) { d.Sections = append(d.Sections, s) }
	add(opening(t, in))
	if len(t.Entries()) == len(t.Failed) && len(t.Studies) == 0 && len(t.Limits) == 0 {
		add(section{Key: "empty", Title: "No results",
			Blocks: []block{plain("", "No trial has produced values, so there is nothing to compare or to draw.")}})
	}
	for i := range t.Groups {
		where := ""
		if len(t.Groups) > 1 {
			where = t.Groups[i].Title()
		}
		for _, s := range groupSections(t.Groups[i], i, where, in) {
			s.Group = i + 1
			add(s)
		}
	}
	if lines := acrossLines(t); lines != nil {
		add(section{Key: "across", Title: "What each setting does, side by side", Folded: true,
			Blocks: append(acrossTables(lines), plain("small", acrossNote))})
	}
	for i, m := range t.Timings {
		d.Sections = append(d.Sections, timingSections(m, i)...)
	}
	for i, s := range t.Studies {
		d.Sections = append(d.Sections, criteriaSections(s, i)...)
	}
	for i, l := range t.Limits {
		d.Sections = append(d.Sections, limitSections(l, i, in.Styles)...)
	}
	d.Sections = append(d.Sections, closing(t, in)...)
	return d
}

// opening is the section of the question, what was measured, and the answers.
func opening(t *stats.Table, in Input) section {
	s := section{Key: "title", Title: in.Title}
	if p := paragraphs(in.Question); len(p) > 0 && !indented(p[0]) {
		s.Blocks = append(s.Blocks, plain("lead", p[0]))
	}
	measured := 0
	for _, e := range t.Entries() {
		measured += len(e.Trials())
	}
	measured -= len(t.Failed)
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
		rest += " Rows are compared only within one model, protocol and activation format."
	}
	s.Blocks = append(s.Blocks, paragraph{Role: "small", Phrases: append(says, phrase{rest, ""})})
	switch list := groupList(t); {
	case len(t.Groups) < 2:
	case len(t.Groups) > 4:
		s.Blocks = append(s.Blocks,
			details{Summary: fmt.Sprintf("The answer of each of %d groups", len(t.Groups)), Blocks: []block{list}})
	default:
		s.Blocks = append(s.Blocks, list)
	}
	return s
}

// groupList leads to each group, with its answer in a line.
func groupList(t *stats.Table) bullets {
	var b bullets
	for i, title := range shortTitles(t) {
		g := t.Groups[i]
		b.Items = append(b.Items, []phrase{{title, fmt.Sprintf("answer-%d", i+1)}, {": " + briefAnswer(g) + ".", ""}})
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

const claimsNote = "“Lower” and “higher” are claimed only after Holm's correction at 5\u00a0%, in comparisons " +
	"paired by window. Intervals are 95\u00a0%, each on its own. They cover the choice of windows, not other texts, " +
	"calibration samples or models."

// groupSections are those of the i-th group, what most readers want first; where is
// "" for the only one.
func groupSections(g *stats.Group, i int, where string, in Input) []section {
	key := func(s string) string { return fmt.Sprintf("%s-%d", s, i+1) }
	answer := section{Key: key("answer"), Title: "Answer", Where: where}
	if p := pictures(g, i, in.Styles); p != nil {
		answer.Blocks = append(answer.Blocks, p)
	}
	answer.Blocks = append(answer.Blocks, bulleted(answers(g)))
	out := []section{answer}
	if t, ok := frontTable(g, in.Styles); ok {
		out = append(out,
			section{Key: key("front"), Title: "Rows on a front", Where: where, Blocks: []block{t, plain("small", frontNote)}})
	}
	out = append(out,
		section{Key: key("results"), Title: "Results", Where: where,
			Blocks: []block{resultsTable(g, in.Styles), plain("small", resultsNote(g)),
				details{Summary: "all measures of each row", Blocks: measuresTables(g, in.Styles)}}})
	if tables := taskTables(g); tables != nil {
		out = append(out, section{Key: key("tasks"), Title: "Zero-shot tasks", Where: where,
			Blocks: append(tables, plain("small", taskNote+" Every score at full precision is in tables/tasks.csv."))})
	}
	out = append(out, figureSections(g, i, where, in.Styles)...)
	if lines := isoTimeLines(g); lines != nil {
		out = append(out, section{Key: key("iso-time"), Title: "Divergence in time", Where: where, Folded: true,
			Blocks: []block{tableOf("Each residual and its strongest rival that is no slower", lines, ofRows, ofWords, ofNames,
				ofNumbers,
				ofReferences, ofWords), plain("small", isoTimeNote)}})
	}
	if len(g.Iso) > 0 {
		out = append(out,
			section{Key: key("iso-bits"), Title: "Divergence at equal bits per weight", Where: where, Folded: true,
				Blocks: []block{isoTable(g, in.Styles), plain("small", isoNote(g))}})
	}
	return append(out, findingsSection(g, key("findings"), where))
}

const frontNote = "No other row has less of both, bits (or time) and divergence, by estimate. " +
	"(n.s.): a row of less divergence is not clearly slower."

// findingsSection says in words what the group's rows carry.
func findingsSection(g *stats.Group, key, where string) section {
	s := section{Key: key, Title: "Findings in words", Where: cmp.Or(where, g.Title()), Folded: true}
	if f := groupFindings(g); len(f) > 0 {
		s.Blocks = append(s.Blocks, bulleted(f))
	} else {
		s.Blocks = append(s.Blocks,
			plain("", "These rows carry no finding: nothing to compare, or no windows to compare in pairs."))
	}
	scope := bullets{Role: "small"}
	for _, text := range append(scopeOf(g), claimsNote) {
		scope.Items = append(scope.Items, []phrase{{Text: text}})
	}
	s.Blocks = append(s.Blocks, scope)
	return s
}

// figureSection is a section of one figure and what belongs to it.
func figureSection(f *figures.Figure, where string, more ...block) section {
	return section{Key: "about-" + f.Key, Title: f.Title, Where: where, Blocks: append([]block{drawing{f}}, more...)}
}

// figureSections are those of the i-th group's figures, in the order of the
// page. A figure without data does not exist; it is never an empty frame.
func figureSections(g *stats.Group, i int, where string, l figures.Styles) []section {
	var out []section
	folded := false
	add := func(f *figures.Figure, more ...block) {
		if f != nil {
			f.Nth(i)
			s := figureSection(f, where, more...)
			s.Folded = folded
			out = append(out, s)
		}
	}
	add(figures.AtEqualBits(g, l))
	add(figures.Rows(g, l))
	folded = true
	add(figures.Effects(g), details{Summary: "in numbers", Blocks: []block{
		tableOf("Effect of each setting", effectLines(g), ofNames, ofNames, ofNames, ofNames), plain("small", effectsNote)}})
	decode, prefill := g.Phases()
	for _, tokens := range g.Batches() {
		if tokens != decode && tokens != prefill { // these are on top
			add(figures.DivergenceOverTime(g, l, tokens))
		}
	}
	for _, f := range figures.Density(g) {
		add(f)
	}
	add(figures.Perplexity(g, l))
	add(figures.Layers(g))
	add(figures.Ledger(g))
	return out
}

// closing are the sections about failures, the sweep, the machine, the settings and
// the commands.
func closing(t *stats.Table, in Input) []section {
	var out []section
	add := func(key, title string, folded bool, blocks []block) {
		if len(blocks) > 0 {
			out = append(out, section{Key: key, Title: title, Folded: folded, Blocks: blocks})
		}
	}
	all := t.Entries()
	add("failures", "Failures and warnings", false, alertsOf(t, in.Warnings))
	add("about", "About this sweep", false, about(t, in))
	var machines []block
	for _, e := range in.environments() {
		machines = append(machines, e)
	}
	add("environment", "Environment", true, machines)
	if in.Config != "" {
		add("settings", "Settings, resolved", true, []block{snippet{"yaml", in.Config}})
	}
	if len(all) > 0 {
		var runs trials
		for _, e := range all {
			for i, d := range e.Trials() {
				key := e.ID
				if i > 0 {
					key += fmt.Sprintf("-%d", i+1)
				}
				runs = append(runs, trialCommand{key, e.ID, d.Label, d.Trial, in.Commands[d.Trial]})
			}
		}
		add("reproduce", "Each row again", true, []block{runs})
	}
	return out
}

// about is the rest of what was asked, the commands that run and draw the sweep, and how
// to measure times where no row has any.
func about(t *stats.Table, in Input) []block {
	var out []block
	for i, p := range paragraphs(in.Question) {
		switch {
		case indented(p):
			out = append(out, snippet{"", p})
		case i > 0:
			out = append(out, plain("asked", p))
		}
	}
	if in.Command != "" {
		out = append(out, command{Key: "sweep", Text: in.Command})
	}
	if in.Draw != "" {
		out = append(out, command{Key: "draw", Text: in.Draw})
	}
	timed := slices.ContainsFunc(t.Groups, func(g *stats.Group) bool { return len(phasesOf(g)) > 0 })
	if in.Timing != "" && len(t.Groups) > 0 && !timed {
		out = append(out, plain("small", in.Timing))
	}
	return out
}

// alertsOf are the warnings about the sweep, the failed rows, and the warnings about
// others, each once with the rows that it is about.
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
		out = append(out, alert{Failed: true, Row: e.ID, Label: e.Label, Texts: []string{reason}})
	}
	all := t.Entries()
	of := map[string][]*stats.Entry{}
	var order []string
	for _, e := range all[:len(all)-len(t.Failed)] {
		for _, w := range e.Warnings {
			if of[w] == nil {
				order = append(order, w)
			}
			of[w] = append(of[w], e)
		}
	}
	for _, w := range order {
		switch rows := of[w]; len(rows) {
		case 1:
			out = append(out, alert{Row: rows[0].ID, Label: rows[0].Label, Texts: []string{w}})
		default:
			out = append(out, alert{Texts: []string{format.Plural(len(rows), "row", "rows") + ": " + w}, Rows: referencesTo(rows)})
		}
	}
	return out
}
