package baseline

import (
	"slices"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// AdaDim groups the weights of a layer along K, within rows, or along N, within columns,
// where a strong input channel has scales of its own: whichever loses less at the output of
// the layer when weights are rounded to nearest (Heo et al. 2023, arXiv:2309.15531). With
// Loop, GPTQ then runs with groups of that kind: with scales found beforehand along rows,
// and along columns with those of the corrected weights of a column.
//
// Departures: the output is that of the layer, exact under H, where the authors look at
// the output of attention or of gate and up together on samples; grids span 0.
type AdaDim struct {
	Bits, Group int
	Scale       grid.Scale // AbsMax, SearchMSE or SearchHessian
	Loop        bool
	Damping     float64 // of Loop, and
	ActOrder    bool    // the order of columns, as solve.GPTQ has them
}

// Quantize implements quant.Quantizer.
func (q AdaDim) Quantize(p quant.Problem) (*quant.Quantized, error) {
	if q.Scale.Rule == grid.SearchClip {
		return nil, p.Errorf("scale rule %q does not exist for groups along columns", q.Scale.Rule)
	}
	f := quant.Format{Bits: q.Bits, Affine: true, Group: q.Group}
	if err := grid.Check(p, f, q.Scale, true); err != nil {
		return nil, err
	}
	rows, err := q.alongRows(p, solve.RTN{Format: f, Scale: q.Scale})
	if err != nil {
		return nil, err
	}
	columns, err := q.alongColumns(p)
	if err != nil {
		return nil, err
	}
	better := columns.out
	if quant.OutputError(p.Weights, rows, p.Moments) <= quant.OutputError(p.Weights, better, p.Moments) {
		better = rows
	}
	if !q.Loop {
		return better, nil
	}
	if better == rows {
		return q.alongRows(p, q.gptq())
	}
	return q.loopColumns(p, columns)
}

// gptq is the loop of groups along rows.
func (q AdaDim) gptq() solve.GPTQ {
	return solve.GPTQ{Format: quant.Format{Bits: q.Bits, Affine: true, Group: q.Group}, Scale: q.Scale,
		Damping: q.Damping, ActOrder: q.ActOrder}
}

// loopColumns runs GPTQ's loop with the groups c.
func (q AdaDim) loopColumns(p quant.Problem, c *columnGroups) (*quant.Quantized, error) {
	pass, err := q.gptq().Start(p)
	if err != nil {
		return nil, err
	}
	if err := pass.Strips(c.size, c.round); err != nil {
		return nil, err
	}
	out, err := c.store()
	if err != nil {
		return nil, err
	}
	out.Warnings = pass.Warnings
	return out, nil
}

// alongRows is m with groups along rows, in the form of AdaDim.
func (q AdaDim) alongRows(p quant.Problem, m quant.Quantizer) (*quant.Quantized, error) {
	out, err := m.Quantize(p)
	if err != nil {
		return nil, err
	}
	b := *out.Base
	b.Format.Kind, b.Tables = quant.AdaDim, []uint16{quant.AlongRows}
	out.Base = &b
	return out, nil
}

// columnGroups are groups along the columns of a matrix.
type columnGroups struct {
	problem quant.Problem
	fitter  grid.Fitter
	size    int
	groups  int // of a column
	codes   []uint8
	scales  []uint16 // [K, groups]
	zeros   []uint8
	out     *quant.Quantized
}

// alongColumns rounds W to nearest in groups along columns.
func (q AdaDim) alongColumns(p quant.Problem) (*columnGroups, error) {
	n, k := p.Weights.Dims()
	c := &columnGroups{problem: p, codes: make([]uint8, n*k)}
	c.fitter = grid.Fitter{Format: quant.Format{Bits: q.Bits, Affine: true, Group: q.Group}, Scale: q.Scale}
	if c.fitter.Scale.Rule == grid.SearchHessian { // all weights of a group have the same h
		c.fitter.Scale = grid.Scale{Rule: grid.SearchMSE, Norm: 2}
	}
	c.size, c.groups = c.fitter.Format.Groups(n)
	c.scales, c.zeros = make([]uint16, k*c.groups), make([]uint8, k*c.groups)
	for i := range c.groups {
		rows := min(c.size, n-i*c.size)
		x, hat := make([]float64, rows), make([]float64, rows)
		for col := range k {
			for r := range x {
				x[r] = float64(p.Weights.Row(i*c.size + r)[col])
			}
			if err := c.round(i, col, x, hat); err != nil {
				return nil, err
			}
		}
	}
	var err error
	c.out, err = c.store()
	return c, err
}

// round rounds group i of a column to a grid that is fitted to x.
func (c *columnGroups) round(i, col int, x, hat []float64) error {
	w := make([]float32, len(x))
	for r, v := range x {
		w[r] = float32(v)
	}
	g, err := c.fitter.Fit(w, nil, gemm.Matrix{}, nil)
	if err != nil {
		return c.problem.Errorf("column %d, group %d: %w", col, i, err)
	}
	c.scales[col*c.groups+i], c.zeros[col*c.groups+i] = g.Bits, uint8(g.Zero)
	for r, v := range x {
		u := g.Code(v)
		c.codes[(i*c.size+r)*c.problem.Weights.Cols+col], hat[r] = u, g.Value(u)
	}
	return nil
}

// store returns the matrix as it is stored.
func (c *columnGroups) store() (*quant.Quantized, error) {
	n, k := c.problem.Weights.Dims()
	f := c.fitter.Format
	f.Kind = quant.AdaDim
	base, err := quant.NewAdaDim(n, k, f, quant.AlongColumns, c.codes, slices.Clone(c.scales), c.zeros)
	if err != nil {
		return nil, c.problem.Errorf("%w", err)
	}
	return &quant.Quantized{Base: base}, nil
}
