package hf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
)

// maxLayers bounds what a wrong number can make us allocate.
const maxLayers = 1 << 16

// Config is the config.json of a decoder that this project can run. Sizes are
// counts; every field has been checked.
type Config struct {
	ModelType    string // llama, mistral, qwen2 or qwen3
	VocabSize    int
	HiddenSize   int // D
	MLPSize      int // intermediate_size
	Layers       int
	Heads        int
	KVHeads      int // divides Heads
	HeadDim      int // even
	MaxPositions int
	RMSNormEps   float64

	RopeTheta float64
	// At most one of these scales the rotation; nil and 0 are none.
	Llama3       *Llama3Rope
	Yarn         *YarnRope
	LinearFactor float64 // frequencies are divided by it

	TieEmbeddings bool // lm_head is the embedding
	QKVBias       bool // q_proj, k_proj and v_proj add a bias
	OutputBias    bool // o_proj adds a bias
	MLPBias       bool // gate_proj, up_proj and down_proj add a bias
	QKNorm        bool // q and k are RMS-normed per head before rotation (qwen3)

	// Window has one entry per layer: how many tokens, its own included, a
	// token attends to; 0 is all of them.
	Window []int

	// Packed says that linear layers are stored as this project packs quantized
	// weights, not as tensors of a float type.
	Packed bool
	// Foreign is the quantization_config of a checkpoint that another program
	// quantized, nil for others. Only ReadForeignConfig gives one.
	Foreign json.RawMessage

	DType string  // of the weights as published, "" where not said
	BOS   int32   // bos_token_id, -1 where there is none
	EOS   []int32 // eos_token_id, one or several
}

// Llama3Rope is the frequency scaling of LLaMA 3.1: wavelengths longer than
// OriginalMaxPositions/LowFreqFactor are stretched by Factor, those shorter
// than OriginalMaxPositions/HighFreqFactor are kept, those between are
// interpolated.
type Llama3Rope struct {
	Factor, LowFreqFactor, HighFreqFactor float64
	OriginalMaxPositions                  int
}

// YarnRope is the frequency scaling of Peng et al. 2023 (arXiv:2309.00071): pairs
// that turn more than BetaFast times in OriginalMaxPositions are kept, those that
// turn less than BetaSlow times are slowed by Factor, those between are
// interpolated. Cosines and sines are multiplied by AttentionFactor.
type YarnRope struct {
	Factor, BetaFast, BetaSlow, AttentionFactor float64
	OriginalMaxPositions                        int
}

// QuantMethod is the quant_method of config.json's quantization_config in
// packed checkpoints; other programs refuse what they do not know.
const QuantMethod = "mosaicquant"

// ReadConfig reads config.json in the spelling of transformers 4 (rope_theta,
// rope_scaling, torch_dtype) or 5 (rope_parameters, dtype). What it does not
// understand and what would change the result is an error naming the field and
// its value: an unknown model_type, rope type or activation, a checkpoint that
// another program quantized.
//
// A missing field has the default that transformers 4.53 gives it where that
// does not depend on the size of the model: rope_theta 10000, no biases, untied
// embeddings, head_dim = hidden_size / heads, and for llama as many KV heads as
// heads.
func ReadConfig(files Files) (*Config, error) {
	c, err := ReadForeignConfig(files)
	if err == nil && c.Foreign != nil {
		return nil, fmt.Errorf("hf: %s: quantization_config %.80s: the checkpoint is quantized already, in another form "+
			"than this program's; {method: checkpoint} of a sweep reads it", at(files, "config.json"), c.Foreign)
	}
	return c, err
}

// ReadForeignConfig is ReadConfig, but accepts the quantization_config of another
// program.
func ReadForeignConfig(files Files) (*Config, error) {
	blob, err := files.Open("config.json")
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	c, err := parseConfig(blob.Data)
	if err != nil {
		return nil, fmt.Errorf("hf: %s: %w", at(files, "config.json"), err)
	}
	return c, nil
}

