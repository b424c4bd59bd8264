package reports

import (
	"fmt"

	"github.com/mosaicquant/mosaicquant/reports/figures"
	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// isoFindings sums up, for each pair of families, the comparisons at equal
// bits, wins and losses alike.
func isoFindings(g *stats.Group) []finding {
	order, sums := g.IsoPairs()
	var out []finding
	for _, p := range order {
		won, lost := stats.Tally(sums[p])
		lo, hi := sums[p][0], sums[p][0]
		for _, iso := range sums[p] {
			if iso.Ratio.Value < lo.Ratio.Value {
				lo = iso
			}
			if iso.Ratio.Value > hi.Ratio.Value {
				hi = iso
			}
		}
		n := len(sums[p])
		text := fmt.Sprintf("At equal bits per weight, %s against %s: divergence lower in %d, higher in %d, not "+
			"distinguishable in %d of %s.",
			p[0], p[1], len(won), len(lost), n-len(won)-len(lost), format.Plural(n, "comparison", "comparisons"))
		if without := g.Count(p[0]) - n; without > 0 {
			text += fmt.Sprintf(" %s of %s found no %s row of equal size.",
				format.Plural(without, "further row", "further rows"), p[0], p[1])
		}
		describe := func(iso stats.Iso) string {
			return fmt.Sprintf("%s at %s bits, KL %s %s", iso.Entry.Name, format.Fixed(iso.Entry.Bits, 3),
				format.Percent(iso.Ratio.Value), stats.Interval(iso.Ratio, format.Percent))
		}
		if n > 1 {
			text += " Most favourable: " + describe(lo) + "; least: " + describe(hi) + "."
		} else {
			text += " " + describe(lo) + "."
		}
		out = append(out, finding{text, append(won, lost...)})
	}
	return out
}

// isoLimit bounds the rows of long secondary tables; the CSV files have all.
const isoLimit = 60

// isoTable is the comparisons at equal bits, isoLimit of them.
func isoTable(g *stats.Group, l figures.Styles) table {
	t := table{Title: "Comparisons at equal bits",
		Columns: []tableColumn{{"row", ofRows}, {"label", ofMethods}, {"bits/weight", ofNumbers},
			{"rival", ofNames}, {"rival's rows", ofReferences}, {"apart, bits", ofNumbers},
			{"KL vs rival", ofNumbers}, {"95 % interval", ofNumbers}, {"p, Holm", ofNumbers}}}
	for _, i := range g.Iso[:min(len(g.Iso), isoLimit)] {
		rows := i.Lower.ID
		if i.Upper != nil {
			rows += " to " + i.Upper.ID
		}
		t.Lines = append(t.Lines,
			tableLine{Color: figures.Hex(l.Look(i.Entry.Family).Color),
				Cells: []string{i.Entry.ID, i.Entry.Name, format.Fixed(i.Entry.Bits, 3),
					i.Family, rows, format.Signed(i.Apart(), 3), format.Percent(i.Ratio.Value), stats.Interval(i.Ratio,
						format.Percent), format.PValue(i.Holm)}})
	}
	return t
}

func isoNote(g *stats.Group) string {
	note := fmt.Sprintf("The rival's divergence is read at exactly the row's bits: between the two rows named, neighbours "+
		"on the front of the rival method's rows, on a line of log KL over bits; or off one larger row, by a factor of 4 for each "+
		"bit, as the squared error of a fine grid. The lower counts. Past the ends of the front rows at most %s bits away "+
		"are read so. A rival with fewer bits and less divergence counts as it is. "+
		"“Apart” is how many bits the nearer of the named rows has more. Below zero: the row on the left has the lower "+
		"divergence.", format.Fixed(stats.Reach, 2))
	if len(g.Iso) > isoLimit {
		note += fmt.Sprintf(" First %d of %d; all are in tables/iso_bits.csv.", isoLimit, len(g.Iso))
	}
	return note
}
