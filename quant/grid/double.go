package grid

import (
	"math"

	"github.com/mosaicquant/mosaicquant/quant"
)

// double rounds the scales of all fitted groups, row after row, as QLoRA's double
// quantization does: less their mean, to a level of dynamic times the largest
// magnitude of doubleBlock consecutive ones. Mean and magnitudes are float32.
func double(_ Fitter, p quant.Problem, _ quant.Matrix, grids []Grid, _ []bool) error {
	var sum float64
	for i := range grids {
		sum += grids[i].Scale
	}
	mean := float32(sum / float64(len(grids)))
	if mean-mean != 0 {
		return p.Errorf("mean scale %g exceeds float32", sum/float64(len(grids)))
	}
	for b := 0; b < len(grids); b += quant.DoubleBlock {
		block := grids[b:min(b+quant.DoubleBlock, len(grids))]
		var m float64
		for i := range block {
			m = max(m, math.Abs(block[i].Scale-float64(mean)))
		}
		for i := range block {
			g := &block[i]
			g.mean, g.tensor = mean, float32(m)
			g.Bits, g.Scale = storableDouble(g, g.Scale)
		}
	}
	return nil
}
