package reports

import (
	"slices"
	"strings"

	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// settingNames are the settings that have a column of their own in tables of rows.
// All others stand in the column "extras", as the label words them.
var settingNames = []struct{ column, axis string }{
	{"method", "method"}, {"base", "base"}, {"grid", "format"}, {"group", "group"}, {"density", "density"},
	{"block", "block"},
}

// settingColumns are the settings of the group's rows, one a column: what a label
// says in words, to be sorted and filtered. Rows without a method have their name.
func settingColumns(g *stats.Group) []column {
	out := []column{{"row", ofRows, true, func(e *stats.Entry) string { return e.ID }}}
	for i, s := range settingNames {
		is := ofNames
		switch {
		case i == 0:
			is = ofMethods
		case s.axis == "group" || s.axis == "density":
			is = ofNumbers
		}
		out = append(out, column{name: s.column, is: is, cell: func(e *stats.Entry) string { return setting(e, s.axis) }})
	}
	return append(out, column{name: "extras", is: ofWords, cell: extras})
}

// setting is a setting of e as its column shows it, "" where e has none.
func setting(e *stats.Entry, axis string) string {
	v := stats.Setting(&e.Row, axis)
	switch d, ok := format.Number(v); {
	case axis == "method" && e.Reference:
		return "16-bit"
	case axis == "method" && v == "":
		return e.Name
	case axis == "density" && ok:
		return format.Percentage(d)
	}
	return v
}

// extras are the words of e's name that no column of settings shows.
func extras(e *stats.Entry) string {
	if stats.Setting(&e.Row, "method") == "" || e.Reference {
		return ""
	}
	shown := []string{}
	for _, s := range settingNames {
		v := stats.Setting(&e.Row, s.axis)
		shown = append(shown, v)
		if d, ok := format.Number(v); ok && s.axis == "density" {
			shown = append(shown, strings.ReplaceAll(format.Percentage(d), "\u00a0", ""), "ρ"+v)
		}
		if s.axis == "group" {
			shown = append(shown, "g"+v)
		}
	}
	return strings.Join(slices.DeleteFunc(strings.Fields(e.Name),
		func(w string) bool { return slices.Contains(shown, w) }), " ")
}
