package reports

import (
	"cmp"
	"maps"
	"math"
	"slices"
)

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
	slices.SortFunc(names, g.families.compare)
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
	case !slices.Equal(e.tokens, iso.Lower.tokens) || !slices.Equal(e.tokens, iso.Upper.tokens):
		return iso, false
	default:
		est, err = LogContrast(Term{1, e.kl}, Term{iso.Weight - 1, iso.Lower.kl}, Term{-iso.Weight, iso.Upper.kl})
	}
	if err != nil || !est.Interval() {
		return iso, false
	}
	iso.Ratio = est.Exp()
	return iso, true
}

// isoFigure draws the rows of mosaic over the strongest other method at their
// bits: the rival against which each row stands worst.
func (g *Group) isoFigure(l Styles) *figure {
	worst := map[*Entry]Iso{}
	pairs, of := g.isoPairs()
	rivals := map[string]bool{}
	for _, p := range pairs {
		for _, iso := range of[p] {
			if w, ok := worst[iso.Entry]; !ok || iso.Ratio.Value > w.Ratio.Value {
				worst[iso.Entry] = iso
			}
		}
		rivals[p[1]] = true
	}
	if len(worst) < 2 {
		return nil
	}
	one := 1.0
	s := &xy{xLabel: "bits per weight, as stored", yLabel: "mean KL / strongest rival's", yLog: true, level: &one}
	s.series, _ = g.byMethod(l, func(e *Entry) (Estimate, bool) {
		iso, ok := worst[e]
		return iso.Ratio, ok
	})
	return &figure{Key: "iso-bits", Title: "At equal bits, against the strongest other method", height: ratio(0.72), draw: s.draw, chart: s.chart(),
		Caption: "Divergence of each row of mosaic over that of another method at exactly its bits per weight (the table of comparisons at equal bits says how), namely " + list(slices.SortedFunc(maps.Keys(rivals), g.families.compare), 8) +
			": for each row the one with the lowest divergence. Below the line mosaic is better. Bars: 95 % interval, paired by window, each row on its own; the choice of the strongest favours the rivals a little. Rows without a rival of their size are not drawn."}
}
