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
		if !IsResidual(p[0]) || IsResidual(p[1]) {
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

// Reach is how far apart, in bits per weight, two rows may be for the divergence of one
// to be read at the bits of the other: sizes of grids and groups seldom meet exactly.
const Reach = 0.03

// SameSize is how far apart, in bits per weight, a row and a checkpoint of another
// program may be and still be compared as they are.
const SameSize = 0.005

// perBit is how much less divergence a bit more is taken to give at most: a quarter, as
// the squared error of a fine uniform grid (Bennett 1948). A line between rows of
// different grids can be far steeper, and says nothing of sizes between them.
const perBit = 4

// Iso compares the divergence of a row with that of another method at exactly the
// row's bits per weight.
//
// The rival's divergence there is the lower of two readings: on the line between Lower and
// Upper, neighbours on the front of its method's rows, log KL over bits; and, with Upper
// nil, off a row of it times perBit for each bit that it has more: a larger row, by at most
// Reach where the method has no smaller one, or, past the end of the front, a row at most
// Reach smaller. Past its end the front counts as it is, too, where the rival has larger
// rows within Reach, or is ahead with fewer bits. This favours the rival a little: the best
// of several rows is picked with luck in it; the interval does not correct for that.
// Checkpoints of other programs are no sizes of one method: no line goes between them,
// and the best of them within SameSize is the rival.
type Iso struct {
	Entry        *Entry
	Family       string // of the rival
	Lower, Upper *Entry
	Weight       float64  // of Upper, between 0 and 1
	Ratio        Estimate // KL of Entry over KL of the rival; below 1 Entry wins
	Holm         float64  // corrected over all of the group's comparisons with this family
}

// Apart is how many bits per weight the nearest row of the rival is larger than
// Entry.
func (i Iso) Apart() float64 {
	d := i.Lower.Bits - i.Entry.Bits
	if i.Upper != nil && math.Abs(i.Upper.Bits-i.Entry.Bits) < math.Abs(d) {
		d = i.Upper.Bits - i.Entry.Bits
	}
	return d
}

// isoBit compares each row with each other family at the row's size.
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
		rows := families[rival]
		curve := sizes(rows)
		start := len(g.Iso)
		for _, name := range names {
			if name == rival {
				continue
			}
			for _, e := range families[name] {
				of, line := rows, curve
				if rival == checkpoints {
					if of = sameSize(rows, e.Bits); of == nil {
						continue
					}
					line = of
				}
				if iso, ok := isoAgainst(e, rival, of, line); ok {
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

// checkpoints is the family of what other programs quantized.
const checkpoints = "checkpoint"

// sameSize returns the row of least divergence within SameSize of so many bits; nil for
// none.
func sameSize(rows []*Entry, bits float64) []*Entry {
	var best []*Entry
	for _, e := range rows {
		if math.Abs(e.Bits-bits) <= SameSize && (best == nil || e.KL.Value < best[0].KL.Value) {
			best = []*Entry{e}
		}
	}
	return best
}

// sizes returns the rows of a method on its front of bits and log KL, one of each size.
func sizes(rows []*Entry) []*Entry {
	return slices.CompactFunc(front(rows), func(a, b *Entry) bool { return a.Bits == b.Bits })
}

// isoAgainst compares e with the rows of a method, whose front is curve.
func isoAgainst(e *Entry, rival string, rows, curve []*Entry) (Iso, bool) {
	iso := Iso{Entry: e, Family: rival}
	lowest := math.Inf(1) // log KL of the rival at e's bits
	last := curve[len(curve)-1]
	past, within := e.Bits > last.Bits, e.Bits >= curve[0].Bits
	for _, r := range rows {
		apart := r.Bits - e.Bits
		if apart < 0 && !(past && apart >= -Reach) || apart > Reach && !within {
			continue
		}
		if v := math.Log(r.KL.Value) + math.Log(perBit)*apart; v < lowest {
			lowest, iso.Lower = v, r
		}
	}
	i, _ := slices.BinarySearchFunc(curve, e.Bits, func(c *Entry, bits float64) int { return cmp.Compare(c.Bits, bits) })
	if i > 0 && i < len(curve) {
		a, b := curve[i-1], curve[i]
		w := (e.Bits - a.Bits) / (b.Bits - a.Bits)
		if v := (1-w)*math.Log(a.KL.Value) + w*math.Log(b.KL.Value); v < lowest {
			iso.Lower, iso.Upper, iso.Weight = a, b, w
		}
	}
	if past && (iso.Lower != nil || last.KL.Value < e.KL.Value) && math.Log(last.KL.Value) < lowest {
		iso.Lower = last
	}
	if iso.Lower == nil {
		return iso, false
	}
	est, err := iso.estimate()
	if err != nil || !est.Interval() {
		return iso, false
	}
	iso.Ratio = est.Exp()
	return iso, true
}

// estimate is log(KL of Entry / KL of the rival).
func (i Iso) estimate() (Estimate, error) {
	if i.Upper != nil {
		return i.Entry.overBetween(i.Lower, i.Upper, i.Weight)
	}
	est, err := logKLRatio(i.Entry, i.Lower)
	if apart := i.Apart(); apart >= -Reach {
		est = est.plus(-math.Log(perBit) * apart)
	}
	return est, err
}

// overBetween is log(KL of e / KL between a and b), with the weight w of b, paired.
func (e *Entry) overBetween(a, b *Entry, w float64) (Estimate, error) {
	draws := pairedDraws(e, a, b)
	e, a, b = draws[0], draws[1], draws[2]
	if !slices.Equal(e.WindowTokens, a.WindowTokens) || !slices.Equal(e.WindowTokens, b.WindowTokens) {
		return Estimate{}, errWindows
	}
	return LogContrast(Term{1, e.WindowKL}, Term{w - 1, a.WindowKL}, Term{-w, b.WindowKL})
}

// Hardest returns, for the rows that chosen accepts, the comparison at equal bits in
// which each stands worst, by row.
func (g *Group) Hardest(chosen func(*Entry, string) bool) map[*Entry]Iso {
	out := map[*Entry]Iso{}
	for _, iso := range g.Iso {
		if w, ok := out[iso.Entry]; chosen(iso.Entry, iso.Family) && (!ok || iso.Ratio.Value > w.Ratio.Value) {
			out[iso.Entry] = iso
		}
	}
	return out
}

// IsResidual tells whether rows of the family have a sparse residual: those that the
// project is about.
func IsResidual(family string) bool { return strings.HasPrefix(family, "mosaic") }
