package llm

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/hf"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/internal/rotation"
	"github.com/mosaicquant/mosaicquant/quant"
)

// Model is an opened model or a view of one. It is safe for concurrent use.
type Model struct {
	*base
	layers []layer
	fake   bool // some linear layer has Activations
	// The output layer, which Linears lists where listed is set. It has weights of its
	// own, or an execution, where replaced is.
	output           linear
	listed, replaced bool

	prefix *prefix // nil for none
	engine Engine  // nil for this package
}

// base is what all views share.
type base struct {
	config     *hf.Config
	checkpoint *hf.Checkpoint
	name       string // of the folder, for errors

	vocab, dim, q, kv, inter int // V, D, Q, KV, I
	headDim                  int // d
	eps                      float32
	rope                     *rope

	embed    gemm.Source // [V,D]
	norm     []float32   // [D]
	headName string      // the tensor of the output layer

	pool sync.Pool // of *[]float32, see run.allocate
}

type layer struct {
	inputNorm, postNorm []float32 // [D]
	qNorm, kNorm        []float32 // [d], or nil
	window              int       // 0 for none
	linears             [sites][]linear
	online              [sites]rotation.Transform // of the inputs, nil for none
}

type linear struct {
	name    string // "model.layers.0.self_attn.q_proj"
	weights gemm.Source
	bias    []float32 // or nil
	act     quant.Activations
	product Product // or nil, for weights and act
}

// The inputs of the linear layers of a layer, in order of execution.
const (
	siteAttnIn = iota
	siteAttnOut
	siteMLPIn
	siteMLPMid
	sites
)

func siteName(l, site int) string {
	return fmt.Sprintf("model.layers.%d.%s", l, [sites]string{"attn_in", "attn_out", "mlp_in", "mlp_mid"}[site])
}

// Linear describes one linear layer Y = X·Wᵀ.
type Linear struct {
	Name    string // "model.layers.0.self_attn.q_proj", the tensor's name less ".weight"
	Layer   int    // index of the decoder layer that it belongs to; of the last one for the output layer
	Site    string // "model.layers.0.attn_in": linear layers of one site share their input
	N, K    int
	Weights gemm.Source // of this view
}

// Replacement changes one linear layer of a view.
type Replacement struct {
	Weights gemm.Source       // nil keeps the weights
	Act     quant.Activations // fake quantization of the inputs; the zero value is none
	// Product, where not nil, executes the layer in place of a float32 product
	// with Weights. It rounds its inputs itself, so Act must be zero.
	Product Product
}

// Product multiplies by a weight matrix in a form of its own, such as packed
// 4-bit codes. It must be safe for concurrent use.
type Product interface {
	// Dims returns N and K.
	Dims() (n, k int)
	// MulNT sets y [M,N] to the product with x [M,K], which it must not modify. A
	// token that is not finite must give outputs that are not.
	MulNT(y, x gemm.Matrix)
}

// Open opens the model in files: config.json and the checkpoint. Every tensor
// the architecture has must be there in the shape that the config asks for, and
// no other (but for what transformers ignores too). Norms and biases are read
// and must be finite; the other weights are not read yet.
func Open(files hf.Files) (*Model, error) {
	config, err := hf.ReadConfig(files)
	if err != nil {
		return nil, err
	}
	checkpoint, err := hf.OpenCheckpoint(files)
	if err != nil {
		return nil, err
	}
	return build(files, config, checkpoint, nil)
}

// OpenForeign opens a model whose linear layers another program may have
// quantized; read returns who reads them, nil for matrices of a float type.
func OpenForeign(files hf.Files, read func(*hf.Config, *hf.Checkpoint) (Layers, error)) (*Model, error) {
	config, err := hf.ReadForeignConfig(files)
	if err != nil {
		return nil, err
	}
	checkpoint, err := hf.OpenCheckpoint(files)
	if err != nil {
		return nil, err
	}
	layers, err := read(config, checkpoint)
	if err != nil {
		checkpoint.Close()
		return nil, err
	}
	return build(files, config, checkpoint, layers)
}

