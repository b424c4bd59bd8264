package reports

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// finding is one sentence the rows carry, and the rows behind it.
type finding struct {
	Text string
	Rows []*Entry
}

// findings states what the group's rows show. Every comparison behind a "lower"
// or "higher" is paired by window and passed Holm's correction within its
// family; everything else is called not distinguishable, or is only counted.
func (g *Group) findings() []finding {
	var out []finding
	add := func(rows []*Entry, format string, args ...any) {
		out = append(out, finding{fmt.Sprintf(format, args...), rows})
	}
	if g.Best != nil {
		var like []*Entry
		for _, e := range g.Entries {
			if e.LikeBest && e != g.Best {
				like = append(like, e)
			}
		}
		b := g.Best
		text := fmt.Sprintf("Lowest divergence: %s, mean KL %s nat/token", b.Name, withInterval(*b.KL, sig))
		if b.HasBits {
			text += fmt.Sprintf(" at %s bits per weight", fixed(b.Bits, 3))
		}
		if b.KL.Interval() && len(g.Entries) > 1 {
			switch len(like) {
			case 0:
				text += "; every other row is distinguishable from it"
			default:
				text += "; not distinguishable from it: " + labels(like, 4)
			}
		}
		add(append([]*Entry{b}, like...), "%s.", text)
	}
	out = append(out, g.frontFinding()...)
	out = append(out, g.isoFindings()...)
	out = append(out, g.isoTimeFindings()...)
	if n, kl, ppl, rows := g.againstBaseline(); n > 0 {
		add(rows, "Against the named baseline (%s), in %s: divergence lower in %d, higher in %d; perplexity lower in %d, higher in %d; else not distinguishable.",
			list(g.baselines(), 3), plural(n, "paired comparison", "paired comparisons"), kl[0], kl[1], ppl[0], ppl[1])
	}
	out = append(out, g.taskFinding()...)
	return append(out, g.effectFindings()...)
}

func named(v string) string {
	if v == "" {
		return "(none)"
	}
	return v
}

func withInterval(e Estimate, f func(float64) string) string {
	if !e.Interval() {
		return f(e.Value)
	}
	return f(e.Value) + " " + interval(e, f)
}

func labels(rows []*Entry, n int) string {
	var names []string
	for _, e := range rows {
		names = append(names, e.Name)
	}
	return list(names, n)
}

func (g *Group) frontFinding() []finding {
	if len(g.Front) < 2 {
		return nil
	}
	var rows []string
	for _, e := range g.Front {
		rows = append(rows, fmt.Sprintf("%s (%s bits, %s)", e.Name, fixed(e.Bits, 3), sig(e.KL.Value)))
	}
	nearly, dominated := 0, 0
	for _, e := range g.Entries {
		switch e.Standing {
		case NearlyNonDominated:
			nearly++
		case Dominated:
			dominated++
		}
	}
	text := fmt.Sprintf("Pareto front of bits and divergence, by estimate: %s.", list(rows, 8))
	switch {
	case nearly > 0:
		text += fmt.Sprintf(" %s dominated by estimate, but not significantly.", plural(nearly, "more row is", "more rows are"))
	case dominated > 0:
		text += " Every other row is significantly dominated by a row on it of no more bits."
	}
	return []finding{{text, g.Front}}
}

