package solve

import (
	"math"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
)

func TestRTNCodes(t *testing.T) {
	p := quanttest.Problem(t, 7, 96, 11)
	copy(p.Weights.Row(1)[:32], make([]float32, 32)) // a zero group
	for j := range 32 {
		p.Weights.Row(2)[j] = 3 // a constant one
		p.Weights.Row(3)[j] *= 1e-7
	}
	p.Weights.Row(4)[5] = 1e5 // one huge outlier
	q := quanttest.Quantize(t, RTN{quant.Int4(32), grid.Scale{Rule: grid.AbsMax}}, p).Base
	for i := range 7 {
		for g := range 3 {
			var m float64
			for _, w := range p.Weights.Row(i)[g*32 : g*32+32] {
				m = math.Max(m, math.Abs(float64(w)))
			}
			bits := half.ToF16(float32(m / 7))
			if q.Scales[i*3+g] != bits {
				t.Fatalf("scale [%d,%d] %#x, want %#x", i, g, q.Scales[i*3+g], bits)
			}
			for j := g * 32; j < g*32+32; j++ {
				want := 8
				if s := float64(half.FromF16(bits)); s > 0 {
					want = 8 + int(math.Max(-7, math.Min(7, math.RoundToEven(float64(p.Weights.Row(i)[j])/s))))
				}
				got := int(q.Codes[(i*96+j)/2] >> (j % 2 * 4) & 15)
				if got != want {
					t.Fatalf("code [%d,%d] %d, want %d", i, j, got, want)
				}
			}
		}
	}
	if b := q.BitsPerWeight(); b != 4.5 {
		t.Errorf("g32 stores %g bits per weight, want 4.5", b)
	}
}

// A scale below half precision's normal range is stored as a multiple of 2^-24,
// and weights follow the scale that is stored; below half of that there is none.
func TestSubnormalScales(t *testing.T) {
	for _, c := range []struct{ largest, scale float32 }{
		{7 * 0x1p-14, 0x1p-14},          // smallest normal
		{7 * 0x1p-15, 0x1p-15},          // subnormal, exact
		{7 * 0x1.8p-23, 0x1.8p-23},      // three units
		{7 * 0x1.2p-24, 0x1p-24},        // rounds down to the smallest
		{7 * 0x1p-25, 0}, {0x1p-140, 0}, // tie to even, far below
	} {
		p := quanttest.Problem(t, 1, 16, 5)
		p.Moments = nil
		for j := range p.Weights.Data {
			p.Weights.Data[j] = c.largest * float32(j-8) / 8
		}
		q := quanttest.Quantize(t, RTN{quant.Int4(16), grid.Scale{Rule: grid.AbsMax}}, p)
		if got := half.FromF16(q.Base.Scales[0]); got != c.scale {
			t.Errorf("weights up to %g: scale %g, want %g", c.largest, got, c.scale)
		}
		// Clipping by a scale rounded down may cost more than half a step.
		for j, v := range q.Dequantize().Data {
			w := p.Weights.Data[j]
			bound := max(c.scale/2, c.largest-7*c.scale)
			if d := w - v; !(d <= bound && d >= -bound) || c.scale == 0 && v != 0 {
				t.Errorf("weights up to %g: %g became %g", c.largest, w, v)
			}
		}
	}
}
