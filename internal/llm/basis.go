package llm

import (
	"math/rand/v2"

	"gonum.org/v1/gonum/mat"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// Fold returns a view of m that computes the same function with the gains of all
// RMSNorms at one: each gain is a factor of the columns of the weights that read
// the norm, q, k, v, gate, up and the output layer. The output layer is then no
// longer the embedding, where it was. The norms of Qwen3's queries and keys
// stay. Weights are scaled as they are loaded, none is copied.
func (m *Model) Fold() *Model {
	v := m.With(nil)
	ones := make([]float32, m.dim)
	for i := range ones {
		ones[i] = 1
	}
	fold := func(group []linear, gain []float32) {
		for i := range group {
			group[i].weights = scale(group[i].weights, nil, gain)
		}
	}
	for l := range v.layers {
		w := &v.layers[l]
		fold(w.linears[siteAttnIn], w.inputNorm)
		fold(w.linears[siteMLPIn], w.postNorm)
		w.inputNorm, w.postNorm = ones, ones
	}
	v.base = m.base.with(m.embed, scale(m.head, nil, m.norm), ones)
	return v
}

// Rotate returns a view of m that computes the same function with the residual
// stream turned: after Fold every hidden state x [D] becomes x·Q, Q [D,D] being
// a random orthogonal matrix of the seed, and with it the rows of the embedding,
// what o_proj and down_proj write, and the columns of all weights that read the
// stream. An RMSNorm without gain commutes with Q. Channels inside attention and
// MLP stay as they are. The turned weights are float32 copies in memory, 4
// bytes for each weight of the model.
func (m *Model) Rotate(seed uint64) *Model {
	v := m.Fold()
	q := orthogonal(m.dim, seed)
	read := func(w gemm.Source) gemm.Source { // W·Q
		in := loaded(w)
		out := gemm.NewMatrix(in.Rows, in.Cols)
		gemm.Gemm(false, false, 1, in, q, 0, out)
		return out
	}
	write := func(w *linear) { // Qᵀ·W
		in := loaded(w.weights)
		out := gemm.NewMatrix(in.Rows, in.Cols)
		gemm.Gemm(true, false, 1, q, in, 0, out)
		w.weights = out
		if w.bias != nil {
			bias := gemm.NewMatrix(1, m.dim)
			gemm.Gemm(false, false, 1, gemm.Matrix{Rows: 1, Cols: m.dim, Stride: m.dim, Data: w.bias}, q, 0, bias)
			w.bias = bias.Data
		}
	}
	for l := range v.layers {
		w := &v.layers[l]
		for _, site := range []int{siteAttnIn, siteMLPIn} {
			for i := range w.linears[site] {
				w.linears[site][i].weights = read(w.linears[site][i].weights)
			}
		}
		write(&w.linears[siteAttnOut][0])
		write(&w.linears[siteMLPMid][0])
	}
	v.base = v.base.with(read(v.embed), read(v.head), v.norm)
	return v
}

// with returns b with another embedding, output layer and last norm.
func (b *base) with(embed, head gemm.Source, norm []float32) *base {
	return &base{config: b.config, checkpoint: b.checkpoint, name: b.name, vocab: b.vocab, dim: b.dim, q: b.q, kv: b.kv, inter: b.inter,
		headDim: b.headDim, eps: b.eps, rope: b.rope, embed: embed, norm: norm, head: head, headName: b.headName}
}

// loaded returns w in memory.
func loaded(w gemm.Source) gemm.Matrix {
	m := gemm.NewMatrix(w.Dims())
	w.Load(m, 0, 0)
	if r, ok := w.(interface{ Release() }); ok {
		r.Release()
	}
	return m
}

// orthogonal returns a random orthogonal matrix [n,n], uniform over all: the Q
// of a QR factorization of normal numbers, with the signs that make the diagonal
// of R positive (Mezzadri 2007, arXiv:math-ph/0609050).
func orthogonal(n int, seed uint64) gemm.Matrix {
	draw := rand.New(rand.NewPCG(seed, 0x0b7))
	g := mat.NewDense(n, n, nil)
	for i := range n {
		for j := range n {
			g.Set(i, j, draw.NormFloat64())
		}
	}
	var qr mat.QR
	qr.Factorize(g)
	var q, r mat.Dense
	qr.QTo(&q)
	qr.RTo(&r)
	out := gemm.NewMatrix(n, n)
	for i := range n {
		for j := range n {
			x := q.At(i, j)
			if r.At(j, j) < 0 {
				x = -x
			}
			out.Row(i)[j] = float32(x)
		}
	}
	return out
}