// isoFindings sums up, for each pair of families, the comparisons at equal
// bits, wins and losses alike.
func (g *Group) isoFindings() []finding {
	order, sums := g.isoPairs()
	var out []finding
	for _, p := range order {
		won, lost := tally(sums[p])
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
		text := fmt.Sprintf("At equal bits per weight, %s against %s: divergence lower in %d, higher in %d, not distinguishable in %d of %s.",
			p[0], p[1], len(won), len(lost), n-len(won)-len(lost), plural(n, "comparison", "comparisons"))
		if without := g.count(p[0]) - n; without > 0 {
			text += fmt.Sprintf(" %s of %s found no %s row of equal size.", plural(without, "further row", "further rows"), p[0], p[1])
		}
		describe := func(iso Iso) string {
			return fmt.Sprintf("%s at %s bits, KL %s %s", iso.Entry.Name, fixed(iso.Entry.Bits, 3), percentOf(iso.Ratio.Value), interval(iso.Ratio, percentOf))
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

// isoPairs sorts the comparisons of mosaic with others at equal bits by the two
// families.
func (g *Group) isoPairs() (order [][2]string, of map[[2]string][]Iso) {
	of = map[[2]string][]Iso{}
	for _, iso := range g.Iso {
		p := [2]string{iso.Entry.Family, iso.Family}
		if !strings.HasPrefix(p[0], "mosaic") || strings.HasPrefix(p[1], "mosaic") {
			continue
		}
		if of[p] == nil {
			order = append(order, p)
		}
		of[p] = append(of[p], iso)
	}
	return order, of
}

// tally returns the rows that are claimed to be better and worse than the rival.
func tally(isos []Iso) (won, lost []*Entry) {
	for _, iso := range isos {
		switch {
		case iso.Holm < 1-Level && iso.Ratio.Value < 1:
			won = append(won, iso.Entry)
		case iso.Holm < 1-Level && iso.Ratio.Value > 1:
			lost = append(lost, iso.Entry)
		}
	}
	return won, lost
}

// count returns how many rows of the family have bits and a divergence.
func (g *Group) count(family string) int {
	n := 0
	for _, e := range g.Entries {
		if e.Family == family && e.KL != nil && e.HasBits {
			n++
		}
	}
	return n
}

// againstBaseline counts the n comparisons with baselines in which divergence
// and perplexity are lower and higher, and returns the rows of these.
func (g *Group) againstBaseline() (n int, kl, ppl [2]int, rows []*Entry) {
	for _, e := range g.Entries {
		v := e.Versus
		if v == nil || !v.NLL.Interval() {
			continue
		}
		n++
		count := func(to *[2]int, holm, difference float64) bool {
			switch {
			case !(holm < 1-Level):
				return false
			case difference < 0:
				to[0]++
			default:
				to[1]++
			}
			return true
		}
		one, other := count(&kl, v.HolmKL, v.KL.Value), count(&ppl, v.HolmNLL, v.NLL.Value)
		if one || other {
			rows = append(rows, e)
		}
	}
	return n, kl, ppl, rows
}

// effectFindings says for each setting what its values do.
func (g *Group) effectFindings() []finding {
	var out []finding
	for i := 0; i < len(g.Effects); {
		same := g.Effects[i:]
		for j, f := range same {
			if f.Method != same[0].Method || f.Axis != same[0].Axis {
				same = same[:j]
				break
			}
		}
		i += len(same)
		out = append(out, finding{settingFinding(same), nil})
	}
	return out
}

// settingFinding is the finding of the effects of one setting of one method.
func settingFinding(effects []Effect) string {
	sorted := slices.Clone(effects)
	slices.SortStableFunc(sorted, func(a, b Effect) int { return cmp.Compare(a.Ratio.Value, b.Ratio.Value) })
	pairs := sorted[0].Pairs
	var lower, higher, unclear, same []string
	for _, f := range sorted {
		if f.none() {
			same = append(same, named(f.To))
			continue
		}
		text := named(f.To) + " (" + f.change()
		if b := f.bits(); b != "" {
			text += ", " + b
		}
		if f.Pairs != pairs {
			text += fmt.Sprintf(", %s", plural(f.Pairs, "pair", "pairs"))
		}
		switch claimed := f.Holm < 1-Level; {
		case claimed && f.Ratio.Value < 1:
			if f.Lower < f.Pairs {
				text += fmt.Sprintf(", though not in %d of %d", f.Pairs-f.Lower, f.Pairs)
			}
			lower = append(lower, text+")")
		case claimed:
			if f.Lower > 0 {
				text += fmt.Sprintf(", though not in %d of %d", f.Lower, f.Pairs)
			}
			higher = append(higher, text+")")
		default:
			unclear = append(unclear, text+")")
		}
	}
	var parts []string
	for _, p := range []struct {
		says   string
		values []string
	}{{"lower with ", lower}, {"higher with ", higher}, {"not distinguishable with ", unclear}, {"the same with ", same}} {
		if len(p.values) > 0 {
			parts = append(parts, p.says+list(p.values, 10))
		}
	}
	f := sorted[0]
	return fmt.Sprintf("%s: %s against %s, all else equal (%s): divergence %s.", f.Method, f.Axis, named(f.From),
		plural(pairs, "matched pair", "matched pairs"), strings.Join(parts, "; "))
}

// scope says what the group's numbers stand on.
func (g *Group) scope() []string {
	var out []string
	switch {
	case g.Windows == 1:
		out = append(out, "One evaluation window: no intervals can be computed, and nothing is claimed.")
	case g.Windows == 0:
		out = append(out, "The rows share no common series of evaluation windows: differences are shown only where two rows do.")
	default:
		text := fmt.Sprintf("%d evaluation windows; intervals use Student's t with %d degrees of freedom.", g.Windows, g.Windows-1)
		if g.Windows < 20 {
			text += " With so few windows they are rough."
		}
		out = append(out, text)
	}
	if len(g.manyValued) > 0 {
		out = append(out, fmt.Sprintf("Settings of more than %d values are not compared value by value: %s.", contrastLimit, list(g.manyValued, 6)))
	}
	if n, beyond := g.Correlated(); n > 0 {
		text := fmt.Sprintf("Neighbouring windows: in %d of %d comparisons with a baseline their contributions correlate beyond ±1.96/√n", beyond, n)
		if beyond*5 > n {
			text += ": more than chance would give; read the intervals as somewhat too narrow."
		} else {
			text += "; about 5 % would by chance."
		}
		out = append(out, text)
	}
	return out
}
