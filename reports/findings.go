package reports

import (
	"fmt"

	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// finding is one sentence the rows carry, and the rows behind it.
type finding struct {
	Text string
	Rows []*stats.Entry
}

// groupFindings states what the group's rows show. Every comparison behind a "lower"
// or "higher" is paired by window and passed Holm's correction within its
// family; everything else is called not distinguishable, or is only counted.
func groupFindings(g *stats.Group) []finding {
	var out []finding
	add := func(rows []*stats.Entry, format string, args ...any) {
		out = append(out, finding{fmt.Sprintf(format, args...), rows})
	}
	if g.Best != nil && len(g.Front) == 0 { // without sizes the lowest is all there is to say
		var like []*stats.Entry
		for _, e := range g.Entries {
			if e.LikeBest && e != g.Best {
				like = append(like, e)
			}
		}
		b := g.Best
		text := fmt.Sprintf("Lowest divergence: %s, mean KL %s nat/token", b.Name, stats.WithInterval(*b.KL, format.Sig))
		if b.HasBits {
			text += fmt.Sprintf(" at %s bits per weight", format.Fixed(b.Bits, 3))
		}
		if b.KL.Interval() && len(g.Entries) > 1 {
			switch len(like) {
			case 0:
				text += "; every other row is distinguishable from it"
			default:
				text += "; not distinguishable from it: " + labels(like, 4)
			}
		}
		add(append([]*stats.Entry{b}, like...), "%s.", text)
	}
	out = append(out, frontFinding(g)...)
	out = append(out, isoFindings(g)...)
	out = append(out, isoTimeFindings(g)...)
	if n, kl, ppl, rows := g.AgainstBaseline(); n > 0 {
		add(rows,
			"Against the named baseline (%s), in %s: divergence lower in %d, higher in %d; perplexity lower in %d, higher in "+
				"%d; else not distinguishable.",
			format.List(g.Baselines(), 3), format.Plural(n, "paired comparison",
				"paired comparisons"), kl[0], kl[1], ppl[0], ppl[1])
	}
	out = append(out, taskFinding(g)...)
	return append(out, effectFindings(g)...)
}

func labels(rows []*stats.Entry, n int) string {
	var names []string
	for _, e := range rows {
		names = append(names, e.Name)
	}
	return format.List(names, n)
}

func frontFinding(g *stats.Group) []finding {
	if len(g.Front) < 2 {
		return nil
	}
	var rows []string
	for _, e := range g.Front {
		rows = append(rows, fmt.Sprintf("%s (%s bits, %s)", e.Name, format.Fixed(e.Bits, 3), format.Sig(e.KL.Value)))
	}
	nearly, dominated := 0, 0
	for _, e := range g.Entries {
		switch e.Standing {
		case stats.NearlyNonDominated:
			nearly++
		case stats.Dominated:
			dominated++
		}
	}
	text := fmt.Sprintf("Pareto front of bits and divergence, by estimate: %s.", format.List(rows, 8))
	switch {
	case nearly > 0:
		text += fmt.Sprintf(" %s dominated by estimate, but not significantly.",
			format.Plural(nearly, "more row is", "more rows are"))
	case dominated > 0:
		text += " Every other row is significantly dominated by a row on it of no more bits."
	}
	return []finding{{text, g.Front}}
}

// scopeOf says what the group's numbers stand on.
func scopeOf(g *stats.Group) []string {
	var out []string
	switch {
	case g.Windows == 1:
		out = append(out, "One evaluation window: no intervals can be computed, and nothing is claimed.")
	case g.Windows == 0:
		out = append(out,
			"The rows share no common series of evaluation windows: differences are shown only where two rows do.")
	default:
		text := fmt.Sprintf("%d evaluation windows; intervals use Student's t with %d degrees of freedom.", g.Windows,
			g.Windows-1)
		if g.Windows < 20 {
			text += " With so few windows they are rough."
		}
		out = append(out, text)
	}
	if len(g.ManyValued) > 0 {
		out = append(out,
			fmt.Sprintf("Settings of more than %d values are not compared value by value: %s.", stats.ContrastLimit,
				format.List(g.ManyValued, 6)))
	}
	if n, beyond := g.Correlated(); n > 0 {
		text := fmt.Sprintf("Neighbouring windows: in %d of %d comparisons with a baseline their contributions correlate "+
			"beyond ±1.96/√n", beyond, n)
		if beyond*5 > n {
			text += ": more than chance would give; read the intervals as somewhat too narrow."
		} else {
			text += "; about 5 % would by chance."
		}
		out = append(out, text)
	}
	return out
}
