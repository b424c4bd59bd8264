package quant

import "fmt"

// RTN rounds every weight to the nearest code of its group: the baseline that
// looks at weights only, except for a SearchHessian scale, which needs moments.
type RTN struct {
	Format Format
	Scale  Scale
}

// Quantize implements Quantizer.
func (m RTN) Quantize(p Problem) (*Quantized, error) {
	if err := check(p, m.Format, m.Scale, false); err != nil {
		return nil, err
	}
	w := p.Weights
	grids, err := fitAll(p, w, fitter{format: m.Format, scale: m.Scale}, nil)
	if err != nil {
		return nil, err
	}
	codes := make([]uint8, w.Rows*w.Cols)
	size, count := m.Format.groups(w.Cols)
	parallel(w.Rows, func(i int) error {
		for k, v := range w.Row(i) {
			codes[i*w.Cols+k] = grids[i*count+k/size].code(float64(v))
		}
		return nil
	})
	return &Quantized{Base: packBase(w.Rows, w.Cols, m.Format, codes, grids)}, nil
}

// check reports what no method can work with: options that do not exist, an
// empty or non-finite matrix, K that fixed groups do not divide, moments that are
// missing where they are needed or belong to another width.
func check(p Problem, f Format, s Scale, moments bool) error {
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
		return p.errorf("empty weight matrix [%d,%d]", w.Rows, w.Cols)
	}
	if err := f.Fits(w.Cols); err != nil {
		return p.errorf("%w", err)
	}
	if m := p.Moments; m == nil {
		if moments || s.Rule == SearchHessian || s.Rule == SearchClip || f.Kind == Any4 && s.Rule == AbsMax {
			return p.errorf("needs second moments of the inputs, and has none")
		}
	} else {
		if m.K != w.Cols {
			return p.errorf("moments of K=%d for weights of K=%d", m.K, w.Cols)
		}
		if len(m.H) != m.K*m.K {
			return p.errorf("H has %d elements, want %d x %d", len(m.H), m.K, m.K)
		}
	}
	return parallel(w.Rows, func(i int) error {
		for k, v := range w.Row(i) {
			if v-v != 0 {
				return p.errorf("weight [%d,%d] is %g", i, k, v)
			}
		}
		return nil
	})
}

func (p Problem) errorf(format string, args ...any) error {
	return fmt.Errorf("quant: %s: "+format, append([]any{p.Name}, args...)...)
}

// diag returns h of the problem, or nil without moments.
func (p Problem) diag() []float64 {
	if p.Moments == nil {
		return nil
	}
	return p.Moments.Diag()
}

// fitAll fits the grids [N, groups] of all groups of w. skip [N*K], where not
// nil, marks weights that do not count.
func fitAll(p Problem, w Matrix, f fitter, skip []bool) ([]grid, error) {
	size, count := f.format.groups(w.Cols)
	h := p.diag()
	f = f.matrix(w, skip)
	var full Matrix
	if f.scale.Rule == SearchClip {
		full = p.Moments.float32()
	}
	grids := make([]grid, w.Rows*count)
	err := parallel(w.Rows, func(i int) error {
		row := w.Row(i)
		for g := range count {
			k0, k1 := g*size, min((g+1)*size, w.Cols)
			var hg []float64
			if h != nil {
				hg = h[k0:k1]
			}
			var block Matrix
			if full.Rows > 0 {
				block = full.View(k0, k1, k0, k1)
			}
			var sg []bool
			if skip != nil {
				sg = skip[i*w.Cols+k0 : i*w.Cols+k1]
			}
			var err error
			if grids[i*count+g], err = f.fit(row[k0:k1], hg, block, sg); err != nil {
				return p.errorf("row %d, group %d: %w", i, g, err)
			}
		}
		return nil
	})
	if err == nil {
		switch f.format.Kind {
		case Any4:
			err = f.any4Tables(p, w, grids, skip)
		case Bilevel:
			err = bilevel(p, w.Rows, grids)
		case NF4DQ:
			err = double(p, grids)
		}
	}
	return grids, err
}
