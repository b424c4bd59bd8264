package solve

import (
	"fmt"
	"math"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
)

// Scales and values of torchao, to the last bit but for one rounding of a
// product in float32.
func TestMicroscalingPublished(t *testing.T) {
	w := quanttest.Drawn(6, 128, 7)
	for i := range w.Rows {
		for j := range w.Cols {
			w.Row(i)[j] *= float32(math.Exp2(float64(3 - i)))
		}
	}
	clear(w.Row(1)[32:64])
	w.Row(2)[5] = 61
	golden := quanttest.ReadPublished(t).Microscaling
	for name, m := range map[string]RTN{
		"mxfp4 floor": {quant.Format{Bits: 4, Group: 32, Kind: quant.MXFP4}, grid.Scale{Rule: grid.AbsMax}},
		"mxfp4 rceil": {quant.Format{Bits: 4, Group: 32, Kind: quant.MXFP4}, grid.Scale{Rule: grid.Ceil}},
		"nvfp4":       {quant.Format{Bits: 4, Group: 16, Kind: quant.NVFP4}, grid.Scale{Rule: grid.AbsMax}},
	} {
		q, want := quanttest.Quantize(t, m, quant.Problem{Name: "golden", Weights: w}), golden[name]
		if len(want.Scales) != len(q.Base.ScaleBytes) {
			t.Fatalf("%s: %d scales, want %d", name, len(q.Base.ScaleBytes), len(want.Scales))
		}
		for i, b := range q.Base.ScaleBytes {
			got := float64(b)
			if m.Format.Kind == quant.NVFP4 {
				if got = half.FromE4M3(b); b == 0 && want.Scales[i] <= 0x1p-6 {
					continue // of a zero block, where torchao keeps the smallest normal scale
				}
			}
			if got != want.Scales[i] {
				t.Errorf("%s: scale %d is %g, want %g", name, i, got, want.Scales[i])
			}
		}
		if n := quanttest.Differing(t, q.Dequantize().Data, want.Values, 2e-7); n > 0 {
			t.Errorf("%s: %d values differ", name, n)
		}
	}
}

// AutoGPTQ, which has the authors' loop: the same weights but where a rounding
// falls the other way and moves all that follow it.
func TestGPTQPublished(t *testing.T) {
	p := quanttest.Correlated(t)
	cases := quanttest.ReadPublished(t).GPTQ
	if len(cases) != 4 {
		t.Fatalf("%d cases, want 4", len(cases))
	}
	for _, c := range cases {
		m := GPTQ{Format: quant.Format{Bits: 4, Affine: true, Group: c.Group}, Scale: grid.Scale{Rule: grid.AbsMax}, Damping: .01, ActOrder: c.ActOrder, DynamicGroups: c.Dynamic}
		w := quanttest.Quantize(t, m, p).Dequantize()
		name := fmt.Sprintf("g%d act=%v dynamic=%v", c.Group, c.ActOrder, c.Dynamic)
		quanttest.Near(t, name, quanttest.Objective(p, w), c.Objective, 2e-3)
		n := quanttest.Differing(t, w.Row(3), c.Row, 1e-6)
		t.Logf("%s: %d of 256 weights differ", name, n)
		if n > 8 {
			t.Errorf("%s: %d of 256 weights differ", name, n)
		}
	}
}

// bitsandbytes' rows of LLM.int8(): the same codes but at ties, which scales in
// half precision move.
func TestInt8Published(t *testing.T) {
	golden := quanttest.ReadPublished(t).Int8
	w := quanttest.Drawn(4, 64, 21)
	q := quanttest.Quantize(t, RTN{quant.Format{Bits: 8}, grid.Scale{Rule: grid.AbsMax}}, quant.Problem{Name: "golden", Weights: w}).Base
	differ := 0
	for i, want := range golden.Codes {
		if got := float64(q.Codes[i]) - 128; got != want {
			differ++
		}
	}
	if differ > 2 || len(golden.Codes) != 4*64 {
		t.Errorf("%d of %d codes differ", differ, len(golden.Codes))
	}
	for i, want := range golden.Largest {
		quanttest.Near(t, "largest weight", 127*float64(half.FromF16(q.Scales[i])), want, 5e-4)
	}
}