func parseConfig(data []byte) (*Config, error) {
	f := &fields{}
	if err := json.Unmarshal(data, &f.m); err != nil {
		return nil, err
	}
	c := &Config{ModelType: f.str("model_type", "")}
	if f.err == nil && !slices.Contains([]string{"llama", "mistral", "qwen2", "qwen3"}, c.ModelType) {
		return nil, fmt.Errorf("model_type %q is not llama, mistral, qwen2 or qwen3", c.ModelType)
	}
	if f.has("quantization_config") {
		var q struct {
			Method string `json:"quant_method"`
		}
		if err := json.Unmarshal(f.m["quantization_config"], &q); err != nil {
			return nil, fmt.Errorf("quantization_config %.80s: %w", f.m["quantization_config"], err)
		}
		if c.Packed = q.Method == QuantMethod; !c.Packed {
			c.Foreign = bytes.Clone(f.m["quantization_config"])
		}
	}
	if act := f.str("hidden_act", "silu"); act != "silu" {
		f.fail("hidden_act %q is not silu", act)
	}
	c.VocabSize = f.size("vocab_size", 0)
	c.HiddenSize = f.size("hidden_size", 0)
	c.MLPSize = f.size("intermediate_size", 0)
	c.Layers = f.size("num_hidden_layers", 0)
	if c.Layers > maxLayers {
		f.fail("num_hidden_layers %d exceeds %d", c.Layers, maxLayers)
	}
	c.Heads = f.size("num_attention_heads", 0)
	c.MaxPositions = f.size("max_position_embeddings", 0)
	c.RMSNormEps = f.positive("rms_norm_eps", 0)
	c.heads(f)
	c.rope(f)
	c.window(f)

	c.TieEmbeddings = f.flag("tie_word_embeddings", false)
	switch c.ModelType {
	case "llama":
		c.QKVBias = f.flag("attention_bias", false)
		c.OutputBias = c.QKVBias
		c.MLPBias = f.flag("mlp_bias", false)
	case "qwen2":
		c.QKVBias = true // in the architecture, not in the config
	case "qwen3":
		c.QKVBias = f.flag("attention_bias", false)
		c.OutputBias = c.QKVBias
		c.QKNorm = true
	}

	c.DType = f.str("torch_dtype", f.str("dtype", ""))
	c.BOS = -1
	if ids := f.ids("bos_token_id", c.VocabSize); len(ids) > 0 {
		c.BOS = ids[0]
	}
	c.EOS = f.ids("eos_token_id", c.VocabSize)
	if f.err != nil {
		return nil, f.err
	}
	return c, nil
}

func (c *Config) heads(f *fields) {
	defaultKV := 0
	if c.ModelType == "llama" || f.isNull("num_key_value_heads") {
		defaultKV = c.Heads
	}
	c.KVHeads = f.size("num_key_value_heads", defaultKV)
	defaultDim := 0
	if !f.has("head_dim") && f.err == nil {
		if c.ModelType == "qwen3" {
			f.fail("head_dim is missing") // transformers says 128 whatever the model's size
		} else if c.HiddenSize%c.Heads != 0 {
			f.fail("hidden_size %d is not divisible by num_attention_heads %d", c.HiddenSize, c.Heads)
		} else {
			defaultDim = c.HiddenSize / c.Heads
		}
	}
	c.HeadDim = f.size("head_dim", defaultDim)
	if f.err != nil {
		return
	}
	if c.Heads%c.KVHeads != 0 {
		f.fail("num_attention_heads %d is not divisible by num_key_value_heads %d", c.Heads, c.KVHeads)
	}
	if c.HeadDim%2 != 0 {
		f.fail("head_dim %d is odd: rotation needs pairs", c.HeadDim)
	}
	if p := f.positive("partial_rotary_factor", 1); p != 1 {
		f.fail("partial_rotary_factor %v is not 1", p)
	}
}

