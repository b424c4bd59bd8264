package reports

import (
	"github.com/mosaicquant/mosaicquant/reports/figures"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// A document is a report, built once from rows and written three times: as an
// HTML page, as Markdown and as a notebook. It holds no markup: a writer
// decides how a kind of block looks, never what it says.
type document struct {
	Title    string
	Groups   []docGroup // of rows
	Sections []section
}

// section is a part of a document under one heading, with the figures and
// tables that belong to it.
type section struct {
	Key    string // unique, of letters, digits and '-': an anchor, and the start of the IDs of a notebook's cells
	Title  string
	Where  string // the group of rows it is about; "" where the page has one group only
	Blocks []block
	Group  int  // of rows, from 1; 0 is of the whole page
	Folded bool // to be unfolded by who wants it
}

// block is one piece of a section: a paragraph, bullets, table, drawing,
// details, snippet, command, facts, alert or trials. Kind names it for the page's template.
type block interface{ Kind() string }

// phrase is a piece of text. Link is the key of a section or the ID of a row
// that it leads to; "" leads nowhere.
type phrase struct{ Text, Link string }

// paragraph is running text. Role is "" or one of "lead", "asked" and "small".
type paragraph struct {
	Role    string
	Phrases []phrase
}

// bullets is a list. Role is "" or one of "findings" and "small".
type bullets struct {
	Role  string
	Items [][]phrase
}

// table is a table whose cells are text for people. A cell of a number may be
// "value [low, high]", with a star after the value where it is significant.
type table struct {
	Title   string // what the table holds
	Columns []tableColumn
	Lines   []tableLine
	Home    bool // the rows are anchored here: references to them lead to this table
}

// tableColumn is a column of a table; every writer aligns it by its kind.
type tableColumn struct {
	Name string
	Is   columnKind
}

type columnKind int

const (
	ofNumbers    columnKind = iota // ends at the right
	ofRows                         // IDs of rows
	ofMethods                      // names of rows, in the colour of their method
	ofNames                        // other text
	ofReferences                   // text with IDs of rows in it
	ofWords                        // text that may take several lines
)

// tableLine is one line of a table.
type tableLine struct {
	Cells        []string
	Trial        string // of the row the line is about, if any
	Label        string // of that row
	Color        string // of its method, "#rrggbb"; "" has none
	NonDominated bool   // the row is on the Pareto front
}

// drawing is a figure.
type drawing struct{ *figures.Figure }

// strip is figures beside each other where there is room.
type strip []drawing

// details is what a reader may unfold.
type details struct {
	Summary string
	Open    bool
	Blocks  []block
}

// snippet is text to read in a fixed font. Language may be "".
type snippet struct{ Language, Text string }

// command is a shell command that can be run: a cell of code in a notebook.
type command struct{ Key, Text string }

// facts is a list of names and values.
type facts struct {
	Title string
	Pairs [][2]string
}

// alert is a failure or a warning, about a row or, with Row and Label "", about several
// or the whole.
type alert struct {
	Failed     bool
	Row, Label string
	Texts      []string
	Rows       []phrase // that a warning of several is about
}

// trials is how to run every row by itself.
type trials []trialCommand

// trialCommand is one of them; Command may be "" where it is not known.
// Key is the row's, with a number where the row is the mean of several trials.
type trialCommand struct{ Key, Row, Label, Trial, Command string }

func (paragraph) Kind() string { return "paragraph" }

func (bullets) Kind() string { return "bullets" }

func (table) Kind() string { return "table" }

func (drawing) Kind() string { return "drawing" }

func (strip) Kind() string { return "strip" }

func (details) Kind() string { return "details" }

func (snippet) Kind() string { return "snippet" }

func (command) Kind() string { return "command" }

func (facts) Kind() string { return "facts" }

func (alert) Kind() string { return "alert" }

func (trials) Kind() string { return "trials" }

// plain is a paragraph of one phrase.
func plain(role, s string) paragraph { return paragraph{Role: role, Phrases: []phrase{{Text: s}}} }

// referencesTo are phrases that lead to rows, at most twelve of them.
func referencesTo(rows []*stats.Entry) []phrase {
	var out []phrase
	for i, e := range rows {
		if i == 12 {
			return append(out, phrase{Text: "…"})
		}
		out = append(out, phrase{Text: e.ID, Link: e.ID})
	}
	return out
}

// tableOf makes a table of lines of text, the first of which is the head. The
// kinds are those of the first columns; the others are numbers.
func tableOf(title string, lines [][]string, kinds ...columnKind) table {
	t := table{Title: title}
	for i, n := range lines[0] {
		c := tableColumn{Name: n}
		if i < len(kinds) {
			c.Is = kinds[i]
		}
		t.Columns = append(t.Columns, c)
	}
	for _, l := range lines[1:] {
		t.Lines = append(t.Lines, tableLine{Cells: l})
	}
	return t
}

// figures returns the figures of d in the order of the page.
func (d *document) figures() []*figures.Figure {
	var out []*figures.Figure
	var walk func([]block)
	walk = func(blocks []block) {
		for _, b := range blocks {
			switch b := b.(type) {
			case drawing:
				out = append(out, b.Figure)
			case strip:
				for _, d := range b {
					out = append(out, d.Figure)
				}
			case details:
				walk(b.Blocks)
			}
		}
	}
	for _, s := range d.Sections {
		walk(s.Blocks)
	}
	return out
}
