package reports

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// isoTimeLines is the table of residuals in time, head first: each with its strongest
// rival among the other methods that are not clearly slower, and what it takes for
// that. Without residuals it is of all rows; nil without any comparison.
func isoTimeLines(g *stats.Group) [][]string {
	lines := [][]string{{"row", "label", "tokens", "time / 16-bit", "rival", "rival's label", "time / rival's",
		"KL vs rival", "bits vs rival", "verdict", "p, Holm"}}
	for _, p := range g.Batches() {
		hardest := g.HardestInTime(p, residuals)
		if len(hardest) == 0 {
			hardest = g.HardestInTime(p, everything)
		}
		var list []stats.IsoTime
		for _, e := range g.Entries {
			if iso, ok := hardest[e]; ok {
				list = append(list, iso)
			}
		}
		slices.SortStableFunc(list, func(a, b stats.IsoTime) int {
			return cmp.Compare(a.Entry.Speed(p).Over16.Value, b.Entry.Speed(p).Over16.Value)
		})
		for _, i := range list {
			bits := ""
			if i.Entry.HasBits && i.Rival.HasBits {
				bits = format.Signed(i.Entry.Bits-i.Rival.Bits, 3)
			}
			lines = append(lines, []string{i.Entry.ID, i.Entry.Name, p,
				stats.WithInterval(i.Entry.Speed(p).Over16, timeRatio), i.Rival.ID, i.Rival.Name,
				stats.WithInterval(i.Price, func(v float64) string { return format.Fixed(v, 2) }),
				format.Percent(i.Ratio.Value) + spaced(stats.Interval(i.Ratio, format.Percent)), bits, timeVerdict(i),
				format.PValue(i.Holm)})
		}
	}
	if len(lines) == 1 {
		return nil
	}
	return lines
}

// timeVerdict says what the row of i gives for its time.
func timeVerdict(i stats.IsoTime) string {
	switch {
	case i.Lower() && i.Slower():
		return "lower, for more time"
	case i.Lower():
		return "lower in no more time"
	case i.Higher():
		return "higher"
	}
	return "not told apart"
}

const isoTimeNote = "The rival is the row of the lowest divergence among all other methods' rows that are not " +
	"clearly slower than the row on the left: the interval of its time begins before that of the row ends. It may be " +
	"much faster, so “time / rival's” is the price of what “KL vs rival” gains; its interval takes the ends farthest " +
	"apart. Below zero the row on the left has the lower divergence. Times are ratios to 16-bit weights, measured on " +
	"random numbers."

// isoTimeFindings sums up, for the families of mosaic, what they gain over each other
// method in time, and whether for more of it.
func isoTimeFindings(g *stats.Group) []finding {
	type pair struct{ family, rival, tokens string }
	type tally struct {
		lower, paid, higher, rows int
		claimed                   []*stats.Entry
	}
	sums := map[pair]*tally{}
	var order []pair
	for _, i := range g.IsoTime {
		p := pair{i.Entry.Family, i.Rival.Family, i.Tokens}
		if !strings.HasPrefix(p.family, "mosaic") || strings.HasPrefix(p.rival, "mosaic") {
			continue
		}
		s := sums[p]
		if s == nil {
			s = &tally{}
			sums[p] = s
			order = append(order, p)
		}
		s.rows++
		switch {
		case i.Lower() && i.Slower():
			s.paid++
		case i.Lower():
			s.lower++
		case i.Higher():
			s.higher++
		default:
			continue
		}
		s.claimed = append(s.claimed, i.Entry)
	}
	var out []finding
	for _, p := range order {
		s := sums[p]
		out = append(out,
			finding{fmt.Sprintf("In time (%s), %s against the best %s that is not clearly slower: divergence lower "+
				"in no more time in %d, lower for more time in %d, higher in %d, not distinguishable in %d of "+
				"%s.", p.tokens, p.family,
				p.rival, s.lower, s.paid, s.higher, s.rows-s.lower-s.paid-s.higher,
				format.Plural(s.rows, "comparison", "comparisons")), s.claimed})
	}
	return out
}
