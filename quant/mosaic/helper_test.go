package mosaic

import (
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// laid returns Mosaic with 4-bit residuals chosen by delta, joint the joint residual on
// GPTQ as recommended.
func laid(base solve.Dense, rows, cols int, density float64) Mosaic {
	return Mosaic{Base: base, Criterion: CriterionDelta,
		Blocks: Blocks{BlockRows: rows, BlockCols: cols, Density: density, Bits: 4}}
}

func joint(f quant.Format, rows, cols int, density float64) Joint {
	return Joint{Format: f, Scale: absMax, Damping: .01, ActOrder: true, Criterion: CriterionDelta,
		Blocks: Blocks{BlockRows: rows, BlockCols: cols, Density: density, Bits: 4}}
}
