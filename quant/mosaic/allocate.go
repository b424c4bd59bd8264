package mosaic

import (
	"slices"
)

// Option is one way to quantize a layer: what it stores and what it loses, in
// the same units for all layers.
type Option struct {
	Bytes int64
	Loss  float64
}

// Allocate divides a budget between layers of which each can be stored in
// several ways: it returns an option for each, given those, own, that the layers
// would have without sharing, whose bytes are the budget. From the smallest
// option of each layer it goes up the lower convex hull of its losses over its
// bytes, always the step of the largest fall per byte that fits. The losses so
// chosen never sum to more than those of own; if they would, which steps of
// unequal size can cause, own is returned.
func Allocate(options [][]Option, own []int) []int {
	var left int64
	chosen := make([]int, len(options))
	hulls := make([][]int, len(options))
	for l, o := range options {
		hulls[l] = hull(o)
		chosen[l] = hulls[l][0]
		left += o[own[l]].Bytes - o[chosen[l]].Bytes
	}
	for {
		best, rate := -1, 0.0
		for l, h := range hulls {
			if len(h) < 2 {
				continue
			}
			a, b := options[l][h[0]], options[l][h[1]]
			if b.Bytes-a.Bytes > left {
				hulls[l] = nil // as are the steps beyond
			} else if r := (a.Loss - b.Loss) / float64(b.Bytes-a.Bytes); r > rate {
				best, rate = l, r
			}
		}
		if best < 0 {
			break
		}
		h := hulls[best]
		left -= options[best][h[1]].Bytes - options[best][h[0]].Bytes
		chosen[best], hulls[best] = h[1], h[1:]
	}
	lost := func(choice []int) (sum float64) {
		for l, c := range choice {
			sum += options[l][c].Loss
		}
		return sum
	}
	if lost(chosen) > lost(own) {
		return slices.Clone(own)
	}
	return chosen
}

// hull returns the options on the lower convex hull of losses over bytes, from
// the smallest one to the one of least loss.
func hull(o []Option) []int {
	at := 0
	for i, x := range o {
		if x.Bytes < o[at].Bytes || x.Bytes == o[at].Bytes && x.Loss < o[at].Loss {
			at = i
		}
	}
	h := []int{at}
	for {
		next, steepest := -1, 0.0
		for i, x := range o {
			if x.Bytes > o[at].Bytes {
				if s := (o[at].Loss - x.Loss) / float64(x.Bytes-o[at].Bytes); s > steepest {
					next, steepest = i, s
				}
			}
		}
		if next < 0 {
			return h
		}
		at = next
		h = append(h, at)
	}
}
