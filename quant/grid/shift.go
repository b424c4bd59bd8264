package grid

import (
	"math"
	"math/bits"

	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
)

// spanShift notes the largest weight of a group of SDR4 until its row is known.
func spanShift(_ Fitter, g *Grid, lo, hi float64) error {
	g.Lo, g.Scale = 1, max(-lo, hi)/7
	return nil
}

// shift sets the step of each row, and shifts of it for its groups.
func shift(_ Fitter, p quant.Problem, w quant.Matrix, grids []Grid, _ []bool) error {
	groups := len(grids) / w.Rows
	for i := range w.Rows {
		row := grids[i*groups : (i+1)*groups]
		var m float64
		for g := range row {
			m = max(m, 7*row[g].Scale)
		}
		step := half.FromF16(half.ToF16(float32(m / 127)))
		if math.IsInf(float64(step), 0) {
			return p.Errorf("row %d: step %g of its int8 weights exceeds half precision", i, m/127)
		}
		for g := range row {
			gr := &row[g]
			gr.tensor = step
			if step == 0 {
				gr.Bits, gr.Scale = 0, 0
				continue
			}
			whole := min(127, math.RoundToEven(7*gr.Scale/float64(step)))
			gr.Bits = uint16(max(0, bits.Len(uint(whole))-3))
			gr.Scale = float64(step) * float64(int(1)<<gr.Bits)
		}
	}
	return nil
}
