package llm

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/quant"
)

// Hidden runs the sequences, each from position 0 and seeing only itself, and
// returns the final-normed hidden states [sum T, D] of all their tokens,
// sequence after sequence. Linear layers run on all tokens at once. tap may be
// nil; it and the memory are those of Stream.Advance.
//
// A token id outside the vocabulary and a NaN or Inf in the hidden states are
// errors; ctx is looked at before each half layer.
func (m *Model) Hidden(ctx context.Context, seqs [][]int32, tap func(site string, x gemm.Matrix)) (gemm.Matrix, error) {
	if m.engine != nil {
		if tap != nil {
			return gemm.Matrix{}, errEngine
		}
		return m.engine.Hidden(ctx, seqs)
	}
	s, err := m.Begin(seqs)
	if err != nil {
		return gemm.Matrix{}, err
	}
	return s.finish(ctx, tap)
}

// HiddenAfter is Hidden where sequence i continues sequence after[i], which stands
// before it in seqs and continues none itself; after[i] < 0 is a sequence from
// position 0. It equals Hidden of the whole sequences up to rounding, and reads what
// several of them begin with once.
func (m *Model) HiddenAfter(ctx context.Context, seqs [][]int32, after []int) (gemm.Matrix, error) {
	if m.engine != nil {
		return m.engineAfter(ctx, seqs, after)
	}
	s, err := m.newStream(seqs, after)
	if err != nil {
		return gemm.Matrix{}, err
	}
	if s.x, err = m.load(slices.Concat(seqs...)); err != nil {
		return gemm.Matrix{}, err
	}
	return s.finish(ctx, nil)
}

// finish runs the layers that are left and the final norm.
func (s *Stream) finish(ctx context.Context, tap func(site string, x gemm.Matrix)) (gemm.Matrix, error) {
	m := s.m
	for s.layer < len(m.layers) {
		if err := s.Advance(ctx, tap); err != nil {
			return gemm.Matrix{}, err
		}
	}
	normRows(s.x, s.x, m.norm, m.eps)
	return s.x, nil
}

// Logits sets dst [M,V] = hidden·lm_headᵀ, as the output layer is executed. NaN or Inf
// in the result is an error.
func (m *Model) Logits(dst, hidden gemm.Matrix) error {
	if m.engine != nil {
		return m.engine.Logits(dst, hidden)
	}
	w := &m.output
	if w.act != quant.A16 {
		hidden = hidden.Clone()
		parallelRows(hidden, func(i0, i1 int) { w.act.Apply(hidden.View(i0, i1, 0, hidden.Cols)) })
	}
	if w.product != nil {
		w.product.MulNT(dst, hidden)
	} else {
		gemm.MulNT(dst, hidden, w.weights)
	}
	if bad := notFinite(dst); bad >= 0 {
		if err := checkFinite(m.headName, w.weights); err != nil {
			return fmt.Errorf("llm: %s: %w", m.name, err)
		}
		return fmt.Errorf("llm: %s: logits of row %d are not finite", m.name, bad)
	}
	return nil
}

func (m *Model) checkIDs(ids []int32, first int) error {
	for p, id := range ids {
		if id < 0 || int(id) >= m.vocab {
			return fmt.Errorf("token %d at position %d is outside the vocabulary of %d: tokenizer and model do not match",
				id, first+p, m.vocab)
		}
	}
	return nil
}

// segment is the stacked rows r0..r1-1 of one sequence.
type segment struct {
	r0, r1 int
	first  int // position of row r0
	// before is the segment that holds the positions before first, where neither a cache nor a
	// prefix does; else negative.
	before int
}

// run is the work of M stacked tokens on one or more layers.
type run struct {
	m    *Model
	segs []segment
	tap  func(site string, x gemm.Matrix)

	caches []*Cache  // nil, or the context of each segment
	past   *Cache    // what stands before each segment that continues no other, nil for nothing
	joined []float32 // keys and values of a segment and what is before it, together
	cs     []float32

	x       gemm.Matrix // [M,D] the residual stream
	h       gemm.Matrix // [M,D] normed input of a half layer, then its output
	q, attn gemm.Matrix // [M,Q]
	k, v    gemm.Matrix // [M,KV]
	gate    gemm.Matrix // [M,I]; gate and up share their memory with q, attn, k and v
	up      gemm.Matrix
	act     []float32 // M times the widest input, for fake quantization
}

// load returns the embeddings [M,D] of checked ids.
func (m *Model) load(ids []int32) (gemm.Matrix, error) {
	x := gemm.NewMatrix(len(ids), m.dim)
	parallelRows(x, func(i0, i1 int) {
		for i := i0; i < i1; i++ {
			m.embed.Load(x.View(i, i+1, 0, m.dim), int(ids[i]), 0)
		}
	})
	if bad := notFinite(x); bad >= 0 {
		return x, fmt.Errorf("llm: %s: model.embed_tokens.weight: row %d is not finite", m.name, ids[bad])
	}
	return x, nil
}

