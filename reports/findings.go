package reports

import (
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
	if n, better, worse, rows := g.againstBaseline(); n > 0 {
		add(rows, "Against the named baseline (%s), perplexity is lower in %d and higher in %d of %d paired comparisons after Holm's correction, and not distinguishable in the other %d.",
			list(g.baselines(), 3), better, worse, n, n-better-worse)
	}
	out = append(out, g.taskFinding()...)
	for _, f := range g.Effects {
		if f.Holm < 1-Level {
			add(nil, "MosaicQuant, %s %s instead of %s: KL %s, 95\u00a0%% interval %s, over %s (lower in %d); bits per weight change by %s on average.",
				f.Axis, named(f.To), named(f.From), percentOf(f.Ratio.Value), interval(f.Ratio, percentOf),
				plural(f.Pairs, "matched pair", "matched pairs"), f.Lower, signed(f.BitsChange, 3))
		}
	}
	return out
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
	count := map[string]int{}
	near := 0
	var families []string
	for _, e := range g.Front {
		if count[e.Family] == 0 {
			families = append(families, e.Family)
		}
		count[e.Family]++
	}
	for _, e := range g.Entries {
		if e.Standing == NearFront {
			near++
		}
	}
	slices.SortFunc(families, byFamily)
	var parts []string
	for _, f := range families {
		parts = append(parts, fmt.Sprintf("%s %d", f, count[f]))
	}
	return []finding{{fmt.Sprintf("The Pareto front of bits and divergence has %d rows (%s); %s behind it but not distinguishable from a front row of no more bits.",
		len(g.Front), strings.Join(parts, ", "), plural(near, "more row is", "more rows are")), g.Front}}
}

// isoFindings sums up, for each pair of families, the comparisons at equal
// bits, wins and losses alike.
func (g *Group) isoFindings() []finding {
	type pair struct{ family, rival string }
	sums := map[pair][]Iso{}
	var order []pair
	for _, iso := range g.Iso {
		p := pair{iso.Entry.Family, iso.Family}
		if !strings.HasPrefix(p.family, "mosaic") || strings.HasPrefix(p.rival, "mosaic") {
			continue
		}
		if sums[p] == nil {
			order = append(order, p)
		}
		sums[p] = append(sums[p], iso)
	}
	var out []finding
	for _, p := range order {
		var won, lost []*Entry
		lo, hi := sums[p][0], sums[p][0]
		for _, iso := range sums[p] {
			switch {
			case iso.Holm < 1-Level && iso.Ratio.Value < 1:
				won = append(won, iso.Entry)
			case iso.Holm < 1-Level && iso.Ratio.Value > 1:
				lost = append(lost, iso.Entry)
			}
			if iso.Ratio.Value < lo.Ratio.Value {
				lo = iso
			}
			if iso.Ratio.Value > hi.Ratio.Value {
				hi = iso
			}
		}
		n := len(sums[p])
		text := fmt.Sprintf("At equal bits per weight, %s against %s: divergence lower in %d, higher in %d, not distinguishable in %d of %s.",
			p.family, p.rival, len(won), len(lost), n-len(won)-len(lost), plural(n, "comparison", "comparisons"))
		if without := g.count(p.family) - n; without > 0 {
			text += fmt.Sprintf(" %s of %s found no %s row of equal size.", plural(without, "further row", "further rows"), p.family, p.rival)
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

func (g *Group) againstBaseline() (n, better, worse int, rows []*Entry) {
	for _, e := range g.Entries {
		if e.Versus == nil || !e.Versus.NLL.Interval() {
			continue
		}
		n++
		if e.Versus.HolmNLL < 1-Level {
			if e.Versus.NLL.Value < 0 {
				better++
			} else {
				worse++
			}
			rows = append(rows, e)
		}
	}
	return n, better, worse, rows
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
