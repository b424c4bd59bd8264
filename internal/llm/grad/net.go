package grad

import (
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/internal/rotation"
	"github.com/mosaicquant/mosaicquant/quant"
)

// Rotations are orthogonal matrices: of the residual stream [D,D], then of the heads of
// the values of each layer [d,d].
type Rotations []gemm.Matrix

// Net is a model whose loss can be differentiated. It holds the weights as float32
// matrices, 4 bytes for each, those of down_proj twice, and what one sequence leaves
// in all layers, see Bytes. It serves one goroutine, and uses all processors.
type Net struct {
	m                          *llm.Model // folded
	dim, q, kv, inter, headDim int
	eps                        float32

	layers []layer
	head   gemm.Matrix        // [V,D]
	down   rotation.Transform // of the inputs of down_proj, or nil
	round  func(x gemm.Matrix)
	past   int // tokens of the prefix of m

	tokens  int // of the sequence that memory is cut for
	memory  []float32
	tapes   []tape // by layer
	scratch scratch
}

// layer is a decoder layer. Layers of one site are one matrix.
type layer struct {
	qkv, o, gateUp       matrix
	down, turned         gemm.Matrix // [D,I], and what multiplies turned inputs
	downBias             []float32
	qNorm, kNorm         []float32 // [d], or nil
	window               int
	pastKeys, pastValues gemm.Matrix // [P,KV]
}

// matrix is a linear layer [N,K].
type matrix struct {
	weights gemm.Matrix
	bias    []float32 // or nil
}

// tape is what the way back needs of a layer and a sequence.
type tape struct {
	x, mid       gemm.Matrix // [T,D] the stream before attention and before the MLP
	xErr, midErr gemm.Matrix // [T,D] what rounding took away from the normed stream
	raw          gemm.Matrix // [T,Q+KV] queries and keys before their norms; empty without
	qkv          gemm.Matrix // [T,Q+2KV] with positions
	attnErr      gemm.Matrix // [T,Q] what rounding took away from the inputs of o_proj
	gateUp       gemm.Matrix // [T,2I]
	keys, values gemm.Matrix // [P+T,KV] after those of a prefix; empty without one
}

// scratch are matrices that one layer needs at a time.
type scratch struct {
	stream, normed, turned gemm.Matrix // [T,D]
	qkv                    gemm.Matrix // [T,Q+2KV]
	attn, attnTurned       gemm.Matrix // [T,Q]
	mid                    gemm.Matrix // [T,I]
	gateUp                 gemm.Matrix // [T,2I]
}

// New returns the net of m, a model in 16 bits whose inputs are read by nothing but its
// linear layers. down turns the inputs of down_proj while the model runs; nil for
// nothing. It must be orthogonal. round rounds the inputs of a site [T,K] in place,
// token by token; see Rounding.
func New(m *llm.Model, down rotation.Transform, round func(x gemm.Matrix)) (*Net, error) {
	c := m.Config()
	n := &Net{m: m.Fold(), dim: c.HiddenSize, q: c.Heads * c.HeadDim, kv: c.KVHeads * c.HeadDim, inter: c.MLPSize,
		headDim: c.HeadDim, eps: float32(c.RMSNormEps), down: down, round: round, past: len(m.Prefix())}
	keys, values, err := n.m.PrefixKeys()
	if err != nil {
		return nil, err
	}
	for l, b := range n.m.Blocks() {
		w := layer{qkv: stack(b.Linears[:3]), o: stack(b.Linears[3:4]), gateUp: stack(b.Linears[4:6]),
			qNorm: b.QNorm, kNorm: b.KNorm, window: b.Window}
		d := stack(b.Linears[6:])
		w.down, w.turned, w.downBias = d.weights, d.weights, d.bias
		if down != nil {
			w.turned = d.weights.Clone()
			parallelRows(w.turned, down.Weights)
		}
		if n.past > 0 {
			w.pastKeys, w.pastValues = keys[l], values[l]
		}
		n.layers = append(n.layers, w)
	}
	n.head = stack([]llm.Part{n.m.OutputPart()}).weights
	return n, nil
}

