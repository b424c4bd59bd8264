package stats

import (
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
)

// Rows of 16-bit weights after a prefix, which compute something else, do not tell
// whether two folders saw the same text.
func TestTextCheckSkipsPrefixes(t *testing.T) {
	entry := func(prefix string, nll float64) *Entry {
		axes := map[string]string{"method": "none", "activations": "a16"}
		if prefix != "" {
			axes["prefix"] = prefix
		}
		return &Entry{Row: row.Row{Axes: axes, Status: row.OK}, Reference: true, WindowNLL: []float64{nll}}
	}
	plain, after := entry("", 1), entry("outliers", 2)
	for _, list := range [][]*Entry{{plain, after}, {after, plain}} {
		c := newTextCheck([2][]*Entry{list, {after}})
		if got := c.reference[0][circumstances(plain)]; got != plain {
			t.Errorf("the reference is of prefix %q", got.Axes["prefix"])
		}
		if len(c.reference[1]) != 0 {
			t.Error("a row after a prefix is a reference")
		}
	}
}
