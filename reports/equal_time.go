package reports

import (
	"fmt"
	"strings"

	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// isoTimeLines is the table of these comparisons, head first; nil without any.
func isoTimeLines(g *stats.Group) [][]string {
	if len(g.IsoTime) == 0 {
		return nil
	}
	lines := [][]string{{"row", "label", "tokens", "time / 16-bit", "rival", "rival's label", "rival's time / 16-bit", "KL vs rival", "95 % interval", "p, Holm"}}
	for _, i := range g.IsoTime[:min(len(g.IsoTime), isoLimit)] {
		time := func(e *stats.Entry) string {
			return stats.WithInterval(e.Speed(i.Tokens).Over16, timeRatio)
		}
		lines = append(lines, []string{i.Entry.ID, i.Entry.Name, i.Tokens, time(i.Entry), i.Rival.ID, i.Rival.Name, time(i.Rival), format.Percent(i.Ratio.Value), stats.Interval(i.Ratio, format.Percent), format.PValue(i.Holm)})
	}
	return lines
}

func isoTimeNote(g *stats.Group) string {
	note := "The rival is the row of the lowest divergence of its method among those that are not clearly slower than the row on the left: the interval of its time begins before that of the row ends. Below zero the row on the left has the lower divergence. Times are ratios to 16-bit weights, measured on random numbers."
	if n := len(g.IsoTime); n > isoLimit {
		note += fmt.Sprintf(" First %d of %d.", isoLimit, n)
	}
	return note
}

// isoTimeFindings sums up, for the families of mosaic, wins and losses at equal
// time.
func isoTimeFindings(g *stats.Group) []finding {
	type pair struct{ family, rival, tokens string }
	sums := map[pair][3]int{}
	rows := map[pair][]*stats.Entry{}
	var order []pair
	for _, i := range g.IsoTime {
		p := pair{i.Entry.Family, i.Rival.Family, i.Tokens}
		if !strings.HasPrefix(p.family, "mosaic") || strings.HasPrefix(p.rival, "mosaic") {
			continue
		}
		s, seen := sums[p]
		if !seen {
			order = append(order, p)
		}
		switch {
		case i.Holm < 1-stats.Level && i.Ratio.Value < 1:
			s[0]++
			rows[p] = append(rows[p], i.Entry)
		case i.Holm < 1-stats.Level:
			s[1]++
			rows[p] = append(rows[p], i.Entry)
		default:
			s[2]++
		}
		sums[p] = s
	}
	var out []finding
	for _, p := range order {
		s := sums[p]
		out = append(out, finding{fmt.Sprintf("At equal time (%s), %s against the best %s that is not clearly slower: divergence lower in %d, higher in %d, not distinguishable in %d of %s.",
			p.tokens, p.family, p.rival, s[0], s[1], s[2], format.Plural(s[0]+s[1]+s[2], "comparison", "comparisons")), rows[p]})
	}
	return out
}