// rope reads rope_theta and rope_scaling, or rope_parameters, which holds both.
func (c *Config) rope(f *fields) {
	c.RopeTheta = f.positive("rope_theta", 10000)
	name := "rope_scaling"
	if f.has("rope_parameters") {
		if f.has(name) {
			f.fail("rope_scaling and rope_parameters both stand there")
			return
		}
		name = "rope_parameters"
	}
	if !f.has(name) {
		return
	}
	r := &fields{within: name + "."}
	if err := json.Unmarshal(f.m[name], &r.m); err != nil {
		f.fail("%s %.80s: %v", name, f.m[name], err)
		return
	}
	for _, key := range []string{"full_attention", "sliding_attention"} {
		if r.has(key) {
			r.fail("%s: a rotation of its own for each attention type is not supported", key)
		}
	}
	c.RopeTheta = r.positive("rope_theta", c.RopeTheta)
	switch kind := r.str("rope_type", r.str("type", "")); {
	case kind == "" && name == "rope_scaling":
		r.fail("rope_type is missing")
	case kind == "" || kind == "default": // rope_parameters may hold the theta only
	case kind == "llama3":
		l := &Llama3Rope{
			Factor:               r.positive("factor", 0),
			LowFreqFactor:        r.positive("low_freq_factor", 0),
			HighFreqFactor:       r.positive("high_freq_factor", 0),
			OriginalMaxPositions: r.size("original_max_position_embeddings", 0),
		}
		if r.err == nil && l.Factor < 1 {
			r.fail("factor %v is below 1", l.Factor)
		}
		if r.err == nil && l.HighFreqFactor <= l.LowFreqFactor {
			r.fail("high_freq_factor %v is not above low_freq_factor %v", l.HighFreqFactor, l.LowFreqFactor)
		}
		c.Llama3 = l
	case kind == "linear":
		c.LinearFactor = r.positive("factor", 0)
	case kind == "yarn":
		c.Yarn = r.yarn(c.MaxPositions)
	default:
		r.fail("rope_type %q is not default, linear, yarn or llama3", kind)
	}
	if p := r.positive("partial_rotary_factor", 1); p != 1 {
		r.fail("partial_rotary_factor %v is not 1", p)
	}
	if f.err == nil {
		f.err = r.err
	}
}

// yarn reads the fields of a YarnRope. Without original_max_position_embeddings,
// the original is the model's positions.
func (f *fields) yarn(positions int) *YarnRope {
	for _, key := range []string{"mscale", "mscale_all_dim", "truncate"} {
		if f.has(key) {
			f.fail("%s %.80s is not supported", key, f.m[key])
		}
	}
	y := &YarnRope{
		Factor: f.positive("factor", 0), BetaFast: f.positive("beta_fast", 32), BetaSlow: f.positive("beta_slow", 1),
		OriginalMaxPositions: f.size("original_max_position_embeddings", positions),
	}
	usual := 1.0
	if y.Factor > 1 {
		usual = 0.1*math.Log(y.Factor) + 1
	}
	y.AttentionFactor = f.positive("attention_factor", usual)
	if f.err == nil && y.BetaFast <= y.BetaSlow {
		f.fail("beta_fast %v is not above beta_slow %v", y.BetaFast, y.BetaSlow)
	}
	return y
}

