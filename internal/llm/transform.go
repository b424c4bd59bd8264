package llm

import (
	"slices"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/rotation"
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
	v.base = m.base.with(m.embed, ones)
	v.output.weights = scale(m.output.weights, nil, m.norm)
	return v.WithPrefix(m.Prefix())
}

// Rotate returns a view of m that computes the same function with the residual
// stream turned by a random orthogonal matrix of the seed; see Transform.
func (m *Model) Rotate(seed uint64) *Model {
	return m.Transform(Transforms{Residual: rotation.NewDense(rotation.Orthogonal(m.dim, seed))})
}

// Transforms says which channels of a model are turned. All but those Online are
// taken up by weights.
type Transforms struct {
	// Residual is orthogonal [D,D] and turns the residual stream; nil for none. It
	// is after Fold, since an RMSNorm without gain commutes with it alone.
	Residual rotation.Transform
	// Values returns the orthogonal matrix [d,d] that turns each head of the values of
	// a layer; nil for none.
	Values func(layer int) rotation.Transform
	// Online returns what turns the inputs of a site while the model runs, after what
	// is taken up by weights; nil, or a result of nil, for nothing.
	Online func(site string) rotation.Transform
}

// Transform returns a view of m that computes the same function in other
// channels. With Residual Q every hidden state x [D] becomes x·Q, and with it the
// rows of the embedding, what o_proj and down_proj write, and the columns of all
// weights that read the stream. With Values R the heads of v_proj's outputs become
// v·R, and the columns of o_proj follow; attention mixes tokens, not channels. With
// Online T the inputs of a site become x·T before its linear layers and before
// the tap, and their weights W·T⁻ᵀ. The norms of Qwen3's queries and keys, and
// whatever is between q, k and the scores, stay as they are. The turned weights are
// float32 copies in memory, 4 bytes for each of them.
func (m *Model) Transform(t Transforms) *Model {
	v := m.With(nil)
	if t.Residual != nil {
		v = m.Fold()
		v.turnResidual(t.Residual)
	}
	for l := range v.layers {
		w := &v.layers[l]
		if t.Values != nil {
			if r := t.Values(l); r != nil {
				v.turnValues(w, r)
			}
		}
		for site := range sites {
			if t.Online == nil {
				continue
			}
			if r := t.Online(siteName(l, site)); r != nil {
				w.turnInputs(site, r)
				if old := w.online[site]; old != nil {
					r = rotation.Chain{old, r}
				}
				w.online[site] = r
			}
		}
	}
	return v.WithPrefix(m.Prefix())
}

func (m *Model) turnResidual(q rotation.Transform) {
	for l := range m.layers {
		w := &m.layers[l]
		w.turnInputs(siteAttnIn, q)
		w.turnInputs(siteMLPIn, q)
		w.linears[siteAttnOut][0].turnOutputs(q)
		w.linears[siteMLPMid][0].turnOutputs(q)
	}
	m.base = m.base.with(turned(m.embed, q), m.norm)
	m.output.weights = turned(m.output.weights, q)
}

func (m *Model) turnValues(w *layer, r rotation.Transform) {
	heads := func(n int) rotation.Transform { return rotation.Heads(r, n/m.headDim) }
	w.linears[siteAttnIn][2].turnOutputs(heads(m.kv)) // q, k, v
	w.turnInputs(siteAttnOut, heads(m.q))
}

func (w *layer) turnInputs(site int, t rotation.Transform) {
	for i := range w.linears[site] {
		r := &w.linears[site][i]
		r.weights = turned(r.weights, t)
	}
}

// turned returns W·T⁻ᵀ.
func turned(w gemm.Source, t rotation.Transform) gemm.Matrix {
	m := loaded(w)
	t.Weights(m)
	return m
}

// turnOutputs makes Tᵀ·W of the weights W of w, and b·T of its biases.
func (w *linear) turnOutputs(t rotation.Transform) {
	w.weights = rotation.Outputs(t, loaded(w.weights))
	if w.bias != nil {
		bias := gemm.Matrix{Rows: 1, Cols: len(w.bias), Stride: len(w.bias), Data: slices.Clone(w.bias)}
		t.Inputs(bias)
		w.bias = bias.Data
	}
}

// Online returns what turns the inputs of a site while the model runs, by the
// name of the site.
func (m *Model) Online() map[string]rotation.Transform {
	online := map[string]rotation.Transform{}
	for l := range m.layers {
		for site, t := range m.layers[l].online {
			if t != nil {
				online[siteName(l, site)] = t
			}
		}
	}
	return online
}

// with returns b with another embedding and last norm.
func (b *base) with(embed gemm.Source, norm []float32) *base {
	return &base{config: b.config, checkpoint: b.checkpoint, name: b.name, vocab: b.vocab,
		dim: b.dim, q: b.q, kv: b.kv, inter: b.inter,
		headDim: b.headDim, eps: b.eps, rope: b.rope, embed: embed, norm: norm, headName: b.headName}
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