// layer replaces x by the output of layer l.
func (r *run) layer(ctx context.Context, l int) error {
	for half, f := range []func(int){r.attention, r.mlp} {
		if err := ctx.Err(); err != nil {
			return err
		}
		f(l)
		if bad := r.addResidual(); bad >= 0 {
			return r.m.explain(l, half, bad)
		}
	}
	return nil
}

// allocate takes the buffers of a run from the pool and returns what goes back
// there.
func (r *run) allocate() *[]float32 {
	m, rows := r.m, r.x.Rows
	kv := m.kv
	half := max(2*m.q+2*kv, 2*m.inter)
	size := rows * (m.dim + half)
	if m.fake {
		size += rows * max(m.dim, m.q, m.inter)
	}
	buf, _ := m.pool.Get().(*[]float32)
	if buf == nil || cap(*buf) < size {
		b := make([]float32, size)
		buf = &b
	}
	rest := (*buf)[:size]
	take := func(cols int) gemm.Matrix {
		x := gemm.Matrix{Rows: rows, Cols: cols, Stride: cols, Data: rest[:rows*cols]}
		rest = rest[rows*cols:]
		return x
	}
	r.h = take(m.dim)
	shared := rest
	r.q, r.attn, r.k, r.v = take(m.q), take(m.q), take(kv), take(kv)
	rest = shared
	r.gate, r.up = take(m.inter), take(m.inter)
	r.act = shared[rows*half:]
	joined := 0
	for _, s := range r.segs {
		if r.joins(s) {
			joined += 2 * kv * (s.first + s.r1 - s.r0)
		}
	}
	r.joined = make([]float32, joined)
	return buf
}

// attention sets h to the output of the self-attention of layer l.
func (r *run) attention(l int) {
	m, w := r.m, &r.m.layers[l]
	normRows(r.h, r.x, w.inputNorm, m.eps)
	r.linears(l, siteAttnIn, r.h, r.q, r.k, r.v)

	d := m.headDim
	for i, s := range r.segs {
		first := s.first
		parallelRows(r.q.View(s.r0, s.r1, 0, m.q), func(i0, i1 int) {
			for i := i0; i < i1; i++ {
				cs := r.cs[(first+i)*d : (first+i+1)*d]
				headRows(r.q.Row(s.r0+i), w.qNorm, m.eps, cs)
				headRows(r.k.Row(s.r0+i), w.kNorm, m.eps, cs)
			}
		})
		if r.caches == nil {
			continue
		}
		for row := s.r0; row < s.r1; row++ {
			copy(r.caches[i].k[l].Row(first+row-s.r0), r.k.Row(row))
			copy(r.caches[i].v[l].Row(first+row-s.r0), r.v.Row(row))
		}
	}
	attend(r.tasks(l), d, w.window)
	r.linears(l, siteAttnOut, r.attn, r.h)
}

// headRows normalises the heads of x (Qwen3; w is nil elsewhere) and turns
// them by the table row cs of their position.
func headRows(x, w []float32, eps float32, cs []float32) {
	d := len(cs)
	if w != nil {
		for h := 0; h < len(x); h += d {
			rmsNorm(x[h:h+d], x[h:h+d], w, eps)
		}
	}
	rotate(x, cs)
}

// joins reports whether keys and values of s must be joined with those before it.
func (r *run) joins(s segment) bool { return s.before >= 0 || r.past != nil }

// keys returns the keys and values of layer l that segment i sees, from position 0 on.
// joined has room for those of a segment that joins others.
func (r *run) keys(l, i int, joined []float32) (k, v gemm.Matrix) {
	s, kv := r.segs[i], r.m.kv
	end := s.first + s.r1 - s.r0
	switch {
	case r.caches != nil:
		c := r.caches[i]
		return c.k[l].View(0, end, 0, kv), c.v[l].View(0, end, 0, kv)
	case !r.joins(s):
		return r.k.View(s.r0, s.r1, 0, kv), r.v.View(s.r0, s.r1, 0, kv)
	}
	k = gemm.Matrix{Rows: end, Cols: kv, Stride: kv, Data: joined[:end*kv]}
	v = gemm.Matrix{Rows: end, Cols: kv, Stride: kv, Data: joined[end*kv : 2*end*kv]}
	begin := 0
	if r.past != nil {
		begin = r.past.n
		for p := range begin {
			copy(k.Row(p), r.past.k[l].Row(p))
			copy(v.Row(p), r.past.v[l].Row(p))
		}
	}
	for p := begin; p < end; p++ {
		row := s.r0 + p - s.first
		if p < s.first { // of the segment that this one continues
			row = r.segs[s.before].r0 + p - begin
		}
		copy(k.Row(p), r.k.Row(row))
		copy(v.Row(p), r.v.Row(row))
	}
	return k, v
}

