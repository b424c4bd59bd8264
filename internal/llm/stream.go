package llm

import (
	"context"
	"fmt"
	"slices"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// Stream is a batch of sequences between two layers of a model. Several streams
// that advance one layer at a time touch each weight once for all of them, so
// that a model larger than memory is read from disk once.
type Stream struct {
	m     *Model
	segs  []segment
	x     gemm.Matrix // [M,D]
	layer int
	cs    []float32
	past  *Cache // of the prefix of m, nil for none
}

// Begin returns the stream of the sequences, each from position 0 and seeing
// only itself, before the first layer: M = sum T embeddings. It reports token
// ids outside the vocabulary and rows of the embedding that are not finite.
func (m *Model) Begin(seqs [][]int32) (*Stream, error) {
	s, err := m.newStream(seqs, nil)
	if err != nil {
		return nil, err
	}
	s.x, err = m.load(slices.Concat(seqs...))
	return s, err
}

// Resume returns the stream that Begin and layer calls of Advance would give,
// from its State x [M,D], which it takes over.
func (m *Model) Resume(seqs [][]int32, layer int, x gemm.Matrix) (*Stream, error) {
	s, err := m.newStream(seqs, nil)
	if err != nil {
		return nil, err
	}
	if rows := s.rows(); layer < 0 || layer > len(m.layers) || x.Rows != rows || x.Cols != m.dim {
		return nil, fmt.Errorf("llm: %s: state [%d,%d] before layer %d, want [%d,%d] and a layer up to %d",
			m.name, x.Rows, x.Cols, layer, rows, m.dim, len(m.layers))
	}
	s.x, s.layer = x, layer
	return s, nil
}

// newStream lays out the sequences; after is as in HiddenAfter, or nil.
func (m *Model) newStream(seqs [][]int32, after []int) (*Stream, error) {
	past, err := m.prefix.keys()
	if err != nil {
		return nil, err
	}
	s := &Stream{m: m, past: past}
	begin, longest := len(m.Prefix()), 0
	for i, ids := range seqs {
		next := segment{r0: s.rows(), r1: s.rows() + len(ids), first: begin, before: -1}
		if after != nil && after[i] >= 0 {
			b := s.segs[after[i]]
			if b.before >= 0 {
				panic(fmt.Sprintf("llm: %s: sequence %d continues one that continues another", m.name, i))
			}
			next.first, next.before = begin+b.r1-b.r0, after[i]
		}
		if err := m.checkIDs(ids, next.first); err != nil {
			return nil, fmt.Errorf("llm: %s: sequence %d: %w", m.name, i, err)
		}
		s.segs = append(s.segs, next)
		longest = max(longest, next.first+len(ids))
	}
	s.cs = m.rope.table(longest)
	return s, nil
}

func (s *Stream) rows() int {
	if len(s.segs) == 0 {
		return 0
	}
	return s.segs[len(s.segs)-1].r1
}

// Layer is the index of the layer that comes next; at the end it is the number
// of layers.
func (s *Stream) Layer() int { return s.layer }

// State returns the residual stream [M,D], read-only until the next Advance.
func (s *Stream) State() gemm.Matrix { return s.x }

// Advance runs the next layer.
//
// tap, where not nil, gets the inputs of the linear layers, before any fake
// quantization: attn_in (q, k and v), attn_out (o), mlp_in (gate and up),
// mlp_mid (down), each once, named "model.layers.0.attn_in", with the rows
// [M,K] of all tokens; after the last layer also OutputName, if Linears lists the
// output layer. The matrix is read-only and valid only during the call.
//
// Beside its State it holds M·(D + max(2·Q+2·KV, 2·I)) float32 while it runs,
// with Q and KV the widths of the query and the key heads and I that of the
// MLP; M·max(D, Q, I) more where a replacement has Act; and, per goroutine, the
// attention scores of at most 128 rows. Weights are never copied.
//
// A NaN or Inf in the hidden states is an error, after which, as after one of
// ctx, the stream is of no use.
func (s *Stream) Advance(ctx context.Context, tap func(site string, x gemm.Matrix)) error {
	if s.m.engine != nil {
		return errEngine
	}
	r := &run{m: s.m, segs: s.segs, past: s.past, tap: tap, cs: s.cs, x: s.x}
	defer s.m.pool.Put(r.allocate())
	if err := r.layer(ctx, s.layer); err != nil {
		return err
	}
	s.layer++
	if m := s.m; tap != nil && m.listed && s.layer == len(m.layers) {
		normed := gemm.NewMatrix(s.x.Rows, s.x.Cols)
		normRows(normed, s.x, m.norm, m.eps)
		tap(OutputName, normed)
	}
	return nil
}
