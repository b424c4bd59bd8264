package solve

import (
	"math"
	"testing"

	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
)

// What GPTQ leaves of RTN's output distortion, in both orders, at three levels
// of correlation (int4 g128, K=512). The bands are 0.05 around the ratios of an
// earlier simulation of the same size in numpy, whose correlated inputs were
// drawn in another way; white inputs gain too, as 2048 tokens of them correlate
// by chance.
func TestGPTQOverRTN(t *testing.T) {
	for _, c := range []struct{ shared, natural, act float64 }{
		{0, .879, .782}, {.78, .301, .256}, {.87, .202, .143},
	} {
		p := quanttest.FactorProblem(t, 64, 512, c.shared)
		lost := func(m quant.Quantizer) float64 {
			return quanttest.Objective(p, quanttest.Quantize(t, m, p).Dequantize())
		}
		m := NewGPTQ(quant.Int4(128))
		rtn := lost(RTN{m.Format, m.Scale})
		act := lost(m) / rtn
		m.ActOrder = false
		natural := lost(m) / rtn
		t.Logf("shared %.2f: natural order %.3f, act-order %.3f", c.shared, natural, act)
		if !(math.Abs(natural-c.natural) < .05) || !(math.Abs(act-c.act) < .05) {
			t.Errorf("shared %.2f: GPTQ over RTN %.3f in natural order, %.3f in act-order; want %.3f and %.3f to 0.05",
				c.shared, natural, act, c.natural, c.act)
		}
		if !(act < natural) {
			t.Errorf("shared %.2f: act-order %.3f is not below natural order %.3f", c.shared, act, natural)
		}
	}
}