// stack returns linear layers of one input as one, their outputs side by side.
func stack(parts []llm.Part) matrix {
	rows, cols, biased := 0, 0, false
	for _, p := range parts {
		n, k := p.Weights.Dims()
		rows, cols, biased = rows+n, k, biased || p.Bias != nil
	}
	s := matrix{weights: gemm.NewMatrix(rows, cols)}
	if biased {
		s.bias = make([]float32, rows)
	}
	at := 0
	for _, p := range parts {
		n, _ := p.Weights.Dims()
		p.Weights.Load(s.weights.View(at, at+n, 0, cols), 0, 0)
		if r, ok := p.Weights.(interface{ Release() }); ok {
			r.Release()
		}
		if p.Bias != nil {
			copy(s.bias[at:], p.Bias)
		}
		at += n
	}
	return s
}

// Rounding returns the function of New that rounds to the format a.
func Rounding(a quant.Activations) func(x gemm.Matrix) {
	return func(x gemm.Matrix) { parallelRows(x, a.Apply) }
}

// Bytes is what a net holds beside one copy of the weights while it differentiates a
// sequence of the given number of tokens.
func Bytes(m *llm.Model, tokens int) int64 {
	c := m.Config()
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	kept := 4*c.HiddenSize + 2*q + 2*kv + 2*c.MLPSize
	if c.QKNorm {
		kept += q + kv
	}
	used := 3*c.HiddenSize + 3*q + 2*kv + 3*c.MLPSize
	logits := min(tokens*c.VocabSize, logitFloats)
	again := c.Layers * c.HiddenSize * c.MLPSize // down_proj with its inputs turned
	return 4 * (int64(tokens)*int64(c.Layers*kept+used) + int64(logits) + int64(again) +
		2*int64(c.HiddenSize*c.HiddenSize))
}

// prepare makes room for a sequence of t tokens.
func (n *Net) prepare(t int) {
	if n.tokens == t {
		return
	}
	n.tokens = t
	size := 0
	n.cut(t, func(rows, cols int) gemm.Matrix {
		size += rows * cols
		return gemm.Matrix{}
	})
	if len(n.memory) < size {
		n.memory = make([]float32, size)
	}
	rest := n.memory
	n.cut(t, func(rows, cols int) gemm.Matrix {
		m := of(rest, rows, cols)
		rest = rest[rows*cols:]
		return m
	})
}

// cut takes the matrices of a sequence of t tokens.
func (n *Net) cut(t int, take func(rows, cols int) gemm.Matrix) {
	n.tapes = make([]tape, len(n.layers))
	for l := range n.tapes {
		p := tape{x: take(t, n.dim), mid: take(t, n.dim), xErr: take(t, n.dim), midErr: take(t, n.dim),
			qkv: take(t, n.q+2*n.kv), attnErr: take(t, n.q), gateUp: take(t, 2*n.inter)}
		if n.layers[l].qNorm != nil {
			p.raw = take(t, n.q+n.kv)
		}
		if n.past > 0 {
			p.keys, p.values = take(n.past+t, n.kv), take(n.past+t, n.kv)
		}
		n.tapes[l] = p
	}
	n.scratch = scratch{stream: take(t, n.dim), normed: take(t, n.dim), turned: take(t, n.dim),
		qkv: take(t, n.q+2*n.kv), attn: take(t, n.q), attnTurned: take(t, n.q), mid: take(t, n.inter),
		gateUp: take(t, 2*n.inter)}
}

// parallelRows runs f over row ranges that cover m.
func parallelRows(m gemm.Matrix, f func(part gemm.Matrix)) {
	rangesOf(m, func(i0, i1 int) { f(m.View(i0, i1, 0, m.Cols)) })
}

// rangesOf runs f over ranges that cover the rows of m, in parallel where there is
// enough work to pay for a goroutine.
func rangesOf(m gemm.Matrix, f func(i0, i1 int)) {
	const elements = 1 << 14 // per range
	rows := max(1, elements/max(1, m.Cols))
	parallel.Each((m.Rows+rows-1)/rows, func(c int) { f(c*rows, min((c+1)*rows, m.Rows)) })
}
