package llm

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/hf"
	"github.com/mosaicquant/mosaicquant/quant"
)

// newModel finds the tensors of the configured architecture in the checkpoint.
func newModel(name string, c *hf.Config, checkpoint *hf.Checkpoint, layers Layers) (*Model, error) {
	b := &base{
		config: c, checkpoint: checkpoint, name: name,
		vocab: c.VocabSize, dim: c.HiddenSize, q: c.Heads * c.HeadDim, kv: c.KVHeads * c.HeadDim, inter: c.MLPSize,
		headDim: c.HeadDim, eps: float32(c.RMSNormEps),
	}
	f := &finder{checkpoint: checkpoint, layers: layers, used: map[string]bool{}}
	if c.Packed {
		f.layers = packed{checkpoint}
	}
	b.headName = "model.embed_tokens.weight"
	b.embed = f.matrix(b.headName, b.vocab, b.dim)
	m := &Model{base: b, output: linear{name: OutputName, weights: b.embed}}
	if !c.TieEmbeddings {
		b.headName = OutputName + ".weight"
		if m.listed = f.quantizedOutput(); m.listed {
			m.output.weights = f.quantized(OutputName, b.vocab, b.dim)
		} else {
			m.output.weights = f.matrix(b.headName, b.vocab, b.dim)
		}
	}
	b.norm = f.vector("model.norm.weight", b.dim)
	for l := range c.Layers {
		m.layers = append(m.layers, f.layer(b, l))
		if f.err != nil {
			return nil, f.err
		}
	}
	b.rope = newRope(c) // of a size that q_proj has confirmed
	return m, f.strays(c)
}

// finder takes tensors from a checkpoint, keeps the first error and remembers
// what it took.
type finder struct {
	checkpoint *hf.Checkpoint
	layers     Layers // nil: matrices of a float type
	used       map[string]bool
	err        error
}

func (f *finder) layer(b *base, l int) layer {
	c, p := b.config, fmt.Sprintf("model.layers.%d.", l)
	w := layer{
		window:    c.Window[l],
		inputNorm: f.vector(p+"input_layernorm.weight", b.dim),
		postNorm:  f.vector(p+"post_attention_layernorm.weight", b.dim),
	}
	if c.QKNorm {
		w.qNorm = f.vector(p+"self_attn.q_norm.weight", b.headDim)
		w.kNorm = f.vector(p+"self_attn.k_norm.weight", b.headDim)
	}
	w.linears = [sites][]linear{
		siteAttnIn: {
			f.linear(p+"self_attn.q_proj", b.q, b.dim, c.QKVBias),
			f.linear(p+"self_attn.k_proj", b.kv, b.dim, c.QKVBias),
			f.linear(p+"self_attn.v_proj", b.kv, b.dim, c.QKVBias),
		},
		siteAttnOut: {f.linear(p+"self_attn.o_proj", b.dim, b.q, c.OutputBias)},
		siteMLPIn: {
			f.linear(p+"mlp.gate_proj", b.inter, b.dim, c.MLPBias),
			f.linear(p+"mlp.up_proj", b.inter, b.dim, c.MLPBias),
		},
		siteMLPMid: {f.linear(p+"mlp.down_proj", b.dim, b.inter, c.MLPBias)},
	}
	return w
}

func (f *finder) linear(name string, n, k int, bias bool) linear {
	w := linear{name: name}
	if f.layers != nil {
		w.weights = f.quantized(name, n, k)
	} else {
		w.weights = f.matrix(name+".weight", n, k)
	}
	if bias {
		w.bias = f.vector(name+".bias", n)
	}
	return w
}

// quantizedOutput reports whether the output layer is stored in more than a matrix of a
// float type.
func (f *finder) quantizedOutput() bool {
	if f.layers == nil {
		return false
	}
	if t, err := f.checkpoint.Raw(OutputName + ".weight"); err == nil && !slices.Contains(floatTypes, t.DType) {
		return true
	}
	return slices.ContainsFunc(f.checkpoint.Names(), func(name string) bool {
		rest, ok := strings.CutPrefix(name, OutputName+".")
		return ok && rest != "weight" && rest != "bias"
	})
}

