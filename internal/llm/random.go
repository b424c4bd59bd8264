package llm

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"

	"github.com/mosaicquant/mosaicquant/internal/hf"
)

// Random returns a model of the given shape with random bfloat16 weights, held
// in memory: for tests, and for benchmarks of shapes that no model at hand has.
// Matrices are uniform with variance 1/K, embeddings with variance 1, norms are
// 1 and biases 0.1. The same seed gives the same bytes.
func Random(c hf.Config, seed uint64) hf.Files {
	w := &randomWriter{rng: rand.New(rand.NewPCG(seed, 0)), header: map[string]any{}}
	d, q, kv := c.HiddenSize, c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	// One piece of memory for all, the header in front: growing or moving it would
	// copy gigabytes. A tensor takes less than 256 bytes of header, and norms and
	// biases less than 16 rows a layer.
	w.start = 8 + 256*(4+20*c.Layers)
	w.data = make([]byte, w.start, w.start+2*(2*c.VocabSize*d+c.Layers*((2*q+2*kv+3*c.MLPSize+16)*d)))
	w.matrix("model.embed_tokens", c.VocabSize, d, 1, false)
	if !c.TieEmbeddings {
		w.matrix("lm_head", c.VocabSize, d, d, false)
	}
	w.constant("model.norm.weight", d, 1)
	for l := range c.Layers {
		p := fmt.Sprintf("model.layers.%d.", l)
		w.constant(p+"input_layernorm.weight", d, 1)
		w.constant(p+"post_attention_layernorm.weight", d, 1)
		if c.QKNorm {
			w.constant(p+"self_attn.q_norm.weight", c.HeadDim, 1)
			w.constant(p+"self_attn.k_norm.weight", c.HeadDim, 1)
		}
		w.matrix(p+"self_attn.q_proj", q, d, d, c.QKVBias)
		w.matrix(p+"self_attn.k_proj", kv, d, d, c.QKVBias)
		w.matrix(p+"self_attn.v_proj", kv, d, d, c.QKVBias)
		w.matrix(p+"self_attn.o_proj", d, q, q, c.OutputBias)
		w.matrix(p+"mlp.gate_proj", c.MLPSize, d, d, c.MLPBias)
		w.matrix(p+"mlp.up_proj", c.MLPSize, d, d, c.MLPBias)
		w.matrix(p+"mlp.down_proj", d, c.MLPSize, c.MLPSize, c.MLPBias)
	}
	return memory{
		"config.json":       configJSON(c),
		"model.safetensors": w.safetensors(),
	}
}

// memory is the files of a model by name.
type memory map[string][]byte

func (memory) Name() string { return "memory" }

func (m memory) Open(name string) (*hf.Blob, error) {
	data, ok := m[name]
	if !ok {
		return nil, fmt.Errorf("memory: %s: %w", name, fs.ErrNotExist)
	}
	return &hf.Blob{Data: data}, nil
}

// configJSON spells c as transformers does.
func configJSON(c hf.Config) []byte {
	f := map[string]any{
		"model_type": c.ModelType, "vocab_size": c.VocabSize, "hidden_size": c.HiddenSize,
		"intermediate_size": c.MLPSize, "num_hidden_layers": c.Layers, "num_attention_heads": c.Heads,
		"num_key_value_heads": c.KVHeads, "head_dim": c.HeadDim, "max_position_embeddings": c.MaxPositions,
		"rms_norm_eps": c.RMSNormEps, "rope_theta": c.RopeTheta, "tie_word_embeddings": c.TieEmbeddings,
		"attention_bias": c.QKVBias, "mlp_bias": c.MLPBias, "hidden_act": "silu", "torch_dtype": "bfloat16",
	}
	if s := c.Llama3; s != nil {
		f["rope_scaling"] = map[string]any{
			"rope_type": "llama3", "factor": s.Factor, "low_freq_factor": s.LowFreqFactor,
			"high_freq_factor": s.HighFreqFactor, "original_max_position_embeddings": s.OriginalMaxPositions,
		}
	}
	if y := c.Yarn; y != nil {
		f["rope_scaling"] = map[string]any{
			"rope_type": "yarn", "factor": y.Factor, "beta_fast": y.BetaFast, "beta_slow": y.BetaSlow,
			"attention_factor": y.AttentionFactor, "original_max_position_embeddings": y.OriginalMaxPositions,
		}
	}
	if c.LinearFactor != 0 {
		f["rope_scaling"] = map[string]any{"rope_type": "linear", "factor": c.LinearFactor}
	}
	f["sliding_window"] = nil
	types := make([]string, c.Layers)
	for l := range types {
		types[l] = "full_attention"
		if l < len(c.Window) && c.Window[l] > 0 {
			types[l] = "sliding_attention"
			f["sliding_window"], f["use_sliding_window"] = c.Window[l], true
		}
	}
	f["layer_types"], f["max_window_layers"] = types, 0
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		panic(err) // only a NaN in c can cause it
	}
	return text
}

// randomWriter lays tensors out as a safetensors file.
type randomWriter struct {
	rng    *rand.Rand
	header map[string]any
	start  int // of the first tensor
	data   []byte
}

func (w *randomWriter) tensor(name string, shape []int, value func() float32) {
	start := len(w.data) - w.start
	n := 1
	for _, s := range shape {
		n *= s
	}
	for range n {
		w.data = binary.LittleEndian.AppendUint16(w.data, uint16(math.Float32bits(value())>>16))
	}
	w.header[name] = map[string]any{"dtype": "BF16", "shape": shape, "data_offsets": [2]int{start, len(w.data) - w.start}}
}

func (w *randomWriter) matrix(name string, n, k, fanIn int, bias bool) {
	scale := float32(math.Sqrt(12 / float64(fanIn)))
	w.tensor(name+".weight", []int{n, k}, func() float32 { return (w.rng.Float32() - 0.5) * scale })
	if bias {
		w.constant(name+".bias", n, 0.1)
	}
}

func (w *randomWriter) constant(name string, n int, v float32) {
	w.tensor(name, []int{n}, func() float32 { return v })
}

func (w *randomWriter) safetensors() []byte {
	header, err := json.Marshal(w.header)
	if err != nil {
		panic(err)
	}
	if len(header) > w.start-8 {
		panic(fmt.Sprintf("llm: a header of %d bytes does not fit %d", len(header), w.start-8))
	}
	binary.LittleEndian.PutUint64(w.data, uint64(w.start-8))
	rest := w.data[8+copy(w.data[8:], header) : w.start]
	for i := range rest {
		rest[i] = ' '
	}
	return w.data
}
