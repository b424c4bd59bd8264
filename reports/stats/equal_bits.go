package stats

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

// IsoPairs sorts the comparisons of mosaic with others at equal bits by the two
// families.
func (g *Group) IsoPairs() (order [][2]string, of map[[2]string][]Iso) {
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

// Tally returns the rows that are claimed to be better and worse than the rival.
func Tally(isos []Iso) (won, lost []*Entry) {
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

// Count returns how many rows of the family have bits and a divergence.
func (g *Group) Count(family string) int {
	n := 0
	for _, e := range g.Entries {
		if e.Family == family && e.KL != nil && e.HasBits {
			n++
		}
	}
	return n
}

// IsoTolerance is how far apart, in bits per weight, two rows may be and still
// be compared as equally large.
const IsoTolerance = 0.03

// Iso compares the divergence of a row with that of another method at equal
// bits per weight.
//
// With Upper nil the rival is Lower: the row of the lowest divergence among
// those of that method within IsoTolerance. Otherwise the rival is the point
// between Lower and Upper, neighbours on the method's own Pareto front, at
// exactly the row's bits, interpolated linearly in log KL over bits. Where there
// are both, the rival is the one of the lower divergence. Nothing is
// extrapolated. Picking the best of several rivals favours the rival a little;
// the interval does not correct for that.
type Iso struct {
	Entry        *Entry
	Family       string // of the rival
	Lower, Upper *Entry
	Weight       float64  // of Upper, in [0,1]
	Ratio        Estimate // KL of Entry over KL of the rival; below 1 Entry wins
	Holm         float64  // corrected over all of the group's comparisons with this family
}

// isoBit compares each row with the strongest of each other family's rows of the
// same size.
func (g *Group) isoBit() {
	families := map[string][]*Entry{}
	var names []string
	for _, e := range g.Entries {
		if e.KL == nil || e.Reference || !e.HasBits || e.KL.Value <= 0 {
			continue
		}
		if families[e.Family] == nil {
			names = append(names, e.Family)
		}
		families[e.Family] = append(families[e.Family], e)
	}
	slices.SortFunc(names, g.Families.Compare)
	for _, rival := range names {
		curve := front(families[rival])
		start := len(g.Iso)
		for _, name := range names {
			if name == rival {
				continue
			}
			for _, e := range families[name] {
				if iso, ok := isoAgainst(e, rival, families[rival], curve); ok {
					g.Iso = append(g.Iso, iso)
				}
			}
		}
		var ps []float64
		for _, iso := range g.Iso[start:] {
			ps = append(ps, iso.Ratio.P)
		}
		for i, p := range Holm(ps) {
			g.Iso[start+i].Holm = p
		}
	}
}

func isoAgainst(e *Entry, rival string, rows, curve []*Entry) (Iso, bool) {
	iso := Iso{Entry: e, Family: rival}
	for _, r := range rows {
		if d := r.Bits - e.Bits; d <= IsoTolerance && d >= -IsoTolerance && (iso.Lower == nil || r.KL.Value < iso.Lower.KL.Value) {
			iso.Lower = r
		}
	}
	i, exact := slices.BinarySearchFunc(curve, e.Bits, func(c *Entry, bits float64) int { return cmp.Compare(c.Bits, bits) })
	if !exact && 0 < i && i < len(curve) {
		lower, upper := curve[i-1], curve[i]
		w := (e.Bits - lower.Bits) / (upper.Bits - lower.Bits)
		between := (1-w)*math.Log(lower.KL.Value) + w*math.Log(upper.KL.Value)
		if iso.Lower == nil || between < math.Log(iso.Lower.KL.Value) {
			iso.Lower, iso.Upper, iso.Weight = lower, upper, w
		}
	}
	var est Estimate
	var err error
	switch {
	case iso.Lower == nil:
		return iso, false
	case iso.Upper == nil:
		est, err = logKLRatio(e, iso.Lower)
	case !slices.Equal(e.WindowTokens, iso.Lower.WindowTokens) || !slices.Equal(e.WindowTokens, iso.Upper.WindowTokens):
		return iso, false
	default:
		est, err = LogContrast(Term{1, e.WindowKL}, Term{iso.Weight - 1, iso.Lower.WindowKL}, Term{-iso.Weight, iso.Upper.WindowKL})
	}
	if err != nil || !est.Interval() {
		return iso, false
	}
	iso.Ratio = est.Exp()
	return iso, true
}
