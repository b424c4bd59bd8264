package reports

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Speed is the time of the layers that a sweep timed at one number of tokens,
// executed in a row's form, over that of 16-bit weights: the geometric mean
// over the layers. Low and High are the means of the ends of their intervals,
// which is wider than an interval of the mean.
type Speed struct {
	Tokens string // "M=1"
	Layers int
	Over16 Estimate
}

// speeds reads e's values "speed/LAYER M=1/time_over/w16a16"; 16-bit weights
// themselves have none.
func (e *Entry) speeds() {
	type sum struct {
		value, low, high float64
		n                int
	}
	sums := map[string]*sum{}
	var order []string
	for _, v := range e.Values {
		rest, ok1 := strings.CutPrefix(v.Name, "speed/")
		product, ok2 := strings.CutSuffix(rest, "/time_over/w16a16")
		_, tokens, ok3 := cutLast(product, " ")
		if !ok1 || !ok2 || !ok3 || !(v.Value > 0) {
			continue
		}
		s := sums[tokens]
		if s == nil {
			s = &sum{}
			sums[tokens] = s
			order = append(order, tokens)
		}
		low, high := v.Value, v.Value
		if v.Low != nil && v.High != nil && *v.Low > 0 {
			low, high = *v.Low, *v.High
		}
		s.value, s.low, s.high, s.n = s.value+math.Log(v.Value), s.low+math.Log(low), s.high+math.Log(high), s.n+1
	}
	slices.SortFunc(order, natural)
	for _, tokens := range order {
		s := sums[tokens]
		n := float64(s.n)
		e.Speeds = append(e.Speeds, Speed{Tokens: tokens, Layers: s.n,
			Over16: Estimate{Value: math.Exp(s.value / n), Low: math.Exp(s.low / n), High: math.Exp(s.high / n), P: 1, N: 2}})
	}
}

// speed returns e's speed at the number of tokens ("M=1"), or nil.
func (e *Entry) speed(tokens string) *Speed {
	for i := range e.Speeds {
		if e.Speeds[i].Tokens == tokens {
			return &e.Speeds[i]
		}
	}
	return nil
}

// batches returns the numbers of tokens at which rows of the group were timed.
func (g *Group) batches() []string {
	var all []string
	for _, e := range g.Entries {
		for _, s := range e.Speeds {
			if !slices.Contains(all, s.Tokens) {
				all = append(all, s.Tokens)
			}
		}
	}
	slices.SortFunc(all, natural)
	return all
}

