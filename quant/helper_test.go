package quant_test

import (
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/baseline"
	"github.com/mosaicquant/mosaicquant/quant/mosaic"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// laid returns Mosaic with 4-bit residuals chosen by delta, joint the joint residual on
// GPTQ as recommended, spqr SpQR on the same.
func laid(base solve.Dense, rows, cols int, density float64) mosaic.Mosaic {
	return mosaic.Mosaic{Base: base, Criterion: mosaic.CriterionDelta,
		Blocks: mosaic.Blocks{BlockRows: rows, BlockCols: cols, Density: density, Bits: 4}}
}

func joint(f quant.Format, rows, cols int, density float64) mosaic.Joint {
	g := solve.NewGPTQ(f)
	return mosaic.Joint{Format: f, Scale: g.Scale, Damping: g.Damping, ActOrder: g.ActOrder,
		Criterion: mosaic.CriterionDelta,
		Blocks:    mosaic.Blocks{BlockRows: rows, BlockCols: cols, Density: density, Bits: 4}}
}

func spqr(f quant.Format, share float64) baseline.SpQR {
	return baseline.SpQR{GPTQ: solve.NewGPTQ(f), Share: share}
}
