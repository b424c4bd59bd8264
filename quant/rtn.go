package quant

import (
	"fmt"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// RTN rounds every weight to the nearest code of its group: the baseline that
// looks at weights only, except for a SearchHessian scale, which needs moments.
type RTN struct {
	Format Format
	Scale  Scale
}

// Quantize implements Quantizer.
func (m RTN) Quantize(p Problem) (*Quantized, error) {
	if err := p.check(m.Format, m.Scale, false); err != nil {
		return nil, err
	}
	grids, err := fitAll(p, p.Weights, fitter{m.Format, m.Scale}, nil)
	if err != nil {
		return nil, err
	}
	base := newPacked(p.Weights.Rows, p.Weights.Cols, m.Format)
	parallel(base.N, func(i int) error {
		codes := make([]uint8, base.K)
		size, count := m.Format.groups(base.K)
		row := p.Weights.Row(i)
		for g := range count {
			grid := &grids[i*count+g]
			for k := g * size; k < (g+1)*size; k++ {
				codes[k] = grid.code(float64(row[k]))
			}
		}
		base.setRow(i, codes, grids[i*count:(i+1)*count])
		return nil
	})
	return &Quantized{Base: base}, nil
}

// check reports what no method can work with: options that do not exist, an
// empty or non-finite matrix, K that the groups do not divide, moments that are
// missing where they are needed or belong to another width.
func (p Problem) check(f Format, s Scale, moments bool) error {
	if err := f.Validate(); err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	if err := s.Validate(); err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	w := p.Weights
	if w.Rows < 1 || w.Cols < 1 {
		return p.errorf("empty weight matrix [%d,%d]", w.Rows, w.Cols)
	}
	if err := f.fits(w.Cols); err != nil {
		return p.errorf("%w", err)
	}
	if m := p.Moments; m == nil {
		if moments || s.Rule == SearchHessian {
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
func fitAll(p Problem, w gemm.Matrix, f fitter, skip []bool) ([]grid, error) {
	size, count := f.format.groups(w.Cols)
	h := p.diag()
	grids := make([]grid, w.Rows*count)
	err := parallel(w.Rows, func(i int) error {
		row := w.Row(i)
		for g := range count {
			k0, k1 := g*size, (g+1)*size
			var hg []float64
			if h != nil {
				hg = h[k0:k1]
			}
			var sg []bool
			if skip != nil {
				sg = skip[i*w.Cols+k0 : i*w.Cols+k1]
			}
			var err error
			if grids[i*count+g], err = f.fit(row[k0:k1], hg, sg); err != nil {
				return p.errorf("row %d, group %d: %w", i, g, err)
			}
		}
		return nil
	})
	return grids, err
}

// newPacked allocates a zero Packed.
func newPacked(n, k int, f Format) *Packed {
	_, groups := f.groups(k)
	p := &Packed{N: n, K: k, Format: f,
		Codes:  make([]byte, n*packedLen(k, f.Bits)),
		Scales: make([]uint16, n*groups)}
	if f.Affine {
		p.Zeros = make([]byte, n*packedLen(groups, f.Bits))
	}
	return p
}

// setRow stores row i: codes [K] and its grids [groups].
func (p *Packed) setRow(i int, codes []uint8, grids []grid) {
	n := packedLen(p.K, p.Format.Bits)
	packBits(p.Codes[i*n:(i+1)*n], codes, p.Format.Bits)
	zeros := make([]uint8, len(grids))
	for g := range grids {
		p.Scales[i*len(grids)+g] = grids[g].bits
		zeros[g] = uint8(grids[g].zero)
	}
	if p.Format.Affine {
		n = packedLen(len(grids), p.Format.Bits)
		packBits(p.Zeros[i*n:(i+1)*n], zeros, p.Format.Bits)
	}
}
