package quant

import (
	"math"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/half"
)

// Float is a format of activations that are floating-point numbers.
type Float string

const (
	// FP8 has E4M3 numbers and a float32 scale max|x|/448 per token.
	FP8 Float = "fp8"
	// MXFP8Inputs has E4M3 numbers, and scales that are powers of two for groups of 32
	// channels by the floor rule of the OCP Microscaling Formats 1.0: what exceeds 448
	// saturates.
	MXFP8Inputs Float = "mxfp8"
	// MXFP4Inputs has E2M1 numbers, groups and scales as MXFP8Inputs.
	MXFP4Inputs Float = "mxfp4"
	// NVFP4Inputs has E2M1 numbers, E4M3 scales for groups of 16 channels, and a float32
	// scale max|x|/(6·448) per token. NVIDIA has one for the whole tensor.
	NVFP4Inputs Float = "nvfp4"
)

// smallFloat is a format of numbers with few bits.
type smallFloat struct {
	bits, group   int
	exponent      int     // the least one of normal numbers
	mantissa      int     // its bits
	top           float64 // the largest number
	block, double bool    // scales are powers of two; or E4M3, over one per token
}

var floats = map[Float]smallFloat{
	FP8:         {bits: 8, exponent: -6, mantissa: 3, top: 448},
	MXFP8Inputs: {bits: 8, group: 32, exponent: -6, mantissa: 3, top: 448, block: true},
	MXFP4Inputs: {bits: 4, group: 32, exponent: 0, mantissa: 1, top: 6, block: true},
	NVFP4Inputs: {bits: 4, group: 16, exponent: 0, mantissa: 1, top: 6, double: true},
}

// nearest rounds x to the nearest number, ties to an even mantissa; beyond the
// largest it saturates.
func (f smallFloat) nearest(x float64) float64 {
	a := math.Abs(x)
	if a >= f.top {
		return math.Copysign(f.top, x)
	}
	_, e := math.Frexp(a) // a in [2^(e-1), 2^e)
	unit := math.Ldexp(1, max(e-1, f.exponent)-f.mantissa)
	return math.Copysign(math.RoundToEven(a/unit)*unit, x)
}

// round rounds one token.
func (f smallFloat) round(row []float32) {
	token := float64(gemm.MaxAbs(row))
	if token != token {
		fill(row, float32(math.NaN()))
		return
	}
	size := f.group
	if size == 0 {
		size = len(row)
	}
	for len(row) > 0 {
		part := row[:min(size, len(row))]
		row = row[len(part):]
		scale := f.scale(float64(gemm.MaxAbs(part)), token)
		if scale == 0 {
			clear(part)
			continue
		}
		for i, x := range part {
			part[i] = float32(f.nearest(float64(x)/scale) * scale)
		}
	}
}

// scale returns the scale of a group whose largest magnitude is group, in a token
// where it is token.
func (f smallFloat) scale(group, token float64) float64 {
	switch {
	case group == 0:
		return 0
	case f.block:
		_, e := math.Frexp(group)
		_, top := math.Frexp(f.top)
		return half.FromE8M0(half.ToE8M0(e - top))
	case f.double:
		const largest = 448
		d := float64(float32(token / (f.top * largest)))
		if d == 0 {
			return 0
		}
		return d * half.FromE4M3(half.ToE4M3(group/(f.top*d)))
	}
	return float64(float32(group / f.top))
}
