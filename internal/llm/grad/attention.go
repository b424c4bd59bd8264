package grad

import (
	"math"
	"runtime"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
)

// blockRows is the number of rows of scores (tokens times the query heads of a key head)
// that a goroutine holds at once.
const blockRows = 128

// attention is softmax(q·kᵀ/√d)·v of one sequence in one layer, causal, with P tokens
// before its T.
type attention struct {
	q            gemm.Matrix // [T,Q]
	keys, values gemm.Matrix // [P+T,KV]
	d, window    int         // window: tokens that a token sees, itself included; 0: all
}

// block is the work of the tokens i0..i1-1 for the query heads of one key head.
type block struct{ head, i0, i1 int }

// group is the number of query heads of a key head.
func (a *attention) group() int { return a.q.Cols / a.keys.Cols }

// blocks cuts the work of a key head; those with most keys come first.
func (a *attention) blocks(head int) (list []block) {
	step := max(1, blockRows/a.group())
	for end := a.q.Rows; end > 0; end -= step {
		list = append(list, block{head, max(0, end-step), end})
	}
	return list
}

// space is what a block needs, with room for blockRows rows or the group of a token.
type space struct{ q, o, s, ds []float32 }

func (a *attention) space() *space {
	m := max(blockRows, a.group())
	return &space{make([]float32, m*a.d), make([]float32, m*a.d), make([]float32, m*a.keys.Rows),
		make([]float32, m*a.keys.Rows)}
}

// of cuts a compact matrix from data.
func of(data []float32, rows, cols int) gemm.Matrix {
	return gemm.Matrix{Rows: rows, Cols: cols, Stride: cols, Data: data[:rows*cols]}
}

// stacked copies the query heads of b from x [T,Q], times a factor, head under head.
func (a *attention) stacked(dst []float32, b block, x gemm.Matrix, factor float32) gemm.Matrix {
	g, rows := a.group(), b.i1-b.i0
	out := of(dst, g*rows, a.d)
	for h := range g {
		for i := range rows {
			at := (b.head*g + h) * a.d
			to := out.Row(h*rows + i)
			for j, v := range x.Row(b.i0 + i)[at : at+a.d] {
				to[j] = v * factor
			}
		}
	}
	return out
}

// scatter copies what stacked made back to x, times a factor.
func (a *attention) scatter(x gemm.Matrix, b block, from gemm.Matrix, factor float32) {
	g, rows := a.group(), b.i1-b.i0
	for h := range g {
		for i := range rows {
			at := (b.head*g + h) * a.d
			to := x.Row(b.i0 + i)[at : at+a.d]
			for j, v := range from.Row(h*rows + i) {
				to[j] = v * factor
			}
		}
	}
}

// seen returns the keys lo..hi-1 that tokens of b see, as a view of keys or values.
func (a *attention) seen(b block, x gemm.Matrix) gemm.Matrix {
	past := x.Rows - a.q.Rows
	lo := 0
	if a.window > 0 {
		lo = max(0, past+b.i0-a.window+1)
	}
	return x.View(lo, past+b.i1, b.head*a.d, (b.head+1)*a.d)
}

// probabilities returns the scaled queries of b and their softmax over the keys.
func (a *attention) probabilities(b block, w *space) (q, p gemm.Matrix) {
	q = a.stacked(w.q, b, a.q, float32(1/math.Sqrt(float64(a.d))))
	k := a.seen(b, a.keys)
	p = of(w.s, q.Rows, k.Rows)
	gemm.Gemm(false, true, 1, q, k, 0, p)
	rows := b.i1 - b.i0
	for r := range p.Rows {
		row := p.Row(r)
		last := k.Rows - rows + r%rows + 1 // keys up to the token itself
		first := 0
		if a.window > 0 {
			first = max(0, last-a.window)
		}
		part := row[first:last]
		inverse := 1 / llm.Exp(part, gemm.Largest(part))
		for j := range part {
			part[j] *= inverse
		}
		clear(row[:first])
		clear(row[last:])
	}
	return q, p
}

// forward sets out [T,Q].
func (a *attention) forward(out gemm.Matrix) {
	var list []block
	for h := range a.keys.Cols / a.d {
		list = append(list, a.blocks(h)...)
	}
	work := make([]*space, runtime.GOMAXPROCS(0))
	parallel.Workers(len(work), len(list), func(worker, i int) {
		if work[worker] == nil {
			work[worker] = a.space()
		}
		b, w := list[i], work[worker]
		q, p := a.probabilities(b, w)
		gemm.Gemm(false, false, 1, p, a.seen(b, a.values), 0, q) // the queries are used up
		a.scatter(out, b, q, 1)
	})
}

// backward sets the gradients dq [T,Q] and dkeys, dvalues [P+T,KV] from that of the
// output, dout [T,Q]. The probabilities are computed anew. Heads are summed in one
// order, whatever the number of processors.
func (a *attention) backward(dout, dq, dkeys, dvalues gemm.Matrix) {
	scale := float32(1 / math.Sqrt(float64(a.d)))
	work := make([]*space, runtime.GOMAXPROCS(0))
	parallel.Workers(len(work), a.keys.Cols/a.d, func(worker, head int) {
		if work[worker] == nil {
			work[worker] = a.space()
		}
		w := work[worker]
		for _, m := range []gemm.Matrix{dkeys, dvalues} {
			for i := range m.Rows {
				clear(m.Row(i)[head*a.d : (head+1)*a.d])
			}
		}
		for _, b := range a.blocks(head) {
			q, p := a.probabilities(b, w)
			do := a.stacked(w.o, b, dout, 1)
			dp := of(w.ds, p.Rows, p.Cols)
			gemm.Gemm(false, true, 1, do, a.seen(b, a.values), 0, dp)
			gemm.Gemm(true, false, 1, p, do, 1, a.seen(b, dvalues))
			for r := range dp.Rows {
				row, prob := dp.Row(r), p.Row(r)
				mean := gemm.Dot(row, prob)
				for j, v := range prob {
					row[j] = v * (row[j] - mean)
				}
			}
			gemm.Gemm(true, false, 1, dp, q, 1, a.seen(b, dkeys))
			gemm.Gemm(false, false, 1, dp, a.seen(b, a.keys), 0, q)
			a.scatter(dq, b, q, scale)
		}
	})
}
