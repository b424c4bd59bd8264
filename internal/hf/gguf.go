package hf

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/mosaicquant/mosaicquant/internal/gguf"
)

// GGUF returns the model in the GGUF file at path as the folder that it would be
// in Hugging Face layout. Its config.json, tokenizer.json and tokenizer_config.json
// are written from the metadata; OpenCheckpoint gives its tensors the names, and
// the rows of llama's q_proj and k_proj the order, that they have there. The file
// is memory-mapped. Architectures are llama (mistral among them), qwen2 and qwen3.
func GGUF(path string) Files { return ggufFile(path) }

type ggufFile string

func (g ggufFile) Name() string { return string(g) }

// Open returns a file of the folder; the weights are no file of it.
func (g ggufFile) Open(name string) (*Blob, error) {
	write := map[string]func(*gguf.File) ([]byte, error){
		"config.json": ggufConfig, "tokenizer.json": ggufTokenizer, "tokenizer_config.json": ggufTokenizerConfig,
	}[name]
	if write == nil {
		return nil, fmt.Errorf("hf: %s: a GGUF file has no %s: %w", g.Name(), name, fs.ErrNotExist)
	}
	blob, f, err := g.parse()
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	data, err := write(f)
	if err != nil {
		return nil, fmt.Errorf("hf: %s: %w", g.Name(), err)
	}
	return &Blob{Data: data}, nil
}

// parse maps the file. What it returns is dead once the blob is closed.
func (g ggufFile) parse() (*Blob, *gguf.File, error) {
	blob, err := Dir(filepath.Dir(string(g))).Open(filepath.Base(string(g)))
	if err != nil {
		return nil, nil, err
	}
	f, err := gguf.Parse(blob.Data)
	if err != nil {
		blob.Close()
		return nil, nil, fmt.Errorf("hf: %s: %w", g.Name(), err)
	}
	return blob, f, nil
}

// checkpoint lists the tensors under their Hugging Face names.
func (g ggufFile) checkpoint() (*Checkpoint, error) {
	blob, f, err := g.parse()
	if err != nil {
		return nil, err
	}
	c := &Checkpoint{name: g.Name(), tensors: map[string]*Tensor{}, metadata: map[string]string{}}
	c.shards = []shard{{filepath.Base(string(g)), blob}}
	tensors, err := ggufTensors(f)
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("hf: %s: %w", g.Name(), err)
	}
	for _, t := range tensors {
		t.release = blob.release
		c.tensors[t.Name] = t
	}
	return c, nil
}

// ropeFreqs is how llama.cpp stores the frequency scaling of LLaMA 3.1.
const ropeFreqs = "rope_freqs.weight"

