// Package reports turns the rows of a sweep into a page that reads like a lab
// notebook (HTML, Markdown, Jupyter), figures, and tables, and writes the
// comparison of two sweeps. A report is a pure function of its Input: the same
// rows give the same bytes, in whatever order they were measured, with no
// network, clock or random number involved.
//
// The rooms below it, each of which uses those before it alone:
//
//	format   numbers and names as text for people
//	stats    estimates, intervals and paired comparisons of rows
//	figures  drawings of what stats found, and how each method looks
//
// This package says in words what stats found (findings.go and the files named
// after a comparison), and puts words, tables and figures into one list of
// sections and blocks (sections.go, document.go). Three writers turn that list
// into report.html (page.go), report.md (markdown.go) and report.ipynb
// (notebook.go). A new part of the report is a section; a new kind of block is a
// type in document.go that each writer has to know.
//
// Rows for tests are made up by rowtest.
package reports
