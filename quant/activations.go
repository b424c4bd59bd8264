package quant

import (
	"fmt"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// Activations is a format of the inputs of a linear layer, applied as fake
// quantization: values are rounded to the grid and stay float32. Grids are
// symmetric, with a float32 scale max|x|/(2^(Bits-1)-1) per token, or per group
// of channels of a token, found at run time. The zero value is the identity.
type Activations struct {
	Bits  int // 0 (identity), or 2..8
	Group int // channels that share a scale, the last group may be shorter; 0: the whole token
	// Channels is what a layer's method does to its inputs; nil for nothing.
	Channels *Channels
}

var (
	A16 = Activations{}                    // identity
	A8  = Activations{Bits: 8}             // one scale per token
	A4  = Activations{Bits: 4, Group: 128} // one scale per 128 channels of a token
)

// ParseActivations returns the format called "a16", "a8" or "a4".
func ParseActivations(name string) (Activations, error) {
	switch name {
	case "a16":
		return A16, nil
	case "a8":
		return A8, nil
	case "a4":
		return A4, nil
	}
	return Activations{}, fmt.Errorf("quant: unknown activations %q (a16, a8, a4)", name)
}

// Validate reports a format that cannot exist.
func (a Activations) Validate() error {
	if a.Bits == 0 && a.Group == 0 || a.Bits >= 2 && a.Bits <= 8 && a.Group >= 0 {
		return nil
	}
	return fmt.Errorf("quant: activations with bits=%d, group=%d", a.Bits, a.Group)
}

// String returns "a16", "a8", "a4 g128".
func (a Activations) String() string {
	switch {
	case a.Bits == 0:
		return "a16"
	case a.Group == 0:
		return fmt.Sprintf("a%d", a.Bits)
	}
	return fmt.Sprintf("a%d g%d", a.Bits, a.Group)
}

// Apply rounds the rows of x [tokens,K] in place. A group with a value that is
// not finite becomes NaN as a whole, so that the fault stays visible.
func (a Activations) Apply(x Matrix) {
	if a.Bits == 0 {
		return
	}
	for t := range x.Rows {
		if a.Channels != nil {
			a.Channels.apply(a, x.Row(t))
		} else {
			a.round(x.Row(t))
		}
	}
}

// round rounds one token, group by group.
func (a Activations) round(row []float32) {
	top := float32(int(1)<<(a.Bits-1) - 1)
	size := a.Group
	if size == 0 {
		size = len(row)
	}
	for len(row) > 0 {
		n := min(size, len(row))
		fakeQuantize(row[:n], top)
		row = row[n:]
	}
}

// fakeQuantize rounds v to the grid of its own largest value over ±top.
func fakeQuantize(v []float32, top float32) {
	scale := gemm.MaxAbs(v) / top // NaN where a value is not finite
	switch {
	case scale != scale:
		for i := range v {
			v[i] = scale
		}
	case scale == 0: // all zero, or so small that the scale underflows
		clear(v)
	default: // a subnormal scale is coarse enough to push quotients past top
		gemm.RoundTo(v, scale, top)
	}
}
