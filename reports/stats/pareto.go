package stats

import (
	"cmp"
	"slices"
)

// Standing is where a row is relative to the Pareto front of (bits per weight,
// mean KL divergence), both smaller is better.
type Standing int

const (
	Unplaced           Standing = iota // bits or divergence missing, or the 16-bit reference
	NonDominated                       // no row has less of one and no more of the other: on the front
	NearlyNonDominated                 // dominated by estimate, but not significantly by any row on the front
	Dominated                          // a row on the front of no more bits has a significantly lower divergence
)

func (s Standing) String() string {
	return [...]string{"", "non-dominated", "dominated (n.s.)", "dominated"}[s]
}

// rank orders the group by mean KL and places each row relative to the front.
//
// A row that is dominated by estimate is compared, in pairs, with each row on the
// front of no more bits, at a threshold of (1-Level) shared between these
// (Bonferroni). It is nearly non-dominated where none of these comparisons is
// significant: a front drawn through point estimates alone would claim an order
// that the windows do not carry. Rows without windows in common are placed by their point estimates.
func (g *Group) rank() {
	var placed, scored []*Entry
	for _, e := range g.Entries {
		if e.KL == nil || e.Reference {
			continue
		}
		scored = append(scored, e)
		if e.HasBits {
			placed = append(placed, e)
		}
	}
	slices.SortStableFunc(scored, func(a, b *Entry) int { return cmp.Compare(a.KL.Value, b.KL.Value) })
	for i, e := range scored {
		e.Rank = i + 1
		if i > 0 && e.KL.Value == scored[i-1].KL.Value {
			e.Rank = scored[i-1].Rank
		}
	}
	if len(scored) > 0 {
		g.Best = scored[0]
		var ps []float64
		for _, e := range scored[1:] {
			ps = append(ps, pairedP(e, g.Best))
		}
		g.Best.LikeBest = true
		for i, p := range Holm(ps) {
			scored[i+1].LikeBest = p >= 1-Level
		}
	}
	g.Front = front(placed)
	for _, e := range placed {
		e.Standing = NearlyNonDominated
		var rivals []*Entry
		for _, f := range g.Front {
			if f == e {
				e.Standing = NonDominated
			}
			if f != e && f.Bits <= e.Bits {
				rivals = append(rivals, f)
			}
		}
		if e.Standing == NonDominated {
			continue
		}
		for _, f := range rivals {
			if f.KL.Value < e.KL.Value && pairedP(e, f) < (1-Level)/float64(len(rivals)) {
				e.Standing = Dominated
			}
		}
	}
}

// front returns the rows that no other dominates in bits and divergence, by bits;
// all of a tie are on it.
func front(rows []*Entry) []*Entry { return frontBy(rows, func(e *Entry) float64 { return e.Bits }) }

// frontBy is front with another cost in place of bits.
func frontBy(rows []*Entry, cost func(*Entry) float64) []*Entry {
	sorted := slices.Clone(rows)
	slices.SortStableFunc(sorted, func(a, b *Entry) int {
		return cmp.Or(cmp.Compare(cost(a), cost(b)), cmp.Compare(a.KL.Value, b.KL.Value))
	})
	var out []*Entry
	for _, e := range sorted {
		if len(out) > 0 {
			last := out[len(out)-1]
			if e.KL.Value > last.KL.Value || e.KL.Value == last.KL.Value && cost(e) > cost(last) {
				continue
			}
		}
		out = append(out, e)
	}
	return out
}

// pairedP is the p-value of equal divergence. Rows that share no windows but
// differ are told apart by their values alone (0), equal ones never (1).
func pairedP(a, b *Entry) float64 {
	draws := pairedDraws(a, b)
	a, b = draws[0], draws[1]
	if slices.Equal(a.WindowTokens, b.WindowTokens) {
		if d, err := Difference(a.WindowKL, b.WindowKL, a.WindowTokens); err == nil && d.Interval() {
			return d.P
		}
	}
	if a.KL.Value == b.KL.Value {
		return 1
	}
	return 0
}
