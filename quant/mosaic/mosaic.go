package mosaic

import (
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// Mosaic adds to a finished dense base Q(W) the quantized residual Q(R),
// R = W - Q(W), on the blocks that a criterion ranks highest (MosaicQuant,
// arXiv 2606.15652). Scores are not thresholded: the budget is spent to the last
// block, so that equal densities cost equal bits.
type Mosaic struct {
	Base solve.Dense
	Blocks
	Criterion Criterion
}

// check reports numbers out of range and what p lacks, and returns the blocks of p.
func (m Mosaic) check(p quant.Problem) (solve.Tiling, error) {
	if m.Base == nil || m.Criterion == nil {
		return solve.Tiling{}, p.Errorf("mosaic has no base or no criterion")
	}
	moments, heldOut := m.Criterion.needs()
	t, err := m.Blocks.check(p, moments)
	if err == nil && m.Index == quant.IndexExact && !m.Criterion.fixed() {
		err = p.Errorf("criterion %q has no scores of each block, which index exact needs", m.Criterion)
	}
	if err == nil && heldOut && (p.HeldOut == nil || p.HeldOut.K != p.Weights.Cols) {
		err = p.Errorf("criterion %q needs moments of held-out activations", m.Criterion)
	}
	return t, err
}

// Quantize implements Quantizer.
func (m Mosaic) Quantize(p quant.Problem) (*quant.Quantized, error) {
	t, err := m.check(p)
	if err != nil {
		return nil, err
	}
	q, err := m.Base.Quantize(p)
	if err != nil {
		return nil, err
	}
	count := m.Count(t.Count())
	if count == 0 {
		return q, nil
	}
	c, err := m.residualOn(p, t, q)
	if err != nil {
		return nil, err
	}
	kept := m.Criterion.choose
	if m.Index == quant.IndexExact {
		kept = func(c candidates, count int) []int { return m.largest(t, m.Criterion.single(c), count) }
	}
	q.Residual = m.gather(t, c.q, kept(c, count))
	return q, nil
}

// candidates returns the residual of p on all blocks.
func (m Mosaic) candidates(p quant.Problem) (c candidates, err error) {
	t, err := m.check(p)
	if err != nil {
		return c, err
	}
	base, err := m.Base.Quantize(p)
	if err != nil {
		return c, err
	}
	return m.residualOn(p, t, base)
}

// residualOn returns the residual of p on all blocks, for the base given.
func (m Mosaic) residualOn(p quant.Problem, t solve.Tiling, base *quant.Quantized) (candidates, error) {
	c := candidates{p: p, t: t, e: quant.Difference(p.Weights, base.Base), h: p.Diag()}
	err := m.checkBase(p, base.Base.Format)
	if err != nil {
		return c, err
	}
	c.q, err = m.residual(p, t, c.e, c.h, packedScales(base.Base))
	return c, err
}
