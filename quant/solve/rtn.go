package solve

import (
	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
)

// Dense is a method that leaves a dense base and nothing beside it, on which
// others lay more: RTN or GPTQ.
type Dense interface {
	quant.Quantizer
	dense()
}

func (RTN) dense()  {}
func (GPTQ) dense() {}

// RTN rounds every weight to the nearest code of its group: the baseline that
// looks at weights only, except for a SearchHessian scale, which needs moments.
type RTN struct {
	Format quant.Format
	Scale  grid.Scale
}

// Quantize implements Quantizer.
func (m RTN) Quantize(p quant.Problem) (*quant.Quantized, error) {
	if err := grid.Check(p, m.Format, m.Scale, false); err != nil {
		return nil, err
	}
	w := p.Weights
	grids, err := grid.FitAll(p, w, grid.Fitter{Format: m.Format, Scale: m.Scale}, nil)
	if err != nil {
		return nil, err
	}
	codes := make([]uint8, w.Rows*w.Cols)
	size, count := m.Format.Groups(w.Cols)
	parallel.For(w.Rows, func(i int) error {
		for k, v := range w.Row(i) {
			codes[i*w.Cols+k] = grids[i*count+k/size].Code(float64(v))
		}
		return nil
	})
	return &quant.Quantized{Base: grid.Pack(w.Rows, w.Cols, m.Format, codes, grids)}, nil
}