var floatTypes = []string{"F32", "F16", "BF16"}

// Layers reads the linear layers of a checkpoint that is not made of matrices of
// float types.
type Layers interface {
	// Layer returns the weights [n,k] of the named linear layer, and the names of
	// the tensors that they are stored in.
	Layer(name string, n, k int) (weights gemm.Source, tensors []string, err error)
}

// quantized reads a linear layer in a form of its own.
func (f *finder) quantized(name string, n, k int) gemm.Source {
	if f.err != nil {
		return nil
	}
	w, tensors, err := f.layers.Layer(name, n, k)
	if err != nil {
		f.err = err
		return nil
	}
	if gotN, gotK := w.Dims(); gotN != n || gotK != k {
		f.err = fmt.Errorf("%s: weight [%d,%d], but by config.json [%d,%d]", name, gotN, gotK, n, k)
		return nil
	}
	for _, t := range tensors {
		f.used[t] = true
	}
	return w
}

// PackedSuffix takes the place of ".weight" in the names of the linear layers of
// a packed checkpoint. The tensor is the binary form of a quant.Quantized, U8.
const PackedSuffix = ".weight_packed"

// packed reads the layers of a packed checkpoint into memory.
type packed struct{ checkpoint *hf.Checkpoint }

func (p packed) Layer(name string, _, _ int) (gemm.Source, []string, error) {
	whole := name + ".weight"
	name += PackedSuffix
	t, err := p.checkpoint.Raw(name)
	if err != nil {
		w, e := p.checkpoint.Raw(whole)
		if e == nil && len(w.Shape) == 2 && slices.Contains(floatTypes, w.DType) { // it stayed in 16 bits
			return w, []string{whole}, nil
		}
		return nil, nil, err
	}
	q := &quant.Quantized{}
	if err := q.UnmarshalBinary(t.Data); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	return q, []string{name}, nil
}

func (f *finder) matrix(name string, n, k int) gemm.Source {
	return f.tensor(name, n, k)
}

// vector reads a norm or a bias, which must be finite.
func (f *finder) vector(name string, n int) []float32 {
	t := f.tensor(name, n)
	if t == nil {
		return nil
	}
	v := t.Float32()
	for i, x := range v {
		if x-x != 0 && f.err == nil {
			f.err = fmt.Errorf("%s: element %d is %v", name, i, x)
		}
	}
	return v
}

func (f *finder) tensor(name string, shape ...int) *hf.Tensor {
	if f.err != nil {
		return nil
	}
	t, err := f.checkpoint.Tensor(name)
	if err != nil {
		f.err = err
		return nil
	}
	if !slices.Equal(t.Shape, shape) {
		f.err = fmt.Errorf("%s: shape %v, but by config.json %v", name, t.Shape, shape)
		return nil
	}
	f.used[name] = true
	return t
}

// sameHead returns an error for a stored output layer that differs from the
// embeddings to which it is said to be tied.
func (f *finder) sameHead(name string) error {
	head, err := f.checkpoint.Raw(name)
	if err != nil {
		return err
	}
	embed, err := f.checkpoint.Raw("model.embed_tokens.weight")
	if err != nil {
		return err
	}
	same := head.DType == embed.DType && bytes.Equal(head.Data, embed.Data)
	head.Release()
	embed.Release()
	if !same {
		return fmt.Errorf("%s: differs from the embeddings, but tie_word_embeddings is true by config.json", name)
	}
	return nil
}

// strays returns an error for a tensor that is no part of the architecture: it
// might be a bias or a norm without which the results are wrong. Rotary
// frequencies, which old checkpoints hold, and a copy of tied embeddings are
// known not to matter.
func (f *finder) strays(c *hf.Config) error {
	for _, name := range f.checkpoint.Names() {
		switch {
		case f.used[name], strings.HasSuffix(name, ".rotary_emb.inv_freq"):
			continue
		case c.TieEmbeddings && name == "lm_head.weight":
			if err := f.sameHead(name); err != nil {
				return err
			}
			continue
		}
		return fmt.Errorf("%s: no such tensor in a %s model of %d layers by config.json", name, c.ModelType, c.Layers)
	}
	return nil
}