// tasks cuts the attention of all sequences in layer l. Later tokens see more keys, so
// the longest tasks of a sequence come first.
func (r *run) tasks(l int) []attentionTask {
	m := r.m
	d := m.headDim
	width := m.q / m.kv * d // of the query heads of one key head
	step := max(1, attentionRows*d/width)
	var tasks []attentionTask
	joined := r.joined
	for i, s := range r.segs {
		k, v := r.keys(l, i, joined)
		if r.joins(s) {
			joined = joined[2*k.Rows*m.kv:]
		}
		for end := s.r1; end > s.r0; end -= step {
			i0 := max(s.r0, end-step)
			for h := range m.kv / d {
				tasks = append(tasks, attentionTask{
					q:   r.q.View(i0, end, h*width, (h+1)*width),
					out: r.attn.View(i0, end, h*width, (h+1)*width),
					k:   k.View(0, k.Rows, h*d, (h+1)*d),
					v:   v.View(0, k.Rows, h*d, (h+1)*d),
					pos: s.first + i0 - s.r0,
				})
			}
		}
	}
	return tasks
}

// mlp sets h to the output of the SwiGLU MLP of layer l (Shazeer 2020,
// arXiv:2002.05202).
func (r *run) mlp(l int) {
	m, w := r.m, &r.m.layers[l]
	normRows(r.h, r.x, w.postNorm, m.eps)
	r.linears(l, siteMLPIn, r.h, r.gate, r.up)
	parallelRows(r.gate, func(i0, i1 int) {
		for i := i0; i < i1; i++ {
			swiGLU(r.gate.Row(i), r.up.Row(i))
		}
	})
	r.linears(l, siteMLPMid, r.gate, r.h)
}

// linears runs the linear layers of one site on their common input x.
func (r *run) linears(l, site int, x gemm.Matrix, out ...gemm.Matrix) {
	linears := r.m.layers[l].linears[site]
	if t := r.m.layers[l].online[site]; t != nil { // nothing else reads x
		parallelRows(x, func(i0, i1 int) { t.Inputs(x.View(i0, i1, 0, x.Cols)) })
	}
	if r.tap != nil {
		r.tap(siteName(l, site), x)
	}
	for i := range linears {
		w := &linears[i]
		in := x
		if w.act != quant.A16 {
			in = gemm.Matrix{Rows: x.Rows, Cols: x.Cols, Stride: x.Cols, Data: r.act[:x.Rows*x.Cols]}
			// Layers of a site nearly always share their activation format,
			// and so its result.
			if i == 0 || w.act != linears[i-1].act {
				parallelRows(x, func(i0, i1 int) {
					for j := i0; j < i1; j++ {
						copy(in.Row(j), x.Row(j))
					}
					w.act.Apply(in.View(i0, i1, 0, x.Cols))
				})
			}
		}
		if w.product != nil {
			w.product.MulNT(out[i], in)
		} else {
			gemm.MulNT(out[i], in, w.weights)
		}
		if w.bias != nil {
			parallelRows(out[i], func(i0, i1 int) {
				for j := i0; j < i1; j++ {
					gemm.Axpy(1, w.bias, out[i].Row(j))
				}
			})
		}
	}
}

// addResidual sets x += h and returns the first row that is not finite, or -1.
func (r *run) addResidual() int {
	parallelRows(r.x, func(i0, i1 int) {
		for i := i0; i < i1; i++ {
			gemm.Axpy(1, r.h.Row(i), r.x.Row(i))
		}
	})
	return notFinite(r.x)
}

func normRows(dst, x gemm.Matrix, w []float32, eps float32) {
	parallelRows(x, func(i0, i1 int) {
		for i := i0; i < i1; i++ {
			rmsNorm(dst.Row(i), x.Row(i), w, eps)
		}
	})
}

// notFinite returns the first row of x with a NaN or Inf, or -1.
func notFinite(x gemm.Matrix) int {
	var bad atomic.Int64
	bad.Store(int64(x.Rows))
	parallelRows(x, func(i0, i1 int) {
		for i := i0; i < i1; i++ {
			if !finite(x.Row(i)) {
				for b := bad.Load(); int64(i) < b && !bad.CompareAndSwap(b, int64(i)); b = bad.Load() {
				}
				return
			}
		}
	})
	if b := int(bad.Load()); b < x.Rows {
		return b
	}
	return -1
}
