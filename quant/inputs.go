package quant

import (
	"math"
	"sort"

	"github.com/mosaicquant/mosaicquant/internal/half"
)

// Channels is what the runtime of a method does to the inputs of its layer
// before they are rounded: it divides them by channel scales, groups them in the
// order of the base's columns, and keeps some wider. It does nothing to inputs
// that are not rounded.
type Channels struct {
	Scale []float32 // [K] x/Scale is rounded and multiplied back; nil: ones
	Order []int     // channels by position; nil: as they are
	Kept  int       // the last channels of Order that are kept wider
	Bits  int       // of the kept ones, one scale per token; 16: not rounded
}

// Inputs returns a as q's layer rounds its inputs: over x/s where q has channel
// scales, outlier columns apart from the others in the order of the base, and
// not narrower than q.InputBits, where a scale per token takes the place of a.
func (q *Quantized) Inputs(a Activations) Activations {
	if a.Bits == 0 {
		return a
	}
	if a.Bits < q.InputBits {
		a = Activations{Bits: q.InputBits, Affine: a.Affine, Clip: a.Clip}
	}
	if q.Columns == nil && q.ChannelScales == nil {
		return a
	}
	ch := &Channels{}
	if a.Channels != nil { // wide ones
		*ch = *a.Channels
	}
	if c := q.Columns; c != nil {
		ch.Order, ch.Kept, ch.Bits = c.order(), c.Count, 16
		if c.Packed != nil {
			ch.Bits = c.Packed.Format.Bits
		}
	}
	for _, s := range q.ChannelScales {
		ch.Scale = append(ch.Scale, half.FromF16(s))
	}
	a = a.over(ch.Scale)
	a.Channels = ch
	return a
}

// WithWide returns a where a share of the channels is rounded to 8 bits, with a scale of
// their own per token, as whole groups of a: those whose largest inputs absMax [K] are
// largest (COMET's blocks of channels, Liu et al. 2024, arXiv:2410.12168). The others are
// grouped by size, ascending.
func (a Activations) WithWide(absMax []float32, share float64) Activations {
	order := make([]int, len(absMax))
	for j := range order {
		order[j] = j
	}
	sort.SliceStable(order, func(x, y int) bool { return absMax[order[x]] < absMax[order[y]] })
	block := max(1, a.Group)
	kept := block * int(math.Round(share*float64(len(absMax))/float64(block)))
	a.Channels = &Channels{Order: order, Kept: min(kept, len(absMax)), Bits: 8}
	return a
}

// apply rounds one token [K] to a.
func (c *Channels) apply(a Activations, row []float32) {
	for j, s := range c.Scale {
		row[j] /= s
	}
	if c.Order == nil {
		a.round(row)
	} else {
		sorted := make([]float32, len(row))
		for i, j := range c.Order {
			sorted[i] = row[j]
		}
		inner := len(row) - c.Kept
		a.round(sorted[:inner])
		if c.Bits < 16 {
			Activations{Bits: max(c.Bits, a.Bits)}.round(sorted[inner:])
		}
		for i, j := range c.Order {
			row[j] = sorted[i]
		}
	}
	for j, s := range c.Scale {
		row[j] *= s
	}
}
