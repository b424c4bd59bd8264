package grid

import (
	"math"

	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
)

// protective is the range of int8 rows for which (u-zero)·m never leaves int8, since m
// and the zero are rounded (QServe, Lin et al. 2024, arXiv:2405.04532, section 4.1).
const protective = 119

// spanQoQ notes the range of the group; its scale and zero depend on its row.
func spanQoQ(_ Fitter, g *Grid, lo, hi float64) error {
	g.Scale, g.lo = (hi-lo)/float64(g.Hi), lo
	g.Zero = 0
	if g.Scale > 0 {
		g.Zero = int(math.RoundToEven(-lo / g.Scale))
	}
	return nil
}

// qoq sets the step of each row, and whole multiples of it for its groups.
func qoq(_ Fitter, p quant.Problem, w quant.Matrix, grids []Grid, skip []bool) error {
	groups := len(grids) / w.Rows
	for i := range w.Rows {
		var m float32
		for k, v := range w.Row(i) {
			if skip == nil || !skip[i*w.Cols+k] {
				m = max(m, v, -v)
			}
		}
		step := half.FromF16(half.ToF16(m / protective))
		if math.IsInf(float64(step), 0) {
			return p.Errorf("row %d: step %g of its int8 weights exceeds half precision", i, m/protective)
		}
		for g := i * groups; g < (i+1)*groups; g++ {
			gr := &grids[g]
			gr.tensor = step
			if step == 0 {
				gr.Bits, gr.Scale, gr.Zero = 0, 0, 0
				continue
			}
			top := gr.Hi
			m := max(1, math.RoundToEven(gr.Scale/float64(step)))
			gr.Bits, gr.Scale = uint16(m), m*float64(step)
			gr.Zero = int(min(float64(top), math.RoundToEven(-gr.lo/gr.Scale)))
			// A corrected weight may lie beyond the range: its code must stay in int8 too.
			gr.Lo, gr.Hi = max(0, gr.Zero-127/int(m)), min(top, gr.Zero+127/int(m))
		}
	}
	return nil
}

// storableQoQ returns the multiple of the row's step that is nearest to s, at least one,
// and at most what keeps all codes in int8.
func storableQoQ(g *Grid, s float64) (uint16, float64) {
	if g.tensor == 0 { // until the row is known, or zeros
		return g.Bits, g.Scale
	}
	limit := 127 / max(1, g.Hi-g.Zero, g.Zero-g.Lo)
	m := max(1, min(float64(limit), math.RoundToEven(s/float64(g.tensor))))
	return uint16(m), m * float64(g.tensor)
}

func storeQoQ(p *quant.Packed, grids []Grid) {
	groups := len(grids) / p.N
	for i := range p.N {
		p.Second[i] = half.ToF16(grids[i*groups].tensor)
	}
}