// build closes the checkpoint where it fails.
func build(files hf.Files, config *hf.Config, checkpoint *hf.Checkpoint, layers Layers) (*Model, error) {
	m, err := newModel(files.Name(), config, checkpoint, layers)
	if err != nil {
		checkpoint.Close()
		return nil, fmt.Errorf("llm: %s: %w", files.Name(), err)
	}
	return m, nil
}

// Close unmaps the weights. The model and all its views are dead from then on.
func (m *Model) Close() error { return m.checkpoint.Close() }

// Config returns the model's configuration, which must not be modified.
func (m *Model) Config() *hf.Config { return m.config }

// Checkpoint returns the model's weight files; Close closes them.
func (m *Model) Checkpoint() *hf.Checkpoint { return m.checkpoint }

// OutputName is the name of the output layer among linear layers, and of its site.
const OutputName = "lm_head"

// WithOutputListed returns a view of m whose Linears lists the output layer as the last
// one, or does not. It is listed from the start where the checkpoint has it quantized.
func (m *Model) WithOutputListed(listed bool) *Model {
	v := *m
	v.listed = listed
	return &v
}

// OutputListed reports whether Linears lists the output layer.
func (m *Model) OutputListed() bool { return m.listed }

// SameOutput reports whether m and o are views that execute one output layer in one way.
func (m *Model) SameOutput(o *Model) bool { return m.base == o.base && !m.replaced && !o.replaced }

// Linears lists the linear layers of all layers in order of execution. The output
// layer is not among them, unless it is listed.
func (m *Model) Linears() []Linear {
	var list []Linear
	for l := range m.layers {
		for site, group := range m.layers[l].linears {
			for _, w := range group {
				n, k := w.weights.Dims()
				list = append(list, Linear{Name: w.name, Layer: l, Site: siteName(l, site), N: n, K: k, Weights: w.weights})
			}
		}
	}
	if m.listed {
		list = append(list, Linear{Name: OutputName, Layer: len(m.layers) - 1, Site: OutputName, N: m.vocab, K: m.dim,
			Weights: m.output.weights})
	}
	return list
}

// With returns a view of m with the named linear layers replaced, the others
// and all biases as in m. It panics on a name that Linears does not list and on
// weights of another shape.
func (m *Model) With(replacements map[string]Replacement) *Model {
	v := &Model{base: m.base, layers: make([]layer, len(m.layers)), output: m.output,
		listed: m.listed, replaced: m.replaced, prefix: m.prefix}
	used := 0
	if r, ok := replacements[OutputName]; ok && m.listed {
		v.output.replace(r)
		v.replaced = true
		used++
	}
	for l := range m.layers {
		v.layers[l] = m.layers[l]
		for site, group := range m.layers[l].linears {
			group = append([]linear(nil), group...)
			for i := range group {
				w := &group[i]
				if r, ok := replacements[w.name]; ok {
					used++
					w.replace(r)
				}
				v.fake = v.fake || w.act != quant.A16
			}
			v.layers[l].linears[site] = group
		}
	}
	if used < len(replacements) {
		for name := range replacements {
			if !m.has(name) {
				panic(fmt.Sprintf("llm: %s: no linear layer %q to replace", m.name, name))
			}
		}
	}
	return v
}

// Output returns the weights [V,D] of the output layer.
func (m *Model) Output() gemm.Source { return m.output.weights }

// Embedding returns the weights [V,D] of the embedding.
func (m *Model) Embedding() gemm.Source { return m.embed }

// FinalNorm returns the gain [D] of the norm before the output layer, which must not be
// modified.
func (m *Model) FinalNorm() []float32 { return m.norm }