var ggufNames = map[string]string{
	"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
	"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
	"attn_output": "self_attn.o_proj",
	"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
	"ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}

// ggufName returns the Hugging Face name of a tensor; one without keeps its own,
// so that the model that does not want it says so.
func ggufName(name string) string {
	switch name {
	case "token_embd.weight":
		return "model.embed_tokens.weight"
	case "output_norm.weight":
		return "model.norm.weight"
	case "output.weight":
		return "lm_head.weight"
	}
	if parts := strings.Split(name, "."); len(parts) == 4 && parts[0] == "blk" && ggufNames[parts[2]] != "" {
		return "model.layers." + parts[1] + "." + ggufNames[parts[2]] + "." + parts[3]
	}
	return name
}

func ggufTensors(f *gguf.File) ([]*Tensor, error) {
	m := &metadata{f: f}
	arch := m.text("general.architecture", "")
	dim := m.headDim(arch)
	if dim%2 != 0 {
		m.fail("%s.attention: heads of %d are odd: rotation needs pairs", arch, dim)
	}
	if m.err != nil {
		return nil, m.err
	}
	var list []*Tensor
	for _, x := range f.Tensors {
		if x.Name == ropeFreqs {
			continue // config.json has it
		}
		t := &Tensor{Name: ggufName(x.Name), DType: x.Type.Name, Shape: x.Shape, Data: x.Data}
		if !isPlain(t.DType) {
			t.blocks = x.Type
		}
		if arch == "llama" && (strings.Contains(t.Name, ".q_proj.") || strings.Contains(t.Name, ".k_proj.")) {
			if x.Shape[0]%dim != 0 {
				return nil, fmt.Errorf("tensor %q: %d rows are no whole number of heads of %d", x.Name, x.Shape[0], dim)
			}
			t.headDim = dim
		}
		list = append(list, t)
	}
	return list, nil
}

// metadata reads values by key and keeps the first error.
type metadata struct {
	f   *gguf.File
	err error
}

func (m *metadata) fail(format string, args ...any) {
	if m.err == nil {
		m.err = fmt.Errorf(format, args...)
	}
}

func (m *metadata) value(key string) (gguf.Value, bool) {
	v, ok := m.f.Value(key)
	return v, ok && m.err == nil
}

func (m *metadata) text(key, missing string) string {
	if v, ok := m.value(key); ok {
		s, err := v.Text()
		if err != nil {
			m.fail("%s %w", key, err)
		}
		return s
	}
	return missing
}

// count reads an integer from 1 to 2^31-1; missing = 0 makes the key required.
func (m *metadata) count(key string, missing int) int {
	v, ok := m.value(key)
	if !ok {
		if missing == 0 {
			m.fail("%s is missing", key)
		}
		return max(missing, 1)
	}
	n, err := v.Uint()
	if err != nil {
		m.fail("%s %w", key, err)
	} else if n < 1 || n > math.MaxInt32 {
		m.fail("%s %d is not an integer from 1 to 2^31-1", key, n)
	}
	return int(min(max(n, 1), math.MaxInt32))
}

// id reads a token id, -1 where there is none.
func (m *metadata) id(key string) int64 {
	v, ok := m.value(key)
	if !ok {
		return -1
	}
	n, err := v.Uint()
	if err != nil || n > maxTokenID {
		m.fail("%s is no token id up to %d", key, maxTokenID)
		return -1
	}
	return int64(n)
}

func (m *metadata) flag(key string, missing bool) bool {
	if v, ok := m.value(key); ok {
		b, err := v.Bool()
		if err != nil {
			m.fail("%s %w", key, err)
		}
		return b
	}
	return missing
}

// number reads a float and returns it as the shortest decimal that is the same
// float32: 1e-05 and not 9.99999974e-06.
func (m *metadata) number(key string, missing float64) json.Number {
	x := missing
	if v, ok := m.value(key); ok {
		var err error
		if x, err = v.Float(); err != nil {
			m.fail("%s %w", key, err)
		}
	} else if missing == 0 {
		m.fail("%s is missing", key)
	}
	if math.IsNaN(x) || math.IsInf(x, 0) {
		m.fail("%s is %v", key, x)
		return "0"
	}
	return json.Number(strconv.FormatFloat(x, 'g', -1, 32))
}

// headDim is the width of a head, of queries and of values.
func (m *metadata) headDim(arch string) int {
	heads, hidden := m.count(arch+".attention.head_count", 0), m.count(arch+".embedding_length", 0)
	if _, ok := m.f.Value(arch + ".attention.key_length"); !ok && m.err == nil && hidden%heads != 0 {
		m.fail("%s.embedding_length %d is not divisible by head_count %d", arch, hidden, heads)
	}
	dim := m.count(arch+".attention.key_length", max(1, hidden/heads))
	if v := m.count(arch+".attention.value_length", dim); v != dim {
		m.fail("%s.attention.value_length %d is not key_length %d", arch, v, dim)
	}
	if r := m.count(arch+".rope.dimension_count", dim); r != dim {
		m.fail("%s.rope.dimension_count %d is not the head's %d", arch, r, dim)
	}
	return dim
}

// refused are keys whose presence would change results in a way that is not
// computed here; most belong to relatives of these architectures.
var refused = []string{"expert_count", "attention.scale", "attention.logit_softcapping", "logit_scale",
	"residual_scale",
	"embedding_scale", "attention.clamp_kqv", "attention.max_alibi_bias", "rope.scaling.attn_factor"}

// ggufConfig writes config.json from the metadata.
func ggufConfig(f *gguf.File) ([]byte, error) {
	m := &metadata{f: f}
	arch := m.text("general.architecture", "")
	if m.err == nil && arch != "llama" && arch != "qwen2" && arch != "qwen3" {
		m.fail("general.architecture %q is not llama, qwen2 or qwen3", arch)
	}
	if n := m.count("split.count", 1); n != 1 {
		m.fail("split.count %d: the file is one of several; join them (llama-gguf-split --merge) first", n)
	}
	for _, key := range refused {
		v, ok := m.f.Value(arch + "." + key)
		if !ok {
			continue
		}
		if n, err := v.Uint(); err != nil || n != 0 {
			m.fail("%s.%s is not supported", arch, key)
		}
	}
	tensors := map[string]gguf.Tensor{}
	for _, t := range f.Tensors {
		tensors[t.Name] = t
	}
	has := func(name string) bool { _, ok := tensors[name]; return ok }
	embed := tensors["token_embd.weight"]
	if len(embed.Shape) != 2 {
		m.fail("tensor token_embd.weight is missing or no matrix")
		return nil, m.err
	}
	heads := m.count(arch+".attention.head_count", 0)
	c := map[string]any{
		"model_type": arch, "vocab_size": embed.Shape[0],
		"hidden_size": m.count(arch+".embedding_length", 0), "intermediate_size": m.count(arch+".feed_forward_length", 0),
		"num_hidden_layers": m.count(arch+".block_count", 0), "num_attention_heads": heads,
		"num_key_value_heads": m.count(arch+".attention.head_count_kv", heads), "head_dim": m.headDim(arch),
		"max_position_embeddings": m.count(arch+".context_length", 0),
		"rms_norm_eps":            m.number(arch+".attention.layer_norm_rms_epsilon", 0),
		"rope_theta":              m.number(arch+".rope.freq_base", 10000),
		"tie_word_embeddings":     !has("output.weight"),
	}
	if arch != "qwen2" {
		c["attention_bias"] = has("blk.0.attn_q.bias")
	}
	if arch == "llama" {
		c["mlp_bias"] = has("blk.0.ffn_gate.bias")
		if w := m.count(arch+".attention.sliding_window", math.MaxInt32); w < math.MaxInt32 {
			c["model_type"], c["sliding_window"] = "mistral", w
		}
	}
	for key, name := range map[string]string{"bos_token_id": "bos", "eos_token_id": "eos"} {
		if id := m.id("tokenizer.ggml." + name + "_token_id"); id >= 0 {
			c[key] = id
		}
	}
	if scaling := m.scaling(arch, tensors); scaling != nil {
		c["rope_scaling"] = scaling
	}
	if m.err != nil {
		return nil, m.err
	}
	data, err := json.MarshalIndent(c, "", "  ")
	return append(data, '\n'), err
}

// scaling returns rope_scaling, nil for none.
func (m *metadata) scaling(arch string, tensors map[string]gguf.Tensor) map[string]any {
	prefix := arch + ".rope.scaling."
	kind := m.text(prefix+"type", "none")
	if t, ok := tensors[ropeFreqs]; ok {
		if kind != "none" {
			m.fail("%stype %q and %s both stand there", prefix, kind, ropeFreqs)
		}
		return m.llama3(arch, t)
	}
	switch kind {
	case "none":
		return nil
	case "linear", "yarn":
		s := map[string]any{"rope_type": kind, "factor": m.number(prefix+"factor", 0)}
		if kind == "yarn" {
			s["original_max_position_embeddings"] = m.count(prefix+"original_context_length", 0)
		}
		return s
	}
	m.fail("%stype %q is not none, linear or yarn", prefix, kind)
	return nil
}

// llama3 finds the scaling of LLaMA 3.1 that divides frequencies by the factors
// in t: their largest is its factor, the rest of it is the same in all releases.
func (m *metadata) llama3(arch string, t gguf.Tensor) map[string]any {
	dim := m.headDim(arch)
	if m.err != nil {
		return nil
	}
	if len(t.Shape) != 1 || 2*t.Shape[0] != dim || t.Type.Name != "F32" {
		m.fail("tensor %s: %s %v is not F32 [%d]", ropeFreqs, t.Type.Name, t.Shape, dim/2)
		return nil
	}
	factors := make([]float32, dim/2)
	t.Type.Decode(factors, t.Data, 0)
	theta, err := m.number(arch+".rope.freq_base", 10000).Float64()
	if err != nil {
		m.fail("%s.rope.freq_base: %w", arch, err)
		return nil
	}
	const low, high, original = 1.0, 4.0, 8192
	factor := 1.0
	for _, x := range factors {
		factor = max(factor, float64(x))
	}
	for j, x := range factors {
		turns := original / (2 * math.Pi * math.Pow(theta, float64(2*j)/float64(dim)))
		smooth := min(max((turns-low)/(high-low), 0), 1)
		if want := 1 / ((1-smooth)/factor + smooth); !(math.Abs(float64(x)-want) <= 1e-3*want) {
			m.fail("tensor %s: element %d is %v; by the scaling of LLaMA 3.1 with factor %v it is %.6g",
				ropeFreqs, j, x, factor, want)
			return nil
		}
	}
	return map[string]any{"rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
		"original_max_position_embeddings": original}
}
