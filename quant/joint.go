package quant

import "math"

// joint quantizes base and residual together inside GPTQ's column loop: a
// weight of a kept block gets its base code, then a residual code for what is
// left, and only the final remainder is propagated. A residual added after
// GPTQ instead undoes part of the compensation that GPTQ built into the other
// columns, and can raise tr(E·H·Eᵀ).
//
// Blocks and residual scales come from a first pass that rounds W to nearest on
// the same base scales.
func (m Mosaic) joint(p Problem, f Format) (*Quantized, error) {
	base, ok := m.Base.(GPTQ)
	if !ok {
		return nil, p.errorf("joint residual needs a GPTQ base, got %T", m.Base)
	}
	if base.DynamicGroups {
		return nil, p.errorf("joint residual needs static groups: blocks are chosen before the loop")
	}
	s, err := base.start(p)
	if err != nil {
		return nil, err
	}
	if s.grids, err = fitAll(p, p.Weights, s.fitter, nil); err != nil {
		return nil, err
	}
	t := tiling{n: p.Weights.Rows, k: p.Weights.Cols, r: m.BlockRows, c: m.BlockCols}
	size, groups := base.Format.groups(t.k)
	e := p.Weights.Clone()
	for i := range t.n {
		row := e.Row(i)
		for j, w := range row {
			g := &s.grids[i*groups+j/size]
			row[j] = w - float32(g.value(g.code(float64(w))))
		}
	}
	res, err := m.residual(p, t, e, f)
	if err != nil {
		return nil, err
	}
	count := int(math.Round(m.Density * float64(t.count())))
	kept := m.choose(p, t, e, res, count)
	keep := make([]bool, t.count())
	for _, b := range kept {
		keep[b] = true
	}
	per := len(res.scales) / t.count()
	s.stored = func(row, col int, w float64, code *uint8) (float64, error) {
		v := s.grids[row*groups+col/size].value(*code)
		b := row/t.r*t.cols() + col/t.c
		if !keep[b] {
			return v, nil
		}
		at := b * per
		if m.RowScales {
			at += row % t.r
		}
		g := grid{scale: float64(fromF16(res.scales[at])), zero: f.offset(), lo: f.lowest(), hi: f.highest()}
		u := g.code(w - v)
		res.codes[row*t.k+col] = u
		return v + g.value(u), nil
	}
	if err := s.run(); err != nil {
		return nil, err
	}
	q := &Quantized{Base: s.pack(), Warnings: s.warnings}
	if count > 0 {
		q.Residual = t.gather(res, kept, m)
	}
	return q, nil
}
