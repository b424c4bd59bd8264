package grad

import (
	"math"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/llm"
)

// The steps between matrix products, and their derivatives.

// times sets y = x·Wᵀ + b.
func (m matrix) times(y, x gemm.Matrix) {
	gemm.MulNT(y, x, m.weights)
	if m.bias == nil {
		return
	}
	rangesOf(y, func(i0, i1 int) {
		for i := i0; i < i1; i++ {
			gemm.Axpy(1, m.bias, y.Row(i))
		}
	})
}

// add sets x += y.
func add(x, y gemm.Matrix) {
	rangesOf(x, func(i0, i1 int) {
		for i := i0; i < i1; i++ {
			gemm.Axpy(1, y.Row(i), x.Row(i))
		}
	})
}

// copyColumns copies the first columns of src into dst.
func copyColumns(dst, src gemm.Matrix) {
	for i := range dst.Rows {
		copy(dst.Row(i), src.Row(i))
	}
}

// sigmoid sets dst = 1/(1+exp(-x)).
func sigmoid(dst, x []float32) {
	for j, v := range x {
		dst[j] = -v
	}
	llm.Exp(dst, 0)
	for j, v := range dst {
		dst[j] = 1 / (1 + v)
	}
}

// inverseRMS returns 1/sqrt(mean(x²)+eps).
func inverseRMS(x []float32, eps float32) float32 {
	return float32(1 / math.Sqrt(float64(gemm.Dot(x, x)/float32(len(x))+eps)))
}

// norm sets dst to the rows of x over their root mean squares: an RMSNorm without gain.
func (n *Net) norm(dst, x gemm.Matrix) {
	rangesOf(x, func(i0, i1 int) {
		for i := i0; i < i1; i++ {
			s := inverseRMS(x.Row(i), n.eps)
			to := dst.Row(i)
			for j, v := range x.Row(i) {
				to[j] = v * s
			}
		}
	})
}

// addNorm adds to dx the gradient that dn, that of the normed rows of x, gives x; with
// set it takes the place of what dx holds.
func (n *Net) addNorm(dx, x, dn gemm.Matrix, set bool) {
	rangesOf(x, func(i0, i1 int) {
		for i := i0; i < i1; i++ {
			if set {
				clear(dx.Row(i))
			}
			normBack(dx.Row(i), x.Row(i), dn.Row(i), n.eps)
		}
	})
}

// normBack adds the gradient of x to dx: with n = s·x, s·(dn - n·mean(dn·n)).
func normBack(dx, x, dn []float32, eps float32) {
	s := inverseRMS(x, eps)
	mean := s * s * s * gemm.Dot(dn, x) / float32(len(x))
	for j, v := range dn {
		dx[j] += s*v - mean*x[j]
	}
}

// place gives the queries and keys of a token [Q+KV] their norms (Qwen3) and turns them
// by the row cs of cosines and sines of its position.
func (n *Net) place(w *layer, x, cs []float32) {
	d, half := n.headDim, n.headDim/2
	for at := 0; at < len(x); at += d {
		head := x[at : at+d]
		if gain := n.gain(w, at); gain != nil {
			s := inverseRMS(head, n.eps)
			for j, v := range head {
				head[j] = gain[j] * (v * s)
			}
		}
		for j := range half {
			u, v := head[j], head[half+j]
			head[j] = u*cs[j] - v*cs[half+j]
			head[half+j] = v*cs[j] + u*cs[half+j]
		}
	}
}

// placeBack replaces the gradient dx of what place gives by that of raw, what it took.
func (n *Net) placeBack(w *layer, dx, raw, cs []float32) {
	d, half := n.headDim, n.headDim/2
	dn := make([]float32, d)
	for at := 0; at < len(dx); at += d {
		head := dx[at : at+d]
		for j := range half {
			u, v := head[j], head[half+j]
			head[j] = u*cs[j] + v*cs[half+j]
			head[half+j] = v*cs[j] - u*cs[half+j]
		}
		if gain := n.gain(w, at); gain != nil {
			for j, v := range head {
				dn[j] = v * gain[j]
			}
			clear(head)
			normBack(head, raw[at:at+d], dn, n.eps)
		}
	}
}

// gain is that of the norm of the head at channel at of queries and keys, nil for none.
func (n *Net) gain(w *layer, at int) []float32 {
	if at < n.q {
		return w.qNorm
	}
	return w.kNorm
}