// window fills Window. Mistral limits every layer when sliding_window is set;
// Qwen only with use_sliding_window, and then the layers from max_window_layers
// on or those that layer_types names.
func (c *Config) window(f *fields) {
	if f.err != nil {
		return
	}
	c.Window = make([]int, c.Layers)
	if c.ModelType == "llama" {
		return
	}
	if c.ModelType == "mistral" && f.has("layer_types") {
		for _, t := range f.strs("layer_types") { // transformers never looks at them
			if want := map[bool]string{true: "sliding_attention", false: "full_attention"}[f.has("sliding_window")]; t != want {
				f.fail("layer_types: %q, but all layers of a mistral are %s by sliding_window", t, want)
			}
		}
	}
	if c.ModelType != "mistral" && !f.flag("use_sliding_window", false) {
		return
	}
	if !f.has("sliding_window") {
		if _, stands := f.m["sliding_window"]; !stands {
			f.fail("sliding_window is missing: null says none")
		}
		return
	}
	size := f.size("sliding_window", 0)
	limited := func(layer int) bool { return true }
	if c.ModelType != "mistral" {
		first := f.count("max_window_layers")
		limited = func(layer int) bool { return layer >= first }
		if f.has("layer_types") {
			types := f.strs("layer_types")
			if f.err == nil && len(types) != c.Layers {
				f.fail("layer_types has %d entries for %d layers", len(types), c.Layers)
			}
			for _, t := range types {
				if t != "full_attention" && t != "sliding_attention" {
					f.fail("layer_types: %q is not full_attention or sliding_attention", t)
				}
			}
			limited = func(layer int) bool { return types[layer] == "sliding_attention" }
		}
	}
	if f.err != nil {
		return
	}
	for i := range c.Window {
		if limited(i) {
			c.Window[i] = size
		}
	}
}

// fields reads a JSON object field by field and keeps the first error.
type fields struct {
	m      map[string]json.RawMessage
	within string // path of the object, with a dot
	err    error
}

func (f *fields) fail(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf(f.within+format, args...)
	}
}

// has tells whether the field is there and not null.
func (f *fields) has(name string) bool {
	v, ok := f.m[name]
	return ok && !bytes.Equal(v, []byte("null"))
}

func (f *fields) isNull(name string) bool {
	_, ok := f.m[name]
	return ok && !f.has(name)
}

// get decodes a field into v and tells whether it was there.
func (f *fields) get(name, want string, v any) bool {
	if !f.has(name) {
		return false
	}
	if json.Unmarshal(f.m[name], v) != nil {
		f.fail("%s %.80s is not %s", name, f.m[name], want)
		return false
	}
	return true
}

func (f *fields) str(name, missing string) string {
	f.get(name, "a string", &missing)
	return missing
}

func (f *fields) strs(name string) (list []string) {
	f.get(name, "a list of strings", &list)
	return list
}

func (f *fields) flag(name string, missing bool) bool {
	f.get(name, "true or false", &missing)
	return missing
}

// positive reads a finite number above 0; missing = 0 makes the field required.
func (f *fields) positive(name string, missing float64) float64 {
	v := missing
	if !f.get(name, "a number", &v) {
		if missing == 0 {
			f.fail("%s is missing", name)
		}
		return missing
	}
	if !(v > 0) || math.IsInf(v, 0) {
		f.fail("%s %v is not positive", name, v)
	}
	return v
}

// size reads an integer from 1 to 2^31-1; missing = 0 makes the field required.
func (f *fields) size(name string, missing int) int {
	v := f.positive(name, float64(missing))
	if v != math.Trunc(v) || v > math.MaxInt32 {
		f.fail("%s %v is not an integer below 2^31", name, v)
		return missing
	}
	return int(v)
}

// count is a required size that may be 0.
func (f *fields) count(name string) int {
	v := -1
	if !f.get(name, "an integer", &v) {
		f.fail("%s is missing", name)
	} else if v < 0 {
		f.fail("%s %d is negative", name, v)
	}
	return v
}

// ids reads one token id or a list of them.
func (f *fields) ids(name string, vocab int) (ids []int32) {
	if !f.has(name) {
		return nil
	}
	var one int32
	if json.Unmarshal(f.m[name], &one) == nil {
		ids = []int32{one}
	} else if !f.get(name, "a token id or a list of them", &ids) {
		return nil
	}
	for _, id := range ids {
		if id < 0 || int(id) >= vocab {
			f.fail("%s %d is outside the vocabulary of %d", name, id, vocab)
		}
	}
	return ids
}
