package grid

import (
	"fmt"

	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/quant"
)

// Check reports what no method can work with: options that do not exist, an
// empty or non-finite matrix, K that fixed groups do not divide, moments that are
// missing where they are needed or belong to another width.
func Check(p quant.Problem, f quant.Format, s Scale, moments bool) error {
	if err := f.Validate(); err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	if err := s.Validate(); err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	if err := s.of(f); err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	w := p.Weights
	if w.Rows < 1 || w.Cols < 1 {
		return p.Errorf("empty weight matrix [%d,%d]", w.Rows, w.Cols)
	}
	if err := f.Fits(w.Cols); err != nil {
		return p.Errorf("%w", err)
	}
	if m := p.Moments; m == nil {
		if moments || s.Rule == SearchHessian || s.Rule == SearchClip || RowLevels(f) && s.Rule == AbsMax {
			return p.Errorf("needs second moments of the inputs, and has none")
		}
	} else {
		if m.K != w.Cols {
			return p.Errorf("moments of K=%d for weights of K=%d", m.K, w.Cols)
		}
		if len(m.H) != m.K*m.K {
			return p.Errorf("H has %d elements, want %d x %d", len(m.H), m.K, m.K)
		}
	}
	return parallel.For(w.Rows, func(i int) error {
		for k, v := range w.Row(i) {
			if v-v != 0 {
				return p.Errorf("weight [%d,%d] is %g", i, k, v)
			}
		}
		return nil
	})
}
