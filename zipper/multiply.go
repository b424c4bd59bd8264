package zipper

import (
	"fmt"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// taskBytes is how much of a stream one task reads: long enough to be a
// sequential read, short enough that no goroutine waits long for another. A
// short stream is cut into tasksEach for every goroutine.
const (
	taskBytes = 128 << 10
	tasksEach = 4
	// With manyTokens, which are read from the L3 cache for every task, a task is
	// a prefillTask: half of an L2 cache.
	manyTokens  = 64
	prefillTask = 512 << 10
)

// MulNT sets y [M,N] = Q(x)·Ŵᵀ for x [M,K], Q being the rounding of
// w.Activations. A token with a value that is not finite gives NaN where Q has one
// scale per token, and whatever float32 arithmetic gives otherwise. y must not
// overlap x.
//
// W is read from memory once, and multiplied by up to 8 tokens at a time; for more
// tokens it is read again from the cache.
//
// The result does not depend on the number of goroutines; with quantized
// activations, neither on the kernel nor on the other tokens.
func (w *Weights) MulNT(y, x gemm.Matrix) {
	if x.Cols != w.k || y.Cols != w.n || x.Rows != y.Rows {
		panic(fmt.Sprintf("zipper: y is %dx%d for x %dx%d and weights %dx%d", y.Rows, y.Cols, x.Rows, x.Cols, w.n, w.k))
	}
	if x.Rows == 0 {
		return
	}
	k := active
	a := w.newActivations(k, x)
	w.main.multiply(k.panels[w.scheme], y, a, false)
	if w.second != nil {
		w.second.multiply(k.panels[w.scheme], y, a, true)
	}
	if w.outliers != nil {
		w.outliers.add(k, w, y, a)
	}
	a.release()
}

// secondShape is the shape of the second pass, empty without one.
func (w *Weights) secondShape() shape {
	if w.second == nil {
		return shape{}
	}
	return w.second.shape
}

// multiply sets y to the product of s with a, or adds it.
func (s *stream) multiply(k panelKernels, y gemm.Matrix, a *activations, add bool) {
	p := workers()
	if len(s.data)*y.Rows < serialBytes {
		p = 1
	}
	panels := len(s.starts) - 1
	size := taskBytes
	if y.Rows >= manyTokens {
		size = prefillTask
	}
	perTask := max(1, min(size*panels/max(1, len(s.data)), panels/(tasksEach*p)))
	tasks := ceilDiv(panels, perTask)
	parallel(p, tasks, func(task int) {
		sh := s.shape
		sh.sums = a.sums
		out := make([]float32, k[len(k)-1].tokens*panelRows)
		// Tokens outside: the panels of a task stay in the cache until all tokens
		// have met them, and the activations of a few tokens for all panels.
		for t := 0; t < y.Rows; {
			f := k.covering(y.Rows - t)
			for panel := task * perTask; panel < min(panels, (task+1)*perTask); panel++ {
				f.mul(s.data[s.starts[panel]:s.starts[panel+1]], a.data[t*a.ld:], a.ld, &sh, &s.lanes, out)
				for i := range min(f.tokens, y.Rows-t) {
					store(y.Row(t + i)[panel*panelRows:], out[i*panelRows:], a.scales[t+i], add)
				}
			}
			t += f.tokens
		}
	})
}

// store writes one token's products with a panel to the start of dst.
func store(dst, products []float32, scale float32, add bool) {
	n := min(panelRows, len(dst))
	for i, v := range products[:n] {
		if add {
			dst[i] += float32(v * scale)
		} else {
			dst[i] = v * scale
		}
	}
}