// WithOutput returns a view of m whose output layer is executed by p, which must
// hold the same weights in another layout. It panics on another shape.
func (m *Model) WithOutput(p Product) *Model {
	if n, k := p.Dims(); n != m.vocab || k != m.dim {
		panic(fmt.Sprintf("llm: %s: product is %dx%d, the output layer %dx%d", m.name, n, k, m.vocab, m.dim))
	}
	v := *m
	v.output.product, v.output.act, v.replaced, v.engine = p, quant.A16, true, nil
	return &v
}

func (w *linear) replace(r Replacement) {
	if r.Weights != nil {
		n, k := w.weights.Dims()
		if rn, rk := r.Weights.Dims(); rn != n || rk != k {
			panic(fmt.Sprintf("llm: %s: replacement is %dx%d, the layer %dx%d", w.name, rn, rk, n, k))
		}
		w.weights = r.Weights
	}
	if r.Product != nil {
		n, k := w.weights.Dims()
		if rn, rk := r.Product.Dims(); rn != n || rk != k {
			panic(fmt.Sprintf("llm: %s: product is %dx%d, the layer %dx%d", w.name, rn, rk, n, k))
		}
		if r.Act != quant.A16 {
			panic(fmt.Sprintf("llm: %s: a product rounds its inputs itself, and activations are %s", w.name, r.Act))
		}
	}
	w.act, w.product = r.Act, r.Product
}

func (m *Model) has(name string) bool {
	for _, w := range m.Linears() {
		if w.Name == name {
			return true
		}
	}
	return false
}

// CheckFinite reads all weights of the view and returns an error that names
// the first NaN or Inf of the first tensor that has one.
func (m *Model) CheckFinite(ctx context.Context) error {
	check := func(name string, w gemm.Source) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := checkFinite(name, w); err != nil {
			return fmt.Errorf("llm: %s: %w", m.name, err)
		}
		return nil
	}
	if err := check("model.embed_tokens.weight", m.embed); err != nil {
		return err
	}
	for _, w := range m.Linears() {
		if err := check(w.Name+".weight", w.Weights); err != nil {
			return err
		}
	}
	return check(m.headName, m.output.weights)
}

// explain says why row bad of the hidden states is not finite after half a
// layer: most likely one of the weights is not.
func (m *Model) explain(l, half, bad int) error {
	first, part := siteAttnIn, "self_attn"
	if half == 1 {
		first, part = siteMLPIn, "mlp"
	}
	for _, group := range m.layers[l].linears[first : first+2] {
		for _, w := range group {
			if err := checkFinite(w.name+".weight", w.weights); err != nil {
				return fmt.Errorf("llm: %s: %w", m.name, err)
			}
		}
	}
	return fmt.Errorf("llm: %s: model.layers.%d.%s: output of token %d of the batch is not finite, though all weights are",
		m.name, l, part, bad)
}

// checkFinite returns an error that names an element of w that is NaN or Inf,
// the first in its rows.
func checkFinite(name string, w gemm.Source) error {
	n, k := w.Dims()
	const step = 16
	var bad atomic.Int64
	bad.Store(int64(n))
	parallel.Each((n+step-1)/step, func(c int) {
		i0 := c * step
		if int64(i0) >= bad.Load() {
			return
		}
		tile := gemm.NewMatrix(min(step, n-i0), k)
		w.Load(tile, i0, 0)
		if finite(tile.Data) {
			return
		}
		for i := range tile.Rows {
			if finite(tile.Row(i)) {
				continue
			}
			for b := bad.Load(); int64(i0+i) < b && !bad.CompareAndSwap(b, int64(i0+i)); b = bad.Load() {
			}
			return
		}
	})
	i := int(bad.Load())
	if i == n {
		return nil
	}
	row := gemm.NewMatrix(1, k)
	w.Load(row, i, 0)
	for j, v := range row.Data {
		if v-v != 0 {
			return fmt.Errorf("%s: element [%d,%d] is %v", name, i, j, v)
		}
	}
	panic("llm: " + name + ": two loads of one row differ")
}
