package zipper

import (
	"fmt"
	"sync"

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
	if _, k := w.Dims(); x.Cols != k || y.Cols != w.n || x.Rows != y.Rows {
		panic(fmt.Sprintf("zipper: y is %dx%d for x %dx%d and weights %dx%d", y.Rows, y.Cols, x.Rows, x.Cols, w.n, k))
	}
	if x.Rows == 0 {
		return
	}
	k := active
	var kept gemm.Matrix
	if w.beside != nil {
		x, kept = w.beside.split(x)
	}
	a := w.newActivations(k, x)
	w.main.multiply(k, w, y, a, false)
	if w.second != nil {
		w.second.multiply(k, w, y, a, true)
	}
	if w.outliers != nil {
		w.outliers.add(k, w, y, a)
	}
	if w.beside != nil {
		w.beside.add(w, y, kept, a)
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

// multiply sets y to the product of s, a stream of w, with a, or adds it.
func (s *stream) multiply(k *kernel, w *Weights, y gemm.Matrix, a *activations, add bool) {
	if w.trellis != nil && !add {
		s.multiplyDecoded(k, w, y, a)
		return
	}
	p, perTask := s.tasks(y.Rows)
	panels := len(s.starts) - 1
	sh := s.shape
	sh.sums, sh.gathered = a.sums, a.gathered
	widened := 0
	kernels, widen := k.panelsFor(w, y.Rows)
	most := kernels[len(kernels)-1].tokens
	if widen { // several passes over the panel: the residual is added to the codes once
		sh, widened = sh.widened()
	}
	if widened > 0 {
		perTask = max(1, min(perTask, widenedTask/widened))
	}
	tasks := ceilDiv(panels, perTask)
	parallel(p, tasks, func(task int) {
		out := make([]float32, most*panelRows*s.shape.outputs())
		first, end := task*perTask, min(panels, (task+1)*perTask)
		panel := func(i int) []byte { return s.data[s.starts[i]:s.starts[i+1]] }
		if widened > 0 {
			buffer := widenBuffers.Get().(*[]byte)
			defer widenBuffers.Put(buffer)
			if n := widened * (end - first); cap(*buffer) < n {
				*buffer = alignedTo(n+overread, cacheLine)
			}
			at := func(i int) []byte { return (*buffer)[:cap(*buffer)][(i-first)*widened : (i-first+1)*widened] }
			for i := first; i < end; i++ {
				k.widen(at(i), panel(i), &s.shape, &s.lanes)
			}
			panel = at
		}
		// Tokens outside: the panels of a task stay in the cache until all tokens
		// have met them, and the activations of a few tokens for all panels.
		for t := 0; t < y.Rows; {
			f := kernels.covering(y.Rows - t)
			for i := first; i < end; i++ {
				f.mul(panel(i), a.data[t*a.ld:], a.ld, &sh, &s.lanes, out)
				for j := range min(f.tokens, y.Rows-t) {
					store(y.Row(t + j)[i*panelRows:], out[j*panelRows:], a.scales[t+j], add)
				}
			}
			t += f.tokens
		}
	})
}

// tasks returns how many goroutines multiply s by so many tokens, and how many panels each
// of their tasks has.
func (s *stream) tasks(tokens int) (goroutines, panels int) {
	p, size := workers(), taskBytes
	if len(s.data)*tokens < serialBytes {
		p = 1
	}
	if tokens >= manyTokens {
		size = prefillTask
	}
	panels = len(s.starts) - 1
	return p, max(1, min(size*panels/max(1, len(s.data)), panels/(tasksEach*p)))
}

// widenedTask is how many bytes of widened panels a task holds: they are to stay in
// an L2 cache.
const widenedTask = 704 << 10

var widenBuffers = sync.Pool{New: func() any { return new([]byte) }}

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
