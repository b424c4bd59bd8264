package stats

import (
	"slices"
)

// IsoTime compares the divergence of a row with the best row of another method
// that is not clearly slower.
type IsoTime struct {
	Entry, Rival *Entry
	Tokens       string
	Ratio        Estimate // KL of Entry over KL of Rival; below 1 Entry wins
	Holm         float64  // corrected over the group's comparisons at equal time
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
						g.IsoTime = append(g.IsoTime, IsoTime{Entry: e, Rival: best, Tokens: tokens, Ratio: est.Exp()})
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
