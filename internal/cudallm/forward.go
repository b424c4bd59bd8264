//go:build cuda && linux && cgo

package cudallm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/zipper/cuda"
	"github.com/mosaicquant/mosaicquant/zipper/cuda/driver"
)

// space is what a pass needs beside weights. Buffers grow as passes ask for it.
type space struct {
	ids, slot, pos, tiles, rows driver.Buffer // u32
	x                           driver.Buffer // float32 [M,D], the residual stream
	mid, h                      driver.Buffer // outputs of products
	in, scales                  driver.Buffer // inputs of products
	q, part, stats              driver.Buffer // of attention
	logits, last, out           driver.Buffer
	keys, values                driver.Buffer // the cache
	bad                         driver.Buffer
}

func (s *space) free(w *cuda.Work) error {
	var err error
	for _, b := range []*driver.Buffer{&s.ids, &s.slot, &s.pos, &s.tiles, &s.rows, &s.x, &s.mid, &s.h, &s.in, &s.scales,
		&s.q, &s.part, &s.stats, &s.logits, &s.last, &s.out, &s.keys, &s.values, &s.bad} {
		err = errors.Join(err, w.Free(b))
	}
	return err
}

// pass is a batch of M tokens on its way through the layers: pieces of sequences, whose ids, slots
// and positions are in the space.
type pass struct {
	m             int
	tiles, splits int  // see cuda.Attend; no tiles in decode
	room          int  // of the cache, tokens of a slot
	slots         int  // of the cache
	keep          bool // the cache has room for all layers, else it serves one after the other
}

// tokens is what the host says of a pass.
type tokens struct{ ids, slot, pos, tiles []uint32 }

// add appends tokens of a sequence from a position on.
func (t *tokens) add(slot, first int, ids []int32, each int) {
	for i := 0; i < len(ids); i += each {
		t.tiles = append(t.tiles, uint32(len(t.ids)+i), uint32(min(each, len(ids)-i)))
	}
	for i, id := range ids {
		t.ids, t.slot, t.pos = append(t.ids, uint32(id)), append(t.slot, uint32(slot)), append(t.pos, uint32(first+i))
	}
}

// reserve makes room for p.
func (g *Model) reserve(w *cuda.Work, p *pass) error {
	s, m := &g.space, int64(p.m)
	var mid, h int64
	widest := max(g.dim, g.q, g.inter)
	for _, l := range g.layers {
		v := l.linears
		mid = max(mid, v[0].outputBytes(p.m)+v[1].outputBytes(p.m)+v[2].outputBytes(p.m),
			v[4].outputBytes(p.m)+v[5].outputBytes(p.m))
		h = max(h, v[3].outputBytes(p.m), v[6].outputBytes(p.m))
	}
	cache := int64(p.slots) * int64(g.kv) * int64(p.room) * g.cacheElement()
	if p.keep {
		cache *= int64(len(g.layers))
	}
	for _, b := range []struct {
		at   *driver.Buffer
		size int64
	}{
		{&s.ids, 4 * m}, {&s.slot, 4 * m}, {&s.pos, 4 * m}, {&s.tiles, 8 * m}, {&s.rows, 4 * m},
		{&s.x, 4 * m * int64(g.dim)}, {&s.mid, mid}, {&s.h, h}, {&s.in, 2 * m * int64(cuda.SplitBF16.Stride(widest))},
		{&s.scales, m * int64(cuda.RowInt4.ScaleBytes(widest))},
		{&s.q, m * int64(g.q) * g.cacheElement()}, {&s.part, 4 * int64(p.splits) * m * int64(g.q)},
		{&s.stats, 8 * int64(p.splits) * m * int64(g.heads.Heads)}, {&s.keys, cache}, {&s.values, cache}, {&s.bad, 8},
	} {
		if _, err := w.Reserve(b.at, b.size); err != nil {
			return err
		}
	}
	if p.room > g.positions {
		if err := w.Fill(&g.rotations, float32Bytes(g.source.Rotations(p.room))); err != nil {
			return err
		}
		g.positions = p.room
	}
	return nil
}

func (g *Model) cacheElement() int64 {
	if g.heads.Type == cuda.Half {
		return 2
	}
	return 4
}

// begin uploads what the host says of p, which becomes as long.
func (g *Model) begin(w *cuda.Work, p *pass, t *tokens) error {
	p.m, p.tiles, p.splits = len(t.ids), len(t.tiles)/2, 1
	if err := g.reserve(w, p); err != nil {
		return err
	}
	s := &g.space
	return errors.Join(w.Upload(s.ids, 0, uint32Bytes(t.ids)), w.Upload(s.slot, 0, uint32Bytes(t.slot)),
		w.Upload(s.pos, 0, uint32Bytes(t.pos)), w.Upload(s.tiles, 0, uint32Bytes(t.tiles)))
}

