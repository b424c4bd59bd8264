package gemm

// MulNT sets y = x·wᵀ for x [M,K], w [N,K], y [M,N]. y must not alias x.
func MulNT(y, x Matrix, w Source) {
	n, k := w.Dims()
	row := NewMatrix(1, k)
	for j := range n {
		w.Load(row, j, 0)
		for i := range x.Rows {
			var s float32
			for p, v := range x.Row(i) {
				s += v * row.Data[p]
			}
			y.Row(i)[j] = s
		}
	}
}

// Gemm sets c = alpha·op(a)·op(b) + beta·c, op(m) being mᵀ when its flag is
// set. With beta = 0 the old content of c is ignored, NaN included.
func Gemm(transA, transB bool, alpha float32, a, b Matrix, beta float32, c Matrix) {
	at := func(m Matrix, t bool, i, j int) float32 {
		if t {
			i, j = j, i
		}
		return m.Data[i*m.Stride+j]
	}
	k := a.Cols
	if transA {
		k = a.Rows
	}
	for i := range c.Rows {
		for j := range c.Cols {
			var s float32
			for p := range k {
				s += at(a, transA, i, p) * at(b, transB, p, j)
			}
			if beta == 0 {
				c.Row(i)[j] = alpha * s
			} else {
				c.Row(i)[j] = alpha*s + beta*c.Row(i)[j]
			}
		}
	}
}

// Syrk adds xᵀ·x to the upper triangle of h [K,K], row-major float64, for
// x [M,K]: the second moments of M tokens. Products are summed in float32 over
// at most 256 tokens, then in float64.
func Syrk(h []float64, x Matrix) {
	k := x.Cols
	for t := range x.Rows {
		r := x.Row(t)
		for i := range k {
			for j := i; j < k; j++ {
				h[i*k+j] += float64(r[i]) * float64(r[j])
			}
		}
	}
}
