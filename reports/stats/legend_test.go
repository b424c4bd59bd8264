package stats

import (
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
)

// A family is called by the title of its rows where all have the same one and no other
// family has it.
func TestLegend(t *testing.T) {
	entry := func(family, title string) *Entry { return &Entry{Row: row.Row{Title: title}, Family: family} }
	g := &Group{Entries: []*Entry{
		entry("rtn", ""), entry("gptq", "Ours"), entry("gptq", "Ours"),
		entry("spqr", "A"), entry("spqr", "B"), entry("spqr", "B"), entry("quik", "C"), entry("quik", ""), entry("quik", "C"),
		entry("atom", "twice"), entry("mosaic", "twice"), entry("svdquant", "rtn"),
	}}
	for family, want := range map[string]string{
		"rtn": "rtn", "gptq": "Ours", "spqr": "spqr", "quik": "quik", "atom": "atom", "mosaic": "mosaic",
		"svdquant": "svdquant",
	} {
		if got := g.Legend(family); got != want {
			t.Errorf("%s is called %q, want %q", family, got, want)
		}
	}
}