// speedFigure draws divergence over time at one number of tokens.
func (g *Group) speedFigure(l Styles, tokens string) *figure {
	s := &xy{xLabel: "time of the layers / 16-bit weights, " + tokens, yLabel: "mean KL to 16 bits (nat/token)", yLog: true}
	byName := map[string]int{}
	points, layers := 0, 0
	var timed []*Entry
	for _, e := range g.Entries {
		v := e.speed(tokens)
		if v == nil || e.KL == nil || e.KL.Value <= 0 {
			continue
		}
		i, seen := byName[e.Family]
		if !seen {
			i = len(s.series)
			byName[e.Family] = i
			s.series = append(s.series, series{name: e.Family, color: l.look(e.Family).color, marker: l.look(e.Family).marker, symbol: l.look(e.Family).symbol})
		}
		s.series[i].points = append(s.series[i].points, point{v.Over16.Value, e.KL.Value, e.KL.Low, e.KL.High, e.Name})
		points++
		layers = v.Layers
		timed = append(timed, e)
	}
	if points < 2 {
		return nil
	}
	slices.SortFunc(s.series, func(a, b series) int { return g.families.compare(a.name, b.name) })
	for i := range s.series {
		s.series[i].bars = points <= crowded
	}
	slices.SortStableFunc(timed, func(a, b *Entry) int {
		return cmp.Or(cmp.Compare(a.speed(tokens).Over16.Value, b.speed(tokens).Over16.Value), cmp.Compare(a.KL.Value, b.KL.Value))
	})
	for _, e := range timed { // by time: the front goes down
		if n := len(s.front); n == 0 || e.KL.Value < s.front[n-1].y {
			s.front = append(s.front, point{x: e.speed(tokens).Over16.Value, y: e.KL.Value})
		}
	}
	return &figure{Key: "kl-time-" + slug(strings.ReplaceAll(tokens, "=", "")), Title: "Divergence against time, " + tokens, height: ratio(0.72), draw: s.draw, chart: s.chart(),
		Caption: fmt.Sprintf("Mean divergence from the 16-bit model over the time of %s, executed in the form of each row's weights on random numbers, as a ratio to 16-bit weights measured in the same turns (geometric mean over the layers). "+
			"Lower left is better. The front joins medians; how far times are uncertain is in the table.", plural(layers, "layer", "layers"))}
}

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
	slices.SortFunc(names, g.families.compare)
	var ps []float64
	for _, tokens := range g.batches() {
		for _, name := range names {
			for _, e := range families[name] {
				own := e.speed(tokens)
				if own == nil {
					continue
				}
				for _, rival := range names {
					var best *Entry
					for _, r := range families[rival] {
						if s := r.speed(tokens); rival != name && s != nil && s.Over16.Value <= own.Over16.Value*(1+TimeTolerance) && (best == nil || r.KL.Value < best.KL.Value) {
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

// isoTimeLines is the table of these comparisons, head first; nil without any.
func (g *Group) isoTimeLines() [][]string {
	if len(g.IsoTime) == 0 {
		return nil
	}
	lines := [][]string{{"row", "label", "tokens", "time / 16-bit", "rival", "rival's label", "rival's time / 16-bit", "KL vs rival", "95 % interval", "p, Holm"}}
	for _, i := range g.IsoTime[:min(len(g.IsoTime), isoLimit)] {
		time := func(e *Entry) string {
			return withInterval(e.speed(i.Tokens).Over16, func(v float64) string { return fixed(v, 3) })
		}
		lines = append(lines, []string{i.Entry.ID, i.Entry.Name, i.Tokens, time(i.Entry), i.Rival.ID, i.Rival.Name, time(i.Rival), percentOf(i.Ratio.Value), interval(i.Ratio, percentOf), pvalue(i.Holm)})
	}
	return lines
}

func (g *Group) isoTimeNote() string {
	note := "The rival is the row of the lowest divergence of its method among those that take at most 2 % more time than the row on the left; below zero the row on the left has the lower divergence. Times are ratios to 16-bit weights, measured on random numbers."
	if n := len(g.IsoTime); n > isoLimit {
		note += fmt.Sprintf(" First %d of %d.", isoLimit, n)
	}
	return note
}

// isoTimeFindings sums up, for the families of mosaic, wins and losses at equal
// time.
func (g *Group) isoTimeFindings() []finding {
	type pair struct{ family, rival, tokens string }
	sums := map[pair][3]int{}
	rows := map[pair][]*Entry{}
	var order []pair
	for _, i := range g.IsoTime {
		p := pair{i.Entry.Family, i.Rival.Family, i.Tokens}
		if !strings.HasPrefix(p.family, "mosaic") || strings.HasPrefix(p.rival, "mosaic") {
			continue
		}
		s, seen := sums[p]
		if !seen {
			order = append(order, p)
		}
		switch {
		case i.Holm < 1-Level && i.Ratio.Value < 1:
			s[0]++
			rows[p] = append(rows[p], i.Entry)
		case i.Holm < 1-Level:
			s[1]++
			rows[p] = append(rows[p], i.Entry)
		default:
			s[2]++
		}
		sums[p] = s
	}
	var out []finding
	for _, p := range order {
		s := sums[p]
		out = append(out, finding{fmt.Sprintf("At equal time (%s), %s against the best %s that takes no longer: divergence lower in %d, higher in %d, not distinguishable in %d of %s.",
			p.tokens, p.family, p.rival, s[0], s[1], s[2], plural(s[0]+s[1]+s[2], "comparison", "comparisons")), rows[p]})
	}
	return out
}
