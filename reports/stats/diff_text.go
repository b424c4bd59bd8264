package stats

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/format"
)

// sameText bounds how far the NLL of a window may differ, relatively, between
// two runs of one 16-bit model over one text: float32 sums in another order
// differ by some 1e-6, another text by far more.
const sameText = 1e-3

// textCheck tells whether two rows of different folders saw the same windows of
// the same text. A row names its text but does not contain it, so a file that
// was edited would go unnoticed; the 16-bit rows of both folders show it.
type textCheck struct {
	reference [2]map[string]*Entry // 16-bit rows by model and protocol
	unproved  map[string]bool      // models and protocols that were paired by name alone
}

func newTextCheck(sides [2][]*Entry) *textCheck {
	c := &textCheck{unproved: map[string]bool{}}
	for i, s := range sides {
		c.reference[i] = map[string]*Entry{}
		for _, e := range s {
			full := Setting(&e.Row, "activations") == "a16" && e.Axes["prefix"] == ""
			if e.Reference && e.Status == row.OK && full && e.WindowNLL != nil {
				c.reference[i][circumstances(e)] = e
			}
		}
	}
	return c
}

func circumstances(e *Entry) string {
	return subject(&e.Row) + " · " + Setting(&e.Row, "protocol")
}

// refuse says why a and b cannot be paired by window, or "".
func (c *textCheck) refuse(a, b *Entry) string {
	var other []string
	for _, axis := range Differing(a, b) {
		if axis == "model" || axis == "protocol" || strings.HasPrefix(axis, "protocol.") {
			other = append(other, fmt.Sprintf("%s is %s and %s", axis, format.Named(a.Axes[axis]), format.Named(b.Axes[axis])))
		}
	}
	if other != nil {
		return strings.Join(other, ", ")
	}
	if x, y := circumstances(a), circumstances(b); x != y { // rows that keep them in their configuration alone
		return x + " is not " + y
	}
	if !slices.Equal(a.WindowTokens, b.WindowTokens) {
		return fmt.Sprintf("windows do not match: %d and %d of them, or other lengths", len(a.WindowTokens),
			len(b.WindowTokens))
	}
	if a.Trial == b.Trial {
		return "" // the ID covers weights and texts
	}
	where := circumstances(a)
	x, y := c.reference[0][where], c.reference[1][where]
	if x == nil || y == nil {
		c.unproved[where] = true
		return ""
	}
	if len(x.WindowNLL) != len(y.WindowNLL) {
		return "the 16-bit rows saw other windows"
	}
	for i := range x.WindowNLL {
		if !(math.Abs(x.WindowNLL[i]-y.WindowNLL[i]) <= sameText*math.Abs(x.WindowNLL[i])) {
			return fmt.Sprintf("the 16-bit rows differ (window %d: NLL %s and %s): other text or weights behind the same names",
				i, format.Sig(x.WindowNLL[i]), format.Sig(y.WindowNLL[i]))
		}
	}
	return ""
}

func (c *textCheck) notes(pairs []*Pair) []string {
	var out []string
	for where := range c.unproved {
		out = append(out,
			where+": weights and text are taken to be the same by their names; a 16-bit row in both folders would show it")
	}
	slices.Sort(out)
	n := 0
	for _, p := range pairs {
		if p.Verdict == NotPaired {
			n++
		}
	}
	if n > 0 {
		out = append(out,
			format.Plural(n, "matched pair was", "matched pairs were")+" not compared and cannot count as a regression")
	}
	return out
}
