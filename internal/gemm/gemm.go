package gemm

import "fmt"

// MulNT sets y = x·wᵀ for x [M,K], w [N,K], y [M,N]. y must not alias x. w is
// read once for few rows of x, and once per some thousand rows otherwise.
func MulNT(y, x Matrix, w Source) {
	n, k := w.Dims()
	checkMatrix("MulNT: y", y)
	checkMatrix("MulNT: x", x)
	if m, ok := w.(Matrix); ok {
		checkMatrix("MulNT: w", m)
	}
	if x.Cols != k || y.Rows != x.Rows || y.Cols != n {
		panic(fmt.Sprintf("gemm: MulNT: y [%d,%d] = x [%d,%d] · w [%d,%d]ᵀ", y.Rows, y.Cols, x.Rows, x.Cols, n, k))
	}
	if y.Rows == 0 || y.Cols == 0 {
		return
	}
	if x.Rows <= active.fewRows {
		active.mulFewRows(y, x, w)
		return
	}
	active.multiply(1, rowsOf(x), rowsOf(w), 0, y)
}

// Gemm sets c = alpha·op(a)·op(b) + beta·c, op(m) being mᵀ when its flag is
// set. With beta = 0 the old content of c is ignored, NaN included. c must not
// alias a or b.
func Gemm(transA, transB bool, alpha float32, a, b Matrix, beta float32, c Matrix) {
	checkMatrix("Gemm: a", a)
	checkMatrix("Gemm: b", b)
	checkMatrix("Gemm: c", c)
	oa, ob := rowsOf(a), colsOf(b)
	if transA {
		oa = colsOf(a)
	}
	if transB {
		ob = rowsOf(b)
	}
	if oa.depth != ob.depth || c.Rows != oa.rows || c.Cols != ob.rows {
		panic(fmt.Sprintf("gemm: Gemm: c [%d,%d] = a [%d,%d] (transposed: %t) · b [%d,%d] (transposed: %t)",
			c.Rows, c.Cols, a.Rows, a.Cols, transA, b.Rows, b.Cols, transB))
	}
	if c.Rows == 0 || c.Cols == 0 {
		return
	}
	switch {
	case !transA && transB && alpha == 1 && beta == 0 && c.Rows <= active.fewRows:
		active.mulFewRows(c, a, b)
	case !transA && !transB && c.Rows <= axpyRows:
		scale(beta, c)
		for p := range b.Rows {
			for i := range c.Rows {
				Axpy(alpha*a.Row(i)[p], b.Row(p), c.Row(i))
			}
		}
	default:
		active.multiply(alpha, oa, ob, beta, c)
	}
}

// axpyRows is how many rows of c are better summed row by row of b than by
// tiles: attention to a cache has one, and packing b costs as much as using it.
const axpyRows = 2

// checkMatrix panics unless m.Data holds every element that m describes: from
// here on, pointers replace slices.
func checkMatrix(name string, m Matrix) {
	if m.Rows < 0 || m.Cols < 0 || m.Rows > 1 && m.Stride < m.Cols {
		panic(fmt.Sprintf("gemm: %s: %dx%d with stride %d", name, m.Rows, m.Cols, m.Stride))
	}
	if m.Rows == 0 || m.Cols == 0 {
		return
	}
	if need := (m.Rows-1)*m.Stride + m.Cols; len(m.Data) < need {
		panic(fmt.Sprintf("gemm: %s: %dx%d with stride %d needs %d floats, got %d",
			name, m.Rows, m.Cols, m.Stride, need, len(m.Data)))
	}
}
