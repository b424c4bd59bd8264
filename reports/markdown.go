package reports

import (
	"fmt"
	"strings"
)

// trialLimit bounds the rows whose commands Markdown and notebooks list; the
// page has all.
const trialLimit = 60

// markdown writes d as a page beside the folder plots.
func (d *document) markdown() []byte {
	var b strings.Builder
	for i, s := range d.Sections {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(s.heading(i == 0))
		for _, bl := range s.Blocks {
			b.WriteString("\n" + blockMarkdown(bl))
		}
	}
	return []byte(b.String())
}

// heading is the section's title and group; the first section's is the
// document's.
func (s section) heading(first bool) string {
	level := "## "
	if first {
		level = "# "
	}
	out := level + inMarkdown(s.Title) + "\n"
	if s.Where != "" {
		out += "\n" + inMarkdown(s.Where) + "\n"
	}
	return out
}

// blockMarkdown ends with one newline.
func blockMarkdown(b block) string {
	switch b := b.(type) {
	case paragraph:
		return phrasesMarkdown(b.Phrases, "") + "\n"
	case bullets:
		var out strings.Builder
		for _, item := range b.Items {
			out.WriteString("- " + phrasesMarkdown(item, " ") + "\n")
		}
		return out.String()
	case table:
		return b.markdown()
	case drawing:
		return fmt.Sprintf("![%s](plots/%s.png)\n\n%s\n", inMarkdown(b.Title), b.Key, inMarkdown(b.Caption))
	case strip:
		var parts []string
		for _, d := range b {
			parts = append(parts, blockMarkdown(d))
		}
		return strings.Join(parts, "\n")
	case details:
		var parts []string
		for _, inner := range b.Blocks {
			parts = append(parts, blockMarkdown(inner))
		}
		return strings.Join(parts, "\n")
	case snippet:
		return fenced(b.Language, b.Text)
	case command:
		return fenced("sh", strings.ReplaceAll(b.Text, "\n", " "))
	case facts:
		lines := [][]string{{"environment", b.Title}}
		for _, p := range b.Pairs {
			lines = append(lines, p[:])
		}
		return markdownTable(lines)
	case alert:
		return b.markdown()
	case trials:
		return b.markdown()
	}
	panic("reports: a block that Markdown cannot write: " + b.Kind())
}

// phrasesMarkdown joins phrases; rows that are referred to follow with a space.
func phrasesMarkdown(phrases []phrase, before string) string {
	var b strings.Builder
	for i, p := range phrases {
		if i > 0 && isRow(p.Link) || p.Text == "…" {
			b.WriteString(before)
		}
		b.WriteString(inMarkdown(p.Text))
	}
	return b.String()
}

func (t table) markdown() string {
	lines := [][]string{nil}
	for _, c := range t.Columns {
		lines[0] = append(lines[0], c.Name)
	}
	for _, l := range t.Lines {
		lines = append(lines, l.Cells)
	}
	return markdownTable(lines)
}

func (a alert) markdown() string {
	var b strings.Builder
	for _, s := range a.Texts {
		b.WriteString("- ")
		switch {
		case a.Failed:
			b.WriteString(a.Row + " " + inMarkdown(a.Label) + " failed: ")
		case a.Row != "":
			b.WriteString(a.Row + " " + inMarkdown(a.Label) + ": ")
		}
		b.WriteString(inMarkdown(s))
		if a.Rows != nil {
			b.WriteString(" (" + phrasesMarkdown(a.Rows, " ") + ")")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// runnable are the first trialLimit trials that have a command; note tells of
// the others.
func (t trials) runnable() (first trials, note string) {
	n := 0
	for _, c := range t {
		if c.Command == "" {
			continue
		}
		if n++; n <= trialLimit {
			first = append(first, c)
		}
	}
	switch {
	case n == 0:
		return nil, "No command is known for these rows.\n"
	case n > trialLimit:
		return first,
			fmt.Sprintf("Each row by itself. The first %d of %d; report.html has the commands of all.\n", trialLimit, n)
	}
	return first, "Each row by itself.\n"
}

func (t trials) markdown() string {
	first, out := t.runnable()
	for _, c := range first {
		out += "\n" + fenced("sh", c.comment()+"\n"+strings.ReplaceAll(c.Command, "\n", " "))
	}
	return out
}

// comment names the trial in a shell or in Python.
func (c trialCommand) comment() string { return "# " + c.Row + " " + c.Label }

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

// inMarkdown escapes what Markdown or the HTML in it would take for markup.
func inMarkdown(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n':
			b.WriteByte(' ')
			continue
		case strings.ContainsRune("\\`*_{}[]<>|#!&~$", r):
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
