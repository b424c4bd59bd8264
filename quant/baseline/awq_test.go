package baseline

import (
	"fmt"
	"math"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// TestAWQGolden compares the losses of AWQ's search with numpy's.
func TestAWQGolden(t *testing.T) {
	golden := quanttest.ReadFormats(t)
	p := quant.Problem{Name: "golden", Weights: gemm.NewMatrix(16, 128)}
	quanttest.Integers(p.Weights, 1)
	x := gemm.NewMatrix(512, 128)
	quanttest.Integers(x, 2)
	for i := range x.Rows {
		for j := 5; j < 128; j += 37 {
			x.Row(i)[j] *= 8
		}
	}
	a := quant.NewAccumulator(128)
	if err := a.Add(x); err != nil {
		t.Fatal(err)
	}
	var err error
	if p.Moments, err = a.Finish(); err != nil {
		t.Fatal(err)
	}
	rtn := solve.RTN{Format: quant.Format{Bits: 4, Affine: true, Group: 32}, Scale: grid.Scale{Rule: grid.AbsMax}}
	least := math.Inf(1)
	for i, want := range golden.AWQ {
		least = min(least, want)
		q, err := quantizeScaled(p, rtn, awqScales(p.Moments, float64(i)/20))
		if err != nil {
			t.Fatal(err)
		}
		quanttest.Near(t, "AWQ's loss", quanttest.Objective(p, q.Dequantize()), want, 1e-3)
	}
	quanttest.Near(t, "AWQ's least loss", quanttest.Objective(p, quanttest.Quantize(t, AWQ{rtn, rtn.Format}, p).Dequantize()), least, 1e-3)
}

// AutoAWQ's losses of the 20 candidates, the scales of the best, its rounding
// and, for symmetric grids, its clipping. (Affine grids are clipped in another
// way, see SearchClip.) Scales are half precision here.
func TestAWQPublished(t *testing.T) {
	x := quanttest.Drawn(512, 128, 2)
	for i := range x.Rows {
		for j := 5; j < 128; j += 37 {
			x.Row(i)[j] *= 8
		}
	}
	p := quant.Problem{Name: "golden", Weights: quanttest.Drawn(64, 128, 1), Moments: quanttest.MomentsOf(t, x)}
	cases := quanttest.ReadPublished(t).AWQ
	if len(cases) != 2 {
		t.Fatalf("%d cases, want 2", len(cases))
	}
	for _, c := range cases {
		f := quant.Format{Bits: 4, Affine: c.Affine, Group: 32}
		rtn := solve.RTN{Format: f, Scale: grid.Scale{Rule: grid.AbsMax}}
		if len(c.Losses) != 20 {
			t.Fatalf("%d losses, want 20", len(c.Losses))
		}
		best := 0
		for i, want := range c.Losses {
			q, err := quantizeScaled(p, rtn, awqScales(p.Moments, float64(i)/20))
			if err != nil {
				t.Fatal(err)
			}
			// Theirs is a mean over tokens and outputs, H twice a mean over tokens.
			quanttest.Near(t, fmt.Sprintf("%s: loss %d", f, i), quanttest.Objective(p, q.Dequantize())/2/64, want, 5e-3)
			if want < c.Losses[best] {
				best = i
			}
		}
		var scales []float32
		for _, s := range quanttest.Quantize(t, AWQ{rtn, f}, p).ChannelScales {
			scales = append(scales, half.FromF16(s))
		}
		if n := quanttest.Differing(t, scales, c.Scales, 1e-3); n > 0 || best == 0 {
			t.Errorf("%s: %d scales of the best of 20 differ, it is number %d", f, n, best)
		}
		if n := quanttest.Differing(t, quanttest.Quantize(t, rtn, p).Dequantize().Row(3), c.Row, 1e-3); n > 1 {
			t.Errorf("%s: %d of 128 rounded weights differ", f, n)
		}
		if len(c.Clip) != 64*4 {
			t.Fatalf("%s: %d thresholds, want 256", f, len(c.Clip))
		}
		if c.Affine {
			continue
		}
		clipped, differ := quanttest.Quantize(t, solve.RTN{Format: f, Scale: grid.Scale{Rule: grid.SearchClip}}, p).Base, 0
		for i, want := range c.Clip {
			if got := 7 * float64(half.FromF16(clipped.Scales[i])); !(math.Abs(got-want) <= 1e-3*want) {
				differ++
			}
		}
		if differ > 4 { // two candidates of nearly the same loss
			t.Errorf("%s: %d of 256 groups are clipped elsewhere", f, differ)
		}
	}
}
