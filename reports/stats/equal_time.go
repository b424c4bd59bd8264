package stats

import (
	"slices"
)

// IsoTime compares the divergence of a row with the best row of another method
// that is not clearly slower. That rival may be much faster, so Price belongs to Ratio.
type IsoTime struct {
	Entry, Rival *Entry
	Tokens       string
	Ratio        Estimate // KL of Entry over KL of Rival; below 1 Entry wins
	Price        Estimate // time of Entry over time of Rival; the ends are those farthest apart
	Holm         float64  // corrected over the group's comparisons at equal time
}

// Lower tells whether the divergence of Entry is claimed to be lower.
func (i IsoTime) Lower() bool { return i.Holm < 1-Level && i.Ratio.Value < 1 }

// Higher tells whether the divergence of Entry is claimed to be higher.
func (i IsoTime) Higher() bool { return i.Holm < 1-Level && i.Ratio.Value > 1 }

// Slower tells whether Entry is clearly slower than Rival: what it gains, it pays for.
func (i IsoTime) Slower() bool { return i.Price.Low > 1 }

// price is the time of a over that of b.
func price(a, b *Speed) Estimate {
	x, y := a.Over16, b.Over16
	return Estimate{Value: x.Value / y.Value, Low: x.Low / y.High, High: x.High / y.Low, P: 1, N: 2}
}

// noSlower tells whether a may take as little time as b, as far as the intervals of
// the two times tell.
func noSlower(a, b *Speed) bool { return a.Over16.Low <= b.Over16.High }

func (g *Group) isoTime() {
	families := map[string][]*Entry{}
	var names []string
	for _, e := range g.Entries {
		if len(e.Speeds) == 0 || e.KL == nil || e.KL.Value <= 0 || e.Reference {
			continue
		}
		if families[e.Family] == nil {
			names = append(names, e.Family)
		}
		families[e.Family] = append(families[e.Family], e)
	}
	slices.SortFunc(names, g.Families.Compare)
	var ps []float64
	for _, tokens := range g.Batches() {
		for _, name := range names {
			for _, e := range families[name] {
				own := e.Speed(tokens)
				if own == nil {
					continue
				}
				for _, rival := range names {
					if rival == name {
						continue
					}
					var best *Entry
					for _, r := range families[rival] {
						if s := r.Speed(tokens); s != nil && noSlower(s, own) && (best == nil || r.KL.Value < best.KL.Value) {
							best = r
						}
					}
					if best == nil {
						continue
					}
					if est, err := logKLRatio(e, best); err == nil && est.Interval() {
						g.IsoTime = append(g.IsoTime, IsoTime{Entry: e, Rival: best, Tokens: tokens, Ratio: est.Exp(),
							Price: price(own, best.Speed(tokens))})
						ps = append(ps, est.P)
					}
				}
			}
		}
	}
	for i, p := range Holm(ps) {
		g.IsoTime[i].Holm = p
	}
}

// HardestInTime returns, for the rows that chosen accepts, the comparison at equal
// time at one number of tokens in which each stands worst, by row.
func (g *Group) HardestInTime(tokens string, chosen func(*Entry, string) bool) map[*Entry]IsoTime {
	out := map[*Entry]IsoTime{}
	for _, iso := range g.IsoTime {
		if iso.Tokens != tokens || !chosen(iso.Entry, iso.Rival.Family) {
			continue
		}
		if w, ok := out[iso.Entry]; !ok || iso.Ratio.Value > w.Ratio.Value {
			out[iso.Entry] = iso
		}
	}
	return out
}

// Phases returns the numbers of tokens that stand for decoding, one token, and for
// reading a prompt, the largest; either is "" where it was not timed.
func (g *Group) Phases() (decode, prefill string) {
	all := g.Batches()
	if slices.Contains(all, "M=1") {
		decode = "M=1"
	}
	if n := len(all); n > 0 && all[n-1] != decode {
		prefill = all[n-1]
	}
	return decode, prefill
}

// OnAllFronts returns the rows that are on the front of bits and on those of decoding
// and of reading a prompt, as far as these were timed.
func (g *Group) OnAllFronts() []*Entry {
	rows := slices.Clone(g.Front)
	decode, prefill := g.Phases()
	for _, tokens := range []string{decode, prefill} {
		if tokens != "" {
			front := g.FrontInTime(tokens)
			rows = slices.DeleteFunc(rows, func(e *Entry) bool { return !slices.Contains(front, e) })
		}
	}
	return rows
}

// TiedInTime returns the row of the lowest divergence among those that diverge less
// than e and are not clearly slower at the number of tokens: a row on the front by
// estimate has one where the intervals of times do not carry that. It is nil where
// there is none.
func (g *Group) TiedInTime(e *Entry, tokens string) *Entry {
	own := e.Speed(tokens)
	if own == nil {
		return nil
	}
	var best *Entry
	for _, r := range g.Entries {
		s := r.Speed(tokens)
		if s == nil || r == e || r.KL == nil || r.Reference || r.KL.Value >= e.KL.Value || !noSlower(s, own) {
			continue
		}
		if best == nil || r.KL.Value < best.KL.Value {
			best = r
		}
	}
	return best
}

// FrontInTime returns the rows that no other dominates in time at the number of
// tokens and in divergence, by time. Times are compared by their medians.
func (g *Group) FrontInTime(tokens string) []*Entry {
	var rows []*Entry
	for _, e := range g.Entries {
		if e.Speed(tokens) != nil && e.KL != nil && e.KL.Value > 0 && !e.Reference {
			rows = append(rows, e)
		}
	}
	return frontBy(rows, func(e *Entry) float64 { return e.Speed(tokens).Over16.Value })
}