// row returns where m rows of k columns in a format go. The rest of split ones follows them.
func (g *Model) row(f format, m, k int) cuda.Row {
	s, n := &g.space, int64(m)*int64(f.row.Stride(k))
	r := cuda.Row{To: s.in, Scales: s.scales, Type: f.row, Round: f.round}
	if f.row == cuda.SplitBF16 {
		r.Rest = s.in.Part(n, n)
	}
	return r
}

// site runs linear layers on their common input of k columns, which write puts into a row, once for each format
// that a layer wants: again tells that it is not the first time. It returns the outputs, which it puts into
// room one after the other.
func (g *Model) site(w *cuda.Work, m, k int, room driver.Buffer, linears []*linear,
	write func(out cuda.Row, again bool) error) ([]cuda.Values, error) {
	outputs := make([]cuda.Values, len(linears))
	var at int64
	for i, l := range linears {
		size := l.outputBytes(m)
		outputs[i] = cuda.Values{At: room.Part(at, size), Bias: l.bias, Stride: l.n, Type: l.outputType()}
		at += size
	}
	done := map[format]bool{}
	for _, first := range linears {
		if done[first.in] {
			continue
		}
		in := g.row(first.in, m, k)
		if err := write(in, len(done) > 0); err != nil {
			return nil, err
		}
		done[first.in] = true
		for i, l := range linears {
			if l.in != first.in {
				continue
			}
			if err := l.multiply(w, outputs[i].At, in, m); err != nil {
				return nil, fmt.Errorf("%s: %w", l.name, err)
			}
		}
	}
	return outputs, nil
}

// layersOf runs all layers on the tokens of p. What it returns is not yet part of the residual stream.
func (g *Model) layersOf(ctx context.Context, w *cuda.Work, p *pass) (h cuda.Values, err error) {
	s := &g.space
	if err := w.Embed(s.x, g.embed, g.table, s.ids, p.m, g.dim); err != nil {
		return h, err
	}
	for i, l := range g.layers {
		if err := ctx.Err(); err != nil {
			return h, err
		}
		if h, err = g.attention(w, p, i, l, h); err != nil {
			return h, err
		}
		norm := cuda.Norm{X: s.x, H: h, Gain: l.postNorm, Eps: g.eps, M: p.m, K: g.dim, Bad: s.bad, Stage: 2*i + 1}
		mid, err := g.site(w, p.m, g.dim, s.mid, l.linears[4:6], norms(w, norm))
		if err != nil {
			return h, err
		}
		down, err := g.site(w, p.m, g.inter, s.h, l.linears[6:7], func(out cuda.Row, _ bool) error {
			return w.SwiGLU(mid[0], mid[1], p.m, g.inter, out)
		})
		if err != nil {
			return h, err
		}
		h = down[0]
	}
	return h, nil
}

// norms writes n in any format; the stream is added to once.
func norms(w *cuda.Work, n cuda.Norm) func(cuda.Row, bool) error {
	return func(out cuda.Row, again bool) error {
		n.Out = out
		if again {
			n.H = cuda.Values{}
		}
		return w.Norm(n)
	}
}

// attention runs the first half of layer i.
func (g *Model) attention(w *cuda.Work, p *pass, i int, l *layer, h cuda.Values) (cuda.Values, error) {
	s := &g.space
	norm := cuda.Norm{X: s.x, H: h, Gain: l.inputNorm, Eps: g.eps, M: p.m, K: g.dim, Bad: s.bad, Stage: 2 * i}
	qkv, err := g.site(w, p.m, g.dim, s.mid, l.linears[:3], norms(w, norm))
	if err != nil {
		return h, err
	}
	heads := g.heads
	heads.Window, heads.Room, heads.Slot, heads.Pos = l.window, p.room, s.slot, s.pos
	size := int64(p.slots) * int64(g.kv) * int64(p.room) * g.cacheElement()
	at := int64(0)
	if p.keep {
		at = int64(i) * size
	}
	heads.K, heads.V = s.keys.Part(at, size), s.values.Part(at, size)
	rope := cuda.Rope{Query: qkv[0], Key: qkv[1], Value: qkv[2], QGain: l.qNorm, KGain: l.kNorm, Table: g.rotations,
		Eps: g.eps, M: p.m, Q: s.q}
	if err := w.Rope(rope, &heads); err != nil {
		return h, err
	}
	var tiles driver.Buffer
	if p.tiles > 0 {
		tiles = s.tiles
	}
	o, err := g.site(w, p.m, g.q, s.h, l.linears[3:4], func(out cuda.Row, _ bool) error {
		return w.Attend(&heads, s.q, p.m, tiles, p.tiles, p.splits, s.part, s.stats, out)
	})
	if err != nil {
		return h, err
	}
	return o[0], nil
}

