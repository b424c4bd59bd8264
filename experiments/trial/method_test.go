package trial

import (
	"reflect"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/baseline"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/mosaic"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// What a line of a sweep file becomes, defaults included.
func TestQuantizer(t *testing.T) {
	absmax := grid.Scale{Rule: grid.AbsMax}
	gptq := solve.NewGPTQ(quant.Int4(128))
	natural := solve.GPTQ{Format: quant.Format{Bits: 3, Group: 64}, Scale: grid.Scale{Rule: grid.SearchMSE, Norm: 2}, Damping: .05, DynamicGroups: true}
	refined := gptq
	refined.Refine = 3
	rtn := solve.RTN{Format: quant.Int4(128), Scale: absmax}
	affine := quant.Format{Bits: 4, Affine: true, Group: 32}
	rows := gptq
	rows.Format.Group = 0
	paper := mosaic.Mosaic{Base: rtn, Criterion: mosaic.CriterionDelta,
		Blocks: mosaic.Blocks{BlockRows: 16, BlockCols: 64, Density: .1, Bits: 4}}
	other := mosaic.Joint{Format: gptq.Format, Scale: absmax, Damping: .01, ActOrder: true,
		Criterion: mosaic.CriterionRelief, AllPairs: true, Refine: 2,
		Blocks: mosaic.Blocks{BlockCols: 1, Density: .05, Bits: 2, ResidualScale: mosaic.PerRow}}
	tied := other
	tied.ResidualScale, tied.AllPairs = mosaic.Tied, false
	for line, want := range map[string]quant.Quantizer{
		"method: rtn":  rtn,
		"method: gptq": gptq,
		"method: gptq, format: int3, group: 64, scale: mse, damp: 0.05, order: natural, groups: dynamic": natural,
		"method: gptq, refine: 3": refined,
		"method: rtn, format: int4a, group: 32, awq: true, scale: clip": baseline.AWQ{Method: solve.RTN{Format: affine, Scale: grid.Scale{Rule: grid.SearchClip}}, Format: affine},
		"method: spqr, outliers: 1%":                                    baseline.SpQR{GPTQ: gptq, Share: .01},
		"method: mosaic, density: 10%":                                  paper,
		"method: mosaic, density: 5%, base: gptq, block: Nx1, criterion: relief, residual_bits: 2, residual_scale: row, joint: true, refine: 2":               other,
		"method: mosaic, density: 5%, base: gptq, block: Nx1, criterion: relief, residual_bits: 2, residual_scale: base, joint: true, pairs: near, refine: 2": tied,
		"method: quik, columns: 5%, group: row":                            baseline.Mixed{Base: rows, Score: baseline.ByAbsMax, Share: .05, Bits: 16, Int8Down: true},
		"method: quik, columns: 5%, group: row, int8_down: false":          baseline.Mixed{Base: rows, Score: baseline.ByAbsMax, Share: .05, Bits: 16},
		"method: atom, columns: 50%":                                       baseline.Mixed{Base: gptq, Score: baseline.ByEnergy, Share: .5, Bits: 8, Reorder: true},
		"method: llmint8":                                                  baseline.Mixed{Base: solve.RTN{Format: quant.Format{Bits: 8}, Scale: absmax}, Score: baseline.ByAbsMax, Threshold: 6, Bits: 16},
		"method: svdquant, rank: 8, base: gptq, svd_rounds: 4, group: 128": baseline.SVDQuant{Base: gptq, Rank: 8, Smooth: true, Rounds: 4},
	} {
		sw, err := plan.Parse("x.yaml", []byte("name: x\nmodel: m\nprotocol: {text: t, context: 64, stride: 64, bos: true}\ncalibration: {text: t, tokens: 64}\nmethods:\n  - {"+line+"}\n"))
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if len(sw.Trials) != 1 {
			t.Errorf("%s: %d trials", line, len(sw.Trials))
			continue
		}
		got, err := sw.Trials[0].Method.Quantizer()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %#v, %v\nwant %#v", line, got, err, want)
		}
	}
}
