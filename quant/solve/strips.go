package solve

import (
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/quant"
)

// Strips is Run for methods that round v consecutive rows of a column together: round gets
// the corrected weights x of strip i, which begins at row i·v, in the column col of W, and
// sets hat to what they are stored as. Their errors go to later columns. Strips run in
// parallel, the columns of one in the order of the loop; the last strip may have fewer
// rows.
func (s *Pass) Strips(v int, round func(i, col int, x, hat []float64) error) error {
	n, k := s.Problem.Weights.Dims()
	v = min(v, n)
	w := s.ordered()
	errs := gemm.NewMatrix(n, min(k, blockColumns))
	for start := 0; start < k; start += blockColumns {
		end := min(start+blockColumns, k)
		width := end - start
		err := parallel.For(quant.CeilDiv(n, v), func(i int) error {
			rows := min(v, n-i*v)
			buf, x, hat := make([]float64, rows*width), make([]float64, rows), make([]float64, rows)
			for r := range rows {
				for j, value := range w.Row(i*v + r)[start:end] {
					buf[r*width+j] = float64(value)
				}
			}
			for j := range width {
				for r := range x {
					x[r] = buf[r*width+j]
				}
				if err := round(i, s.Order[start+j], x, hat); err != nil {
					return err
				}
				ur := s.U[(start+j)*k+start+j : (start+j)*k+end]
				for r := range x {
					e := (x[r] - hat[r]) / ur[0]
					rest := buf[r*width+j+1 : (r+1)*width]
					for t, u := range ur[1:] {
						rest[t] -= e * u
					}
					errs.Row(i*v + r)[j] = float32(e)
				}
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

// ordered returns the weights in the order of the loop.
func (s *Pass) ordered() quant.Matrix {
	w := gemm.NewMatrix(s.Problem.Weights.Dims())
	for i := range w.Rows {
		src, dst := s.Problem.Weights.Row(i), w.Row(i)
		for j, c := range s.Order {
			dst[j] = src[c]
		}
	}
	return w
}

// spread takes the errors [N, ≥ end-start] of the columns from start to end to all later
// columns of w.
func (s *Pass) spread(w, errs quant.Matrix, start, end int) {
	n, k := w.Dims()
	if end == k {
		return
	}
	u := gemm.NewMatrix(end-start, k-end)
	for j := range u.Rows {
		for t, x := range s.U[(start+j)*k+end : (start+j+1)*k] {
			u.Row(j)[t] = float32(x)
		}
	}
	gemm.Gemm(false, false, -1, errs.View(0, n, 0, end-start), u, 1, w.View(0, n, end, k))
}
