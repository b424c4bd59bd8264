package reports

import (
	"fmt"
	"maps"
	"slices"

	"github.com/mosaicquant/mosaicquant/reports/figures"
	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// verdict is the outcome of the comparisons of several rows, each with the rival
// against which it stands worst.
type verdict struct {
	best          *stats.Entry // stands best of them
	ratio         stats.Estimate
	rival         string // of best
	lower, higher int    // rows of claimed differences
	rows          int
	where         string // the size or time of best
	residual      bool   // the rows are residuals, the rivals other methods
}

// claim counts one comparison.
func (v *verdict) claim(ratio stats.Estimate, holm float64) {
	v.rows++
	switch {
	case holm < 1-stats.Level && ratio.Value < 1:
		v.lower++
	case holm < 1-stats.Level:
		v.higher++
	}
}

// residuals pairs residuals with other methods, and everything any row with any
// other method.
func residuals(e *stats.Entry, rival string) bool {
	return stats.IsResidual(e.Family) && !stats.IsResidual(rival)
}

func everything(*stats.Entry, string) bool { return true }

// atEqualBits is the group's answer at equal bits; nil without any comparison. Where
// residuals meet other methods it is of them, else of the row of lowest divergence
// among those that have a rival of their size.
func atEqualBits(g *stats.Group) *verdict {
	v := &verdict{residual: true}
	hardest := g.Hardest(residuals)
	if len(hardest) == 0 {
		v.residual, hardest = false, g.Hardest(everything)
	}
	for _, e := range g.Entries {
		iso, ok := hardest[e]
		if !ok {
			continue
		}
		v.claim(iso.Ratio, iso.Holm)
		if v.better(e, iso.Ratio) {
			v.best, v.ratio, v.rival = e, iso.Ratio, isoRival(iso)
			v.where = format.Fixed(e.Bits, 3) + " bits"
		}
	}
	if v.best == nil {
		return nil
	}
	return v
}

// isoRival names what stands behind the rival of iso.
func isoRival(iso stats.Iso) string {
	near := iso.Lower
	if iso.Upper != nil && iso.Weight > 0.5 {
		near = iso.Upper
	}
	if iso.Apart() == 0 {
		return near.Name
	}
	return "near " + near.Name
}

// atEqualTime is the group's answer at one number of tokens; nil without any.
func atEqualTime(g *stats.Group, tokens string) *verdict {
	v := &verdict{residual: true}
	hardest := g.HardestInTime(tokens, residuals)
	if len(hardest) == 0 {
		v.residual, hardest = false, g.HardestInTime(tokens, everything)
	}
	for _, e := range g.Entries {
		iso, ok := hardest[e]
		if !ok {
			continue
		}
		v.claim(iso.Ratio, iso.Holm)
		if v.better(e, iso.Ratio) {
			v.best, v.ratio, v.rival = e, iso.Ratio, iso.Rival.Name
			v.where = stats.WithInterval(e.Speed(tokens).Over16, timeRatio) + " of the time of 16-bit weights"
		}
	}
	if v.best == nil {
		return nil
	}
	return v
}

func timeRatio(v float64) string { return format.Fixed(v, 3) }

// better tells whether e with its ratio is to be named rather than the best so far.
func (v *verdict) better(e *stats.Entry, ratio stats.Estimate) bool {
	switch {
	case v.best == nil:
		return true
	case v.residual:
		return ratio.Value < v.ratio.Value
	}
	return e.KL.Value < v.best.KL.Value
}

// change says how the divergence differs: "7.4 % less [..]".
func change(r stats.Estimate) string {
	interval := ""
	if r.Interval() {
		interval = " " + stats.Interval(r, format.Percent)
	}
	return format.Percent(r.Value) + interval
}

// sentence says v in full.
func (v *verdict) sentence(where string) finding {
	what, others := "the row of lowest divergence that has a rival there", "the next method, "
	if v.residual {
		what, others = "the best residual", "the strongest other method there, "
	}
	text := fmt.Sprintf("%s, %s is %s (%s): KL %s against %s%s.", where, what, v.best.Name, v.where, change(v.ratio), others, v.rival)
	if v.residual && v.rows > 1 {
		text += " Of " + v.count() + "."
	}
	return finding{text, []*stats.Entry{v.best}}
}

// brief says v in a few words.
func (v *verdict) brief(where string) string {
	if !v.residual {
		return fmt.Sprintf("%s %s (%s)", where, change(v.ratio), v.best.Name)
	}
	return fmt.Sprintf("%s %s (of %s)", where, change(v.ratio), v.count())
}

// count says how many of the compared rows do better and worse than their rivals.
func (v *verdict) count() string {
	text := fmt.Sprintf("%s %d lower, %d higher", format.Plural(v.rows, "residual", "residuals"), v.lower, v.higher)
	if n := v.rows - v.lower - v.higher; n > 0 {
		text += fmt.Sprintf(", %d not told apart", n)
	}
	return text
}

// answers says what the group's rows answer: at equal bits, at equal time, and which
// rows are on all fronts.
func answers(g *stats.Group, in Input) []finding {
	var out []finding
	if v := atEqualBits(g); v != nil {
		out = append(out, v.sentence("At equal bits"))
	} else {
		out = append(out, finding{Text: "At equal bits: no two methods here have rows of one size, or rows share no windows, so nothing is said."})
	}
	decode, prefill := g.Phases()
	for _, p := range [][2]string{{decode, "decoding"}, {prefill, "reading a prompt"}} {
		if p[0] == "" {
			continue
		}
		where := fmt.Sprintf("At equal time, %s (%s)", p[1], p[0])
		if v := atEqualTime(g, p[0]); v != nil {
			out = append(out, v.sentence(where))
		} else {
			out = append(out, finding{Text: where + ": no row has a rival that is no slower."})
		}
	}
	if decode == "" && prefill == "" {
		out = append(out, finding{Text: "At equal time: these rows carry no times, so nothing is said." + spaced(in.Timing)})
		return out
	}
	if rows := g.OnAllFronts(); len(rows) > 0 {
		out = append(out, finding{"On every front (bits, and each time): " + labels(rows, 6) + ".", rows})
	} else {
		out = append(out, finding{Text: "No row is on every front (bits, and each time)."})
	}
	return out
}

// briefAnswer is the group's answer in one line.
func briefAnswer(g *stats.Group) string {
	v := atEqualBits(g)
	if v == nil {
		return "no two methods of one size"
	}
	text := "KL of the best row against the next method: "
	if v.residual {
		text = "KL of the best residual against the strongest other method: "
	}
	text += v.brief("at equal bits")
	decode, prefill := g.Phases()
	for _, p := range [][2]string{{decode, "at equal decoding time"}, {prefill, "at equal prompt time"}} {
		if p[0] == "" {
			continue
		}
		if t := atEqualTime(g, p[0]); t != nil {
			text += "; " + t.brief(p[1])
		}
	}
	return text
}

// pictures are the group's first figures: divergence over time, decoding and reading
// a prompt, and over bits.
func pictures(g *stats.Group, i int, l figures.Styles) strip {
	var out strip
	add := func(f *figures.Figure) {
		if f != nil {
			f.Nth(i)
			out = append(out, drawing{f})
		}
	}
	decode, prefill := g.Phases()
	for _, tokens := range []string{decode, prefill} {
		if tokens != "" {
			add(figures.DivergenceOverTime(g, l, tokens))
		}
	}
	add(figures.Divergence(g, l))
	if len(out) > 1 {
		for _, d := range out {
			d.Panel = true
		}
	}
	return out
}

// frontTable lists the rows on any front, by bits.
func frontTable(g *stats.Group, l figures.Styles) (table, bool) {
	decode, prefill := g.Phases()
	on := map[*stats.Entry]string{}
	mark := func(rows []*stats.Entry, name string) {
		for _, e := range rows {
			if on[e] != "" {
				on[e] += ", "
			}
			on[e] += name
		}
	}
	mark(g.Front, "bits")
	if decode != "" {
		mark(g.FrontInTime(decode), "decoding")
	}
	if prefill != "" {
		mark(g.FrontInTime(prefill), "prompt")
	}
	rows := slices.SortedFunc(maps.Keys(on), func(a, b *stats.Entry) int {
		return slices.Index(g.Entries, a) - slices.Index(g.Entries, b)
	})
	if len(rows) == 0 {
		return table{}, false
	}
	measures := []column{
		named("bits/weight"), named("KL mean, nat/token"), named("KL over draws"), named("KL vs baseline"),
		timeColumn(decode, "decoding time / 16-bit"), timeColumn(prefill, "prompt time / 16-bit"),
		{name: "front of", is: ofNames, cell: func(e *stats.Entry) string { return on[e] }},
	}
	t := rowTable("On a front", rows, append(settingColumns(g), measures...), l)
	return t, true
}

// timeColumn is the time of a row at the number of tokens over that of 16-bit weights.
func timeColumn(tokens, name string) column {
	return column{name: name, cell: func(e *stats.Entry) string {
		s := e.Speed(tokens)
		if s == nil {
			return ""
		}
		return stats.WithInterval(s.Over16, timeRatio)
	}}
}
