package stats

import (
	"math"
	"slices"
	"strings"

	"github.com/mosaicquant/mosaicquant/reports/format"
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
		_, tokens, ok3 := CutLast(product, " ")
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
	slices.SortFunc(order, format.Natural)
	for _, tokens := range order {
		s := sums[tokens]
		n := float64(s.n)
		e.Speeds = append(e.Speeds, Speed{Tokens: tokens, Layers: s.n,
			Over16: Estimate{Value: math.Exp(s.value / n), Low: math.Exp(s.low / n), High: math.Exp(s.high / n), P: 1, N: 2}})
	}
}

// Speed returns e's speed at the number of tokens ("M=1"), or nil.
func (e *Entry) Speed(tokens string) *Speed {
	for i := range e.Speeds {
		if e.Speeds[i].Tokens == tokens {
			return &e.Speeds[i]
		}
	}
	return nil
}

// Batches returns the numbers of tokens at which rows of the group were timed.
func (g *Group) Batches() []string {
	var all []string
	for _, e := range g.Entries {
		for _, s := range e.Speeds {
			if !slices.Contains(all, s.Tokens) {
				all = append(all, s.Tokens)
			}
		}
	}
	slices.SortFunc(all, format.Natural)
	return all
}
