//go:build cuda && linux && cgo

package cudallm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/mosaicquant/mosaicquant/zipper/cuda"
	"github.com/mosaicquant/mosaicquant/zipper/cuda/driver"
)

// prefillRows is how many tokens of prompts go through the layers at once.
const prefillRows = 8192

// Generate continues sequences by so many tokens each, the most likely one at a time. Only ids of prompts and the
// generated ones cross between host and device. The first call with other sizes takes longer: kernels choose
// their tiles.
func (g *Model) Generate(ctx context.Context, prompts [][]int32, count int) (*Generated, error) {
	if err := g.source.CheckIDs(prompts); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	longest := 0
	for i, ids := range prompts {
		if len(ids) == 0 {
			return nil, fmt.Errorf("engine cuda: prompt %d is empty", i)
		}
		longest = max(longest, len(ids))
	}
	if len(prompts) == 0 || count < 1 {
		return nil, fmt.Errorf("engine cuda: %d prompts and %d tokens to generate", len(prompts), count)
	}
	out := &Generated{}
	return out, g.device.Do(func(w *cuda.Work) error {
		return errors.Join(g.generate(ctx, w, out, prompts, longest+count, count), w.Stream().Synchronize())
	})
}

func (g *Model) generate(ctx context.Context, w *cuda.Work, out *Generated, prompts [][]int32,
	room, count int) error {
	n, s := len(prompts), &g.space
	p := &pass{slots: n, room: room, keep: true}
	if err := g.reserveLogits(w, n); err != nil {
		return err
	}
	if _, err := w.Reserve(&s.out, 4*int64(room+1)*int64(n)); err != nil {
		return err
	}
	if err := w.Stream().Fill(s.bad, 0, 8, 0); err != nil {
		return err
	}
	start := time.Now()
	if err := g.prefill(ctx, w, p, prompts); err != nil {
		return err
	}
	d, err := g.firstTokens(w, p, prompts)
	if err != nil {
		return err
	}
	if err := g.finish(w); err != nil {
		return err
	}
	first := time.Now()
	for i := range count - 1 {
		if err := g.next(ctx, w, d, count-2-i); err != nil {
			return err
		}
	}
	if err := g.finish(w); err != nil {
		return err
	}
	out.Prefill, out.Decode = first.Sub(start).Seconds(), time.Since(first).Seconds()
	data := make([]byte, 4*room*n)
	if err := w.Download(data, s.out, 0); err != nil {
		return err
	}
	for i, ids := range prompts {
		var made []int32
		for at := len(ids); at < len(ids)+count; at++ {
			made = append(made, int32(binary.LittleEndian.Uint32(data[4*(at*n+i):])))
		}
		out.Tokens = append(out.Tokens, made)
	}
	return nil
}

// prefill fills the cache with the prompts, and s.last with the normed hidden states of their last tokens.
func (g *Model) prefill(ctx context.Context, w *cuda.Work, p *pass, prompts [][]int32) error {
	var t tokens
	var ends, owners []uint32 // rows of last tokens, and their sequences
	flush := func() error {
		if len(t.ids) == 0 {
			return nil
		}
		if err := g.begin(w, p, &t); err != nil {
			return err
		}
		h, err := g.layersOf(ctx, w, p)
		if err != nil {
			return err
		}
		if len(ends) > 0 {
			s, row := &g.space, int64(4*g.dim)
			if err := w.Upload(s.rows, 0, uint32Bytes(ends)); err != nil {
				return err
			}
			norm := g.lastNorm(h, len(ends))
			norm.Rows = s.rows
			norm.Out = cuda.Row{To: s.last.Part(int64(owners[0])*row, int64(len(ends))*row), Type: cuda.RowFloat32}
			if err := w.Norm(norm); err != nil {
				return err
			}
		}
		t, ends, owners = tokens{}, nil, nil
		return w.Stream().Synchronize() // before the host writes the next tokens there
	}
	for i, ids := range prompts {
		for at := 0; at < len(ids); {
			n := min(len(ids)-at, prefillRows-len(t.ids))
			t.add(i, at, ids[at:at+n], g.heads.TokensOfTile())
			if at += n; at == len(ids) {
				ends, owners = append(ends, uint32(len(t.ids)-1)), append(owners, uint32(i))
			}
			if len(t.ids) == prefillRows {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	return flush()
}

// firstTokens puts the first token of each sequence into the stream, and returns the pass of the next ones.
func (g *Model) firstTokens(w *cuda.Work, p *pass, prompts [][]int32) (*pass, error) {
	n, s := len(prompts), &g.space
	d := &pass{m: n, slots: p.slots, room: p.room, keep: true, splits: g.splits(n, p.room)}
	if err := g.reserve(w, d); err != nil {
		return nil, err
	}
	var slot, pos []uint32
	for i, ids := range prompts {
		slot, pos = append(slot, uint32(i)), append(pos, uint32(len(ids)-1))
	}
	if err := errors.Join(w.Upload(s.slot, 0, uint32Bytes(slot)), w.Upload(s.pos, 0, uint32Bytes(pos))); err != nil {
		return nil, err
	}
	err := g.head(w, cuda.Norm{X: s.last, M: n, K: g.dim, Bad: s.bad, Stage: 2*len(g.layers) + 1})
	if err != nil {
		return nil, err
	}
	return d, w.Greedy(s.ids, s.pos, s.out, s.logits, n, g.vocab, s.bad, 2*len(g.layers)+1)
}

// splits cuts the keys so that there are two blocks for each multiprocessor, but not less than 64 keys in one.
func (g *Model) splits(n, room int) int {
	blocks := n * g.heads.KVHeads
	return max(1, min(2*g.device.Info.SMs/blocks, room/64, 64))
}

// recorded is a step as a graph, which belongs to a pass and to the buffers that it was recorded with.
type recorded struct {
	graph *driver.Graph
	pass  pass
	space space
	work  [2]uint64 // the workspace of products
	why   error     // why there is no graph
}

// next puts the next token of each sequence into the stream, with left more to come. The first step of a
// pass chooses tiles and loads kernels; the following ones are a graph, so that the host does not hold
// the device up.
func (g *Model) next(ctx context.Context, w *cuda.Work, d *pass, left int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r := &g.steps
	if r.graph != nil && r.pass == *d && r.space == g.space && r.work == w.Workspace() {
		return r.graph.Launch(w.Stream())
	}
	if err := g.step(ctx, w, d); err != nil || left == 0 || r.why != nil {
		return err
	}
	if err := w.FreeGraph(r.graph); err != nil {
		return err
	}
	*r = recorded{pass: *d, space: g.space, work: w.Workspace()}
	r.graph, r.why = w.Capture(w.Stream(), func() error { return g.step(ctx, w, d) })
	if err := ctx.Err(); err != nil {
		r.why = nil // that is not the device's fault
		return err
	}
	return nil
}

// step puts the next token of each sequence into the stream.
func (g *Model) step(ctx context.Context, w *cuda.Work, d *pass) error {
	s := &g.space
	h, err := g.layersOf(ctx, w, d)
	if err != nil {
		return err
	}
	if err := g.head(w, g.lastNorm(h, d.m)); err != nil {
		return err
	}
	return w.Greedy(s.ids, s.pos, s.out, s.logits, d.m, g.vocab, s.bad, 2*len(g.layers)+1)
}