// finish waits for all work and reports what was not finite.
func (g *Model) finish(w *cuda.Work) error {
	if err := w.Stream().Synchronize(); err != nil {
		return err
	}
	stage, row, bad, err := w.Bad(g.space.bad)
	if err != nil || !bad {
		return err
	}
	what := fmt.Sprintf("output of token %d of the batch is not finite", row)
	switch {
	case stage == 0:
		return fmt.Errorf("engine cuda: %s: model.embed_tokens: %s", g.name, what)
	case stage > 2*len(g.layers):
		return fmt.Errorf("engine cuda: %s: logits of row %d are not finite", g.name, row)
	}
	half := []string{"mlp", "self_attn"}[stage%2]
	return fmt.Errorf("engine cuda: %s: model.layers.%d.%s: %s", g.name, (stage-1)/2, half, what)
}

// Hidden is llm.Model.Hidden.
func (g *Model) Hidden(ctx context.Context, seqs [][]int32) (y gemm.Matrix, err error) {
	if err := g.source.CheckIDs(seqs); err != nil {
		return y, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var t tokens
	p := &pass{slots: len(seqs)}
	for i, ids := range seqs {
		t.add(i, 0, ids, g.heads.TokensOfTile())
		p.room = max(p.room, len(ids))
	}
	y = gemm.NewMatrix(len(t.ids), g.dim)
	if len(t.ids) == 0 {
		return y, nil
	}
	return y, g.device.Do(func(w *cuda.Work) error {
		err := g.begin(w, p, &t)
		if err == nil {
			err = w.Stream().Fill(g.space.bad, 0, 8, 0)
		}
		if err != nil {
			return err
		}
		h, err := g.layersOf(ctx, w, p)
		if err != nil {
			return errors.Join(err, w.Stream().Synchronize())
		}
		norm := g.lastNorm(h, p.m)
		norm.Out = cuda.Row{To: g.space.in, Type: cuda.RowFloat32}
		if err := w.Norm(norm); err != nil {
			return err
		}
		if err := g.finish(w); err != nil {
			return err
		}
		return download(w, y, g.space.in)
	})
}

// lastNorm is the norm before the output layer, of m rows of the stream.
func (g *Model) lastNorm(h cuda.Values, m int) cuda.Norm {
	return cuda.Norm{X: g.space.x, H: h, Gain: g.norm, Eps: g.eps, M: m, K: g.dim, Bad: g.space.bad,
		Stage: 2 * len(g.layers)}
}

// logitRows is how many rows of logits are made at a time.
const logitRows = 512

// Logits is llm.Model.Logits.
func (g *Model) Logits(dst, hidden gemm.Matrix) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.device.Do(func(w *cuda.Work) error {
		for i := 0; i < hidden.Rows; i += logitRows {
			end := min(i+logitRows, hidden.Rows)
			if err := g.logitsOf(w, dst.View(i, end, 0, dst.Cols), hidden.View(i, end, 0, hidden.Cols)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (g *Model) logitsOf(w *cuda.Work, dst, hidden gemm.Matrix) error {
	s, m := &g.space, hidden.Rows
	var flat []float32
	for i := range m {
		flat = append(flat, hidden.Row(i)...)
	}
	if err := g.reserveLogits(w, m); err != nil {
		return err
	}
	if err := w.Upload(s.last, 0, float32Bytes(flat)); err != nil {
		return err
	}
	if err := w.Stream().Fill(s.bad, 0, 8, 0); err != nil {
		return err
	}
	if err := g.head(w, cuda.Norm{X: s.last, M: m, K: g.dim, Bad: s.bad, Stage: 2*len(g.layers) + 1}); err != nil {
		return err
	}
	if err := g.finish(w); err != nil {
		return err
	}
	if err := download(w, dst, s.logits); err != nil {
		return err
	}
	for i := range m {
		for _, v := range dst.Row(i) {
			if v-v != 0 {
				return fmt.Errorf("engine cuda: %s: logits of row %d are not finite", g.name, i)
			}
		}
	}
	return nil
}

// reserveLogits makes room for m rows of logits, and for the hidden states before them.
func (g *Model) reserveLogits(w *cuda.Work, m int) error {
	s := &g.space
	in, scales := cuda.SplitBF16.Stride(g.dim), cuda.RowInt4.ScaleBytes(g.dim)
	for b, size := range map[*driver.Buffer]int64{&s.logits: g.output.outputBytes(m), &s.last: 4 * int64(m*g.dim),
		&s.in: 2 * int64(m*in), &s.scales: int64(m * scales), &s.bad: 8} {
		if _, err := w.Reserve(b, size); err != nil {
			return err
		}
	}
	return nil
}

// head puts the logits of the rows that n makes into the space.
func (g *Model) head(w *cuda.Work, n cuda.Norm) error {
	_, err := g.site(w, n.M, g.dim, g.space.logits, []*linear{g.output}, norms(w, n))
	return err
}

// download copies y, whose rows lie one after the other, from b.
func download(w *cuda.Work, y gemm.Matrix, b driver.Buffer) error {
	data := make([]byte, 4*y.Rows*y.Cols)
	if err := w.Download(data, b, 0); err != nil {
		return err
	}
	for i := range y.Rows {
		row := y.Row(i)
		for j := range row {
			row[j] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*(i*y.Cols+j):]))
		}
	}
	return nil
}
