package trellis

import "math"

// search finds the states of a trellis. It has the memory that this takes and is for
// one goroutine.
type search struct {
	values   []float32 // of the 2^length states
	bits     int       // that a state takes up anew
	cost     []float32 // of the cheapest path to each state
	best     []float32 // of the cheapest way into each group of states, 2^(length-bits)
	from     []uint8   // [step, group] which state before that is: its first bits
	sequence []float32 // in another order
	chosen   []uint32  // room for the states of a sequence
}

func newSearch(values []float32, bits, steps int) *search {
	groups := len(values) >> bits
	return &search{values: values, bits: bits, cost: make([]float32, len(values)), best: make([]float32, groups),
		from: make([]uint8, steps*groups), sequence: make([]float32, steps), chosen: make([]uint32, steps)}
}

// free allows any state to come before the first.
const free = -1

// path returns the states whose values are nearest to x in the sum of squares, and
// that sum. The first state comes after one whose last length-bits bits are
// middle, and the last state ends with these; both are open where middle is free.
func (s *search) path(states []uint32, x []float32, middle int) float64 {
	groups, ways := len(s.best), 1<<s.bits
	for g := range s.best {
		s.best[g] = 0
		if middle != free && g != middle {
			s.best[g] = float32(math.Inf(1))
		}
	}
	for t, v := range x {
		if t > 0 {
			from := s.from[t*groups : (t+1)*groups]
			copy(s.best, s.cost[:groups])
			clear(from)
			for h := 1; h < ways; h++ {
				for g, c := range s.cost[h*groups : (h+1)*groups] {
					if c < s.best[g] {
						s.best[g], from[g] = c, uint8(h)
					}
				}
			}
		}
		for g, c := range s.best { // the states after a group of states are ways
			cost := s.cost[g*ways : (g+1)*ways]
			for i, u := range s.values[g*ways : (g+1)*ways] {
				d := v - u
				cost[i] = c + d*d
			}
		}
	}
	last, least := 0, float32(math.Inf(1))
	for i, c := range s.cost {
		if c < least && (middle == free || i&(groups-1) == middle) {
			last, least = i, c
		}
	}
	for t := len(x) - 1; t >= 0; t-- {
		states[t] = uint32(last)
		if g := last >> s.bits; t > 0 {
			last = int(s.from[t*groups+g])*groups + g
		}
	}
	return float64(least)
}

// tailBiting returns states whose string of bits is a circle: the first begins with
// the bits that the last ends with. As in QTIP, a free path through the sequence turned
// by half fixes the bits at the seam.
func (s *search) tailBiting(states []uint32, x []float32) float64 {
	half := len(x) / 2
	turned := append(append(s.sequence[:0], x[half:]...), x[:half]...)
	s.path(states, turned, free)
	return s.path(states, x, int(states[len(x)-half])>>s.bits)
}
