package stats

import (
	"slices"
)

// IsoTime compares the divergence of a row with the best row of another method
// that takes no more time, within TimeTolerance.
type IsoTime struct {
	Entry, Rival *Entry
	Tokens       string
	Ratio        Estimate // KL of Entry over KL of Rival; below 1 Entry wins
	Holm         float64  // corrected over the group's comparisons at equal time
}

// TimeTolerance is how much longer a row may take, as a share, and still count
// as no slower: what separates medians of repeated runs from each other.
const TimeTolerance = 0.02

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
					var best *Entry
					for _, r := range families[rival] {
						if s := r.Speed(tokens); rival != name && s != nil && s.Over16.Value <= own.Over16.Value*(1+TimeTolerance) && (best == nil || r.KL.Value < best.KL.Value) {
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
