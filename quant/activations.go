package quant

import (
	"fmt"
	"math"
	"slices"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
)

// Activations is a format of the inputs of a linear layer, applied as fake
// quantization: values are rounded to the grid and stay float32. Grids of integers
// are symmetric, with a float32 scale max|x|/(2^(Bits-1)-1) per token, or per group
// of channels of a token, found at run time. The zero value is the identity.
type Activations struct {
	Bits  int // 0 (identity), or 2..8
	Group int // channels that share a scale, the last group may be shorter; 0: the whole token
	// Affine grids have 2^Bits levels between the smallest and the largest value, zero
	// among them, and a whole number as zero point, as QUIK's and QuaRot's.
	Affine bool
	// Clip is the share of the range that grids of integers cover; values beyond
	// saturate. 0: all.
	Clip float64
	// Float is a format of floating-point numbers in place of integers.
	Float Float
	// Static has scales that are found beforehand; nil: they are found at run time.
	Static *Static
	// Channels is what a layer's method does to its inputs; nil for nothing.
	Channels *Channels
}

var (
	A16 = Activations{}                    // identity
	A8  = Activations{Bits: 8}             // one scale per token
	A4  = Activations{Bits: 4, Group: 128} // one scale per 128 channels of a token
)

// ParseActivations returns the format called "a16", "a8" or "a4", or that of a Float.
func ParseActivations(name string) (Activations, error) {
	switch name {
	case "a16":
		return A16, nil
	case "a8":
		return A8, nil
	case "a4":
		return A4, nil
	}
	if f, ok := floats[Float(name)]; ok {
		return Activations{Bits: f.bits, Group: f.group, Float: Float(name)}, nil
	}
	return Activations{}, fmt.Errorf("quant: unknown activations %q (a16, a8, a4, fp8, mxfp8, mxfp4, nvfp4)", name)
}

// Validate reports a format that cannot exist.
func (a Activations) Validate() error {
	f, float := floats[a.Float]
	switch {
	case a.Bits == 0 && a == (Activations{}):
		return nil
	case a.Float != "" && (!float || a.Bits != f.bits || a.Group != f.group || a.Affine || a.Clip != 0 || a.Static != nil):
	case a.Affine && a.Static != nil: // calibration knows the largest |x| alone
	case a.Bits >= 2 && a.Bits <= 8 && a.Group >= 0 && a.Clip >= 0 && a.Clip <= 1:
		return nil
	}
	return fmt.Errorf("quant: activations with bits=%d, group=%d, affine=%v, clip=%g, float=%q, static=%v",
		a.Bits, a.Group, a.Affine, a.Clip, a.Float, a.Static != nil)
}

// String returns "a16", "a8", "a4 g128", "a4 g128 affine clip 0.9 static", "fp8".
func (a Activations) String() string {
	s := fmt.Sprintf("a%d", a.Bits)
	switch {
	case a.Bits == 0:
		return "a16"
	case a.Float != "":
		return string(a.Float)
	case a.Group > 0:
		s += fmt.Sprintf(" g%d", a.Group)
	}
	if a.Affine {
		s += " affine"
	}
	if a.Clip > 0 {
		s += fmt.Sprintf(" clip %g", a.Clip)
	}
	if a.Static != nil {
		s += " static"
	}
	return s
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
	if a.Float != "" {
		floats[a.Float].round(row)
		return
	}
	top := float32(int(1)<<(a.Bits-1) - 1)
	clip := float32(1)
	if a.Clip > 0 {
		clip = float32(a.Clip)
	}
	size := a.Group
	if size == 0 {
		size = len(row)
	}
	for g := 0; len(row) > 0; g++ {
		n := min(size, len(row))
		switch {
		case a.Affine:
			roundAffine(row[:n], float32(int(1)<<a.Bits-1), clip)
		case a.Static != nil && finite(row[:n]):
			roundTo(row[:n], a.Static.absMax[g]*clip/top, top)
		default:
			roundTo(row[:n], gemm.MaxAbs(row[:n])*clip/top, top)
		}
		row = row[n:]
	}
}

