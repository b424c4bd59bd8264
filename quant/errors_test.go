package quant_test

import (
	"math"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/baseline"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/mosaic"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

func TestRefineErrors(t *testing.T) {
	p := quanttest.Problem(t, 4, 32, 1)
	negative, refined := solve.NewGPTQ(quant.Int4(32)), solve.NewGPTQ(quant.Int4(32))
	negative.Refine, refined.Refine = -1, 1
	together, none := joint(quant.Int4(32), 4, 4, .5), joint(quant.Int4(32), 4, 4, .5)
	together.Refine, none.Criterion = -2, nil
	for _, c := range []struct {
		m    quant.Quantizer
		want string
	}{
		{negative, "layer: -1 rounds"}, {together, "layer: -2 rounds"}, {none, "layer: joint residual has no criterion"},
		{mosaic.Mosaic{Base: refined}, "layer: mosaic has no base or no criterion"},
		{baseline.SpQR{GPTQ: refined, Share: .1}, "layer: SpQR has no rounds"},
	} {
		if _, err := c.m.Quantize(p); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

func TestErrorsNameLayerAndValue(t *testing.T) {
	rtn := solve.RTN{Format: quant.Int4(32), Scale: grid.Scale{Rule: grid.AbsMax}}
	nan := quanttest.Problem(t, 2, 32, 1)
	nan.Weights.Row(1)[3] = float32(math.NaN())
	huge := quanttest.Problem(t, 2, 32, 1)
	huge.Weights.Row(1)[3] = 1e6
	narrow := quanttest.Problem(t, 2, 32, 1)
	narrow.Weights = gemm.NewMatrix(2, 64)
	none := quanttest.Problem(t, 2, 32, 1)
	none.Moments = nil
	empty := none
	empty.Weights = quant.Matrix{}
	for _, c := range []struct {
		m    quant.Quantizer
		p    quant.Problem
		want string
	}{
		{rtn, nan, "layer: weight [1,3] is NaN"},
		{rtn, huge, "layer: row 1, group 0: scale 142857"},
		{rtn, narrow, "layer: moments of K=32 for weights of K=64"},
		{rtn, empty, "layer: empty weight matrix [0,0]"},
		{solve.RTN{Format: quant.Format{Bits: 4, Group: 32, Kind: quant.MXFP4}, Scale: grid.Scale{Rule: grid.AbsMax}}, quanttest.Problem(t, 2, 40, 1), "layer: K=40 not divisible by group 32"},
		{solve.RTN{Format: quant.Int4(32), Scale: grid.Scale{Rule: grid.SearchHessian}}, none, "layer: needs second moments"},
		{solve.RTN{Format: quant.Int4(32), Scale: grid.Scale{}}, none, "unknown scale rule"},
		{solve.NewGPTQ(quant.Int4(32)), none, "layer: needs second moments"},
		{laid(rtn, 4, 4, 1.5), quanttest.Problem(t, 2, 32, 1), "layer: residual density 1.5"},
		{spqr(quant.Int4(32), math.NaN()), quanttest.Problem(t, 2, 32, 1), "layer: outlier share NaN"},
	} {
		if _, err := c.m.Quantize(c.p); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}
