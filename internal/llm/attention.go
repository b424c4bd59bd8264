package llm

import (
	"math"
	"runtime"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
)

// attentionRows is the number of score rows (query tokens times the query heads
// that share a key head) computed at once. It bounds the scores a goroutine
// holds to attentionRows times the context length, and is large enough that
// packing the keys for the matrix product costs little.
const attentionRows = 128

// attentionTask is the attention of query rows i0..i1-1 of the stacked batch
// over the keys of their sequence, for the query heads of one key-value head.
type attentionTask struct {
	q, k, v, out gemm.Matrix // q, out [tokens, g·d]; k, v [context, d]
	pos          int         // position of the first query; the context starts at 0
}

// attend computes softmax(q·kᵀ/√d)·v with a causal mask for every task. With
// window > 0 a token sees only the last window positions, itself included, as
// in transformers.
func attend(tasks []attentionTask, d, window int) {
	scratch := make([][]float32, len(tasks)) // by worker; there are no more workers than tasks
	parallel.Workers(runtime.GOMAXPROCS(0), len(tasks), func(worker, i int) {
		scratch[worker] = tasks[i].run(d, window, scratch[worker])
	})
}

// run computes one task in the given scratch space and returns the space, which
// may have grown.
func (t attentionTask) run(d, window int, scratch []float32) []float32 {
	rows, g := t.q.Rows, t.q.Cols/d
	lo, hi := 0, t.pos+rows // keys that at least one query sees
	if window > 0 {
		lo = max(0, t.pos-window+1)
	}
	n := hi - lo
	m := rows * g
	if need := m * (d + n + 1); len(scratch) < need {
		scratch = make([]float32, need)
	}
	q := gemm.Matrix{Rows: m, Cols: d, Stride: d, Data: scratch[:m*d]}
	s := gemm.Matrix{Rows: m, Cols: n, Stride: n, Data: scratch[m*d : m*(d+n)]}
	sums := scratch[m*(d+n) : m*(d+n+1)]

	// The heads that share a key head are stacked, head after head: one product
	// with the keys instead of g.
	scale := float32(1 / math.Sqrt(float64(d)))
	for h := range g {
		for i := range rows {
			dst := q.Row(h*rows + i)
			for j, v := range t.q.Row(i)[h*d : (h+1)*d] {
				dst[j] = v * scale
			}
		}
	}
	gemm.Gemm(false, true, 1, q, t.k.View(lo, hi, 0, d), 0, s)
	for h := range g {
		for i := range rows {
			row := s.Row(h*rows + i)
			p := t.pos + i
			first := 0
			if window > 0 {
				first = max(0, p-window+1-lo)
			}
			last := p + 1 - lo
			clear(row[:first])
			sums[h*rows+i] = softmax(row[first:last])
			clear(row[last:])
		}
	}
	o := q // the queries are used up
	gemm.Gemm(false, false, 1, s, t.v.View(lo, hi, 0, d), 0, o)
	for h := range g {
		for i := range rows {
			inv := 1 / sums[h*rows+i]
			dst := t.out.Row(i)[h*d : (h+1)*d]
			for j, v := range o.Row(h*rows + i) {
				dst[j] = v * inv
			}
		}
	}
	return scratch
}
