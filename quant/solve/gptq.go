package solve

import (
	"fmt"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
)

// GPTQ quantizes W [N,K] column by column, spreading each column's rounding
// error over later columns through the inverse Hessian (Frantar et al. 2022,
// arXiv:2210.17323, Algorithm 1). If damping cannot make H positive definite
// the error is ErrSingular; it never falls back to RTN.
//
// Departures: scales are half precision; the weights of dead channels (h = 0)
// are rounded to nearest instead of set to zero, and do not count in the mean of
// h that damping is a share of; symmetric grids are those of Format, of 15 levels
// where the authors have 16; and dynamic groups see every
// update made before them, where the authors' code looks at weights that lack
// the updates of the running block of 128 columns.
type GPTQ struct {
	Format  quant.Format
	Scale   grid.Scale
	Damping float64 // added to the diagonal of H, as a share of its mean
	// ActOrder takes columns by descending h. Groups stay contiguous in W, so
	// their scales must be static.
	ActOrder bool
	// DynamicGroups fits the scale of a group when the loop reaches it, on
	// weights already corrected; else all scales come from W beforehand.
	DynamicGroups bool
	// Refine is a number of rounds of coordinate descent over codes and scales
	// of the result.
	Refine int
}

// NewGPTQ returns GPTQ as recommended: act-order, static groups, damping 0.01.
func NewGPTQ(f quant.Format) GPTQ {
	return GPTQ{Format: f, Scale: grid.Scale{Rule: grid.AbsMax}, Damping: 0.01, ActOrder: true}
}

// Quantize implements Quantizer.
func (m GPTQ) Quantize(p quant.Problem) (*quant.Quantized, error) {
	pass, err := m.Start(p)
	if err != nil {
		return nil, err
	}
	if m.DynamicGroups {
		pass.Fitter = pass.Fitter.ForMatrix(p.Weights, nil)
	} else {
		if pass.Grids, err = grid.FitAll(p, p.Weights, pass.Fitter, nil); err != nil {
			return nil, err
		}
	}
	if err := pass.Run(); err != nil {
		return nil, err
	}
	pass.Refine(m.Refine, nil)
	return &quant.Quantized{Base: pass.Pack(), Warnings: pass.Warnings}, nil
}

// Pass is one run of GPTQ's column loop.
type Pass struct {
	Problem  quant.Problem
	Fitter   grid.Fitter
	dynamic  bool
	Order    []int       // order[i] is the column of W that comes i-th
	U        []float64   // [K,K] upper: H⁻¹ = UᵀU in that order
	Grids    []grid.Grid // [N, groups] of the base
	codes    []uint8     // [N,K] of the base
	Warnings []string
	// Stored, where not nil, decides what a weight is stored as: it gets the
	// corrected weight w at [row,col] and the base's code for it, may change
	// that code, and returns the stored value, whose error is then propagated.
	Stored func(row, col int, w float64, code *uint8) (float64, error)
}

// Start validates p and factors H.
func (m GPTQ) Start(p quant.Problem) (*Pass, error) {
	if err := grid.Check(p, m.Format, m.Scale, true); err != nil {
		return nil, err
	}
	if !(m.Damping >= 0 && m.Damping < 1e6) {
		return nil, p.Errorf("damping %g is not a share of mean h", m.Damping)
	}
	if m.Refine < 0 {
		return nil, p.Errorf("%d rounds of refinement", m.Refine)
	}
	if m.ActOrder && m.DynamicGroups {
		return nil, p.Errorf("act-order needs static groups: dynamic ones would not be contiguous")
	}
	if m.DynamicGroups && grid.Together(m.Format) {
		return nil, p.Errorf("%s needs static groups: what rows or groups share is found beforehand", m.Format)
	}
	if m.DynamicGroups && m.Scale.Rule == grid.SearchClip {
		return nil, p.Errorf("scale rule %q needs static groups", grid.SearchClip)
	}
	k := p.Weights.Cols
	f, err := factorOf(p.Moments, m.Damping, m.ActOrder)
	if err != nil {
		return nil, p.Errorf("%w", err)
	}
	_, groups := m.Format.Groups(k)
	s := &Pass{Problem: p, Fitter: grid.Fitter{Format: m.Format, Scale: m.Scale}, dynamic: m.DynamicGroups,
		Order: f.order, U: f.u, codes: make([]uint8, p.Weights.Rows*k)}
	if m.DynamicGroups {
		s.Grids = make([]grid.Grid, p.Weights.Rows*groups)
	}
	if f.dead > 0 {
		s.Warnings = append(s.Warnings,
			fmt.Sprintf("%s: %d of %d channels are dead (h = 0) and were rounded to nearest", p.Name, f.dead, k))
	}
	return s, nil
}

// blockColumns is the number of columns after which the rest of W is updated
// by one matrix product ("lazy batch updates").
const blockColumns = 128

// Run quantizes all columns. Rows are independent, and run in parallel.
func (s *Pass) Run() error {
	n, k := s.Problem.Weights.Dims()
	size, groups := s.Fitter.Format.Groups(k)
	h := s.Problem.Diag()
	w := s.ordered() // corrected as the loop goes on
	errs := gemm.NewMatrix(n, min(k, blockColumns))
	for start, end := 0, 0; start < k; start = end {
		end = min(start+blockColumns, k)
		if s.dynamic && end < k && end%size != 0 && end/size*size > start {
			// A group must not begin inside a block that ends before the group
			// does: its later columns would lack the updates of this block.
			end = end / size * size
		}
		width := end - start
		err := parallel.For(n, func(i int) error {
			var buf [blockColumns]float64
			row := w.Row(i)
			for j := range width {
				buf[j] = float64(row[start+j])
			}
			for j := range width {
				col := s.Order[start+j]
				g := col / size
				if s.dynamic && col%size == 0 {
					// Natural order: the group is the columns from here on.
					group := row[start+j : min(start+j+size, k)]
					for t := j; t < min(width, j+size); t++ {
						row[start+t] = float32(buf[t])
					}
					var err error
					if s.Grids[i*groups+g], err = s.Fitter.Fit(group, h[col:col+len(group)], quant.Matrix{}, nil); err != nil {
						return s.Problem.Errorf("row %d, group %d: %w", i, g, err)
					}
				}
				gr := &s.Grids[i*groups+g]
				code := &s.codes[i*k+col]
				*code = gr.Code(buf[j])
				v := gr.Value(*code)
				if s.Stored != nil {
					var err error
					if v, err = s.Stored(i, col, buf[j], code); err != nil {
						return err
					}
				}
				ur := s.U[(start+j)*k+start+j : (start+j)*k+end]
				e := (buf[j] - v) / ur[0]
				rest := buf[j+1 : width]
				for t, x := range ur[1:] {
					rest[t] -= e * x
				}
				errs.Row(i)[j] = float32(e)
			}
			return nil
		})
		if err != nil {
			return err
		}
		s.spread(w, errs, start, end)
	}
	return nil
}

// Pack returns the base as stored.
func (s *Pass) Pack() *quant.Packed {
	n, k := s.Problem.Weights.Dims()
	return grid.Pack(n, k, s.Fitter.Format, s.codes, s.Grids)
}

// Lambda returns 1/U_jj² by column of W: what the square of an error at j adds
// to the loss of GPTQ's loop.
func (s *Pass) Lambda() []float64 {
	k := len(s.Order)
	l := make([]float64, k)
	for i, col := range s.Order {
		l[col] = 1 / (s.U[i*k+i] * s.U[i*k+i])
	}
	return l
}