// roundTo rounds v to the grid of ±top steps of the given scale.
func roundTo(v []float32, scale, top float32) {
	switch {
	case scale != scale: // where a value is not finite
		fill(v, float32(math.NaN()))
	case scale == 0: // all zero, or so small that the scale underflows
		clear(v)
	default: // a subnormal scale is coarse enough to push quotients past top
		gemm.RoundTo(v, scale, top)
	}
}

// roundAffine rounds v to the grid of top+1 levels between its least and largest
// value, 0 among them, both times clip, with a whole number as zero point.
func roundAffine(v []float32, top, clip float32) {
	var low, high float32
	for _, x := range v {
		low, high = min(low, x), max(high, x)
	}
	scale := (high*clip - low*clip) / top
	switch {
	case scale-scale != 0:
		fill(v, float32(math.NaN()))
	case scale == 0:
		clear(v)
	default:
		zero := roundEven(-low * clip / scale)
		for i, x := range v {
			v[i] = (max(0, min(top, roundEven(x/scale)+zero)) - zero) * scale
		}
	}
}

func roundEven(x float32) float32 { return float32(math.RoundToEven(float64(x))) }

func finite(v []float32) bool { return gemm.MaxAbs(v) >= 0 }

func fill(v []float32, x float32) {
	for i := range v {
		v[i] = x
	}
}

// Static is what scales found beforehand are made of.
type Static struct {
	channels []float32 // [K] largest |x| of each channel
	absMax   []float32 // of each group, times its share
	shares   []float32 // of absMax that the grid covers; nil: all
}

// WithStatic returns a with scales from the largest |x| of each channel [K] in place
// of those found at run time: of the group, or of all channels.
func (a Activations) WithStatic(channels []float32) Activations {
	size := a.Group
	if size == 0 {
		size = len(channels)
	}
	s := &Static{channels: channels}
	for rest := channels; len(rest) > 0; {
		n := min(size, len(rest))
		s.absMax = append(s.absMax, gemm.MaxAbs(rest[:n]))
		rest = rest[n:]
	}
	a.Static = s
	return a
}

// shareSteps is how many shares of a range a search tries: 2^(-i/8), down to 1/2^8, as a few
// tokens may be hundreds of times as large as all others.
const shareSteps = 65

// WithSearched returns a, whose scales are static, with the largest |x| of each group
// times the share of it by which rounding the inputs x [tokens,K] loses least squared error.
// Larger values saturate.
func (a Activations) WithSearched(x Matrix) Activations {
	s := &Static{channels: a.Static.channels, absMax: slices.Clone(a.Static.absMax),
		shares: make([]float32, len(a.Static.absMax))}
	size := a.Group
	if size == 0 {
		size = x.Cols
	}
	parallel.For(len(s.absMax), func(g int) error {
		k0 := g * size
		k1 := min(k0+size, x.Cols)
		one := Activations{Bits: a.Bits, Clip: a.Clip}
		row := make([]float32, k1-k0)
		least := math.Inf(1)
		for i := range shareSteps {
			share := float32(math.Exp2(-float64(i) / 8))
			one.Static = &Static{absMax: []float32{a.Static.absMax[g] * share}}
			var sum float64
			for t := range x.Rows {
				in := x.Row(t)[k0:k1]
				copy(row, in)
				one.round(row)
				for j, v := range in {
					d := float64(v - row[j])
					sum += d * d
				}
			}
			if sum < least {
				least, s.shares[g] = sum, share
			}
		}
		s.absMax[g] *= s.shares[g]
		return nil
	})
	a.Static = s
	return a
}

// Scales is the number of scales that are stored, each of 4 bytes.
func (s *Static) Scales() int { return len(s.absMax) }

// over returns a with its static scales, if it has any, for inputs divided by scale.
func (a Activations) over(scale []float32) Activations {
	if a.Static == nil || scale == nil {
		return a
	}
	channels := make([]float32, len(scale))
	for j, s := range scale {
		channels[j] = a.Static.channels[j] / s
	}
	over := a.WithStatic(channels)
	for g, share := range a.Static.shares {
		over.Static.absMax[g] *= share
	}
	over.Static.shares = a.Static.shares
	return over
}
