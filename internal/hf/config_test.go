package hf

import (
	"reflect"
	"strings"
	"testing"
)

const llamaConfig = `{"model_type":"llama","vocab_size":128256,"hidden_size":4096,"intermediate_size":14336,
"num_hidden_layers":3,"num_attention_heads":32,"num_key_value_heads":8,"max_position_embeddings":131072,
"rms_norm_eps":1e-05,"hidden_act":"silu"}`

// with changes or adds fields of llamaConfig; "-" removes one.
func with(fields ...string) string {
	s := strings.TrimSuffix(llamaConfig, "}")
	for i := 0; i < len(fields); i += 2 {
		// The last of two equal keys wins.
		if fields[i+1] == "-" {
			begin := strings.Index(s, `"`+fields[i]+`"`)
			s = s[:begin] + `"removed` + s[begin+1:]
			continue
		}
		s += `,"` + fields[i] + `":` + fields[i+1]
	}
	return s + "}"
}

func TestConfig(t *testing.T) {
	base := func(f func(*Config)) *Config {
		c := &Config{ModelType: "llama", VocabSize: 128256, HiddenSize: 4096, MLPSize: 14336, Layers: 3, Heads: 32, KVHeads: 8,
			HeadDim: 128, MaxPositions: 131072, RMSNormEps: 1e-5, RopeTheta: 10000, Window: []int{0, 0, 0}, BOS: -1}
		f(c)
		return c
	}
	llama3 := &Llama3Rope{Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPositions: 8192}
	const scaling = `"factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8192`
	for _, c := range []struct {
		name, json string
		want       *Config
	}{
		{"plain", with(), base(func(c *Config) {})},
		{"no kv heads", with("num_key_value_heads", "-"), base(func(c *Config) { c.KVHeads = 32 })},
		{"llama 3.1", with("rope_theta", "500000.0", "rope_scaling", `{"rope_type":"llama3",`+scaling+`}`, "torch_dtype", `"bfloat16"`, "bos_token_id", "128000", "eos_token_id", "[128001,128008,128009]"),
			base(func(c *Config) {
				c.RopeTheta, c.Llama3, c.DType, c.BOS, c.EOS = 500000, llama3, "bfloat16", 128000, []int32{128001, 128008, 128009}
			})},
		{"new spelling", with("rope_parameters", `{"rope_theta":500000.0,"rope_type":"llama3",`+scaling+`}`, "dtype", `"bfloat16"`, "eos_token_id", "2"),
			base(func(c *Config) { c.RopeTheta, c.Llama3, c.DType, c.EOS = 500000, llama3, "bfloat16", []int32{2} })},
		{"old type key", with("rope_scaling", `{"type":"llama3",`+scaling+`}`), base(func(c *Config) { c.Llama3 = llama3 })},
		{"packed", with("quantization_config", `{"quant_method":"mosaicquant","version":1}`), base(func(c *Config) { c.Packed = true })},
		{"nulls", with("rope_scaling", "null", "head_dim", "null", "eos_token_id", "null", "quantization_config", "null"), base(func(c *Config) {})},
		{"biases", with("attention_bias", "true", "mlp_bias", "true", "tie_word_embeddings", "true"),
			base(func(c *Config) { c.QKVBias, c.OutputBias, c.MLPBias, c.TieEmbeddings = true, true, true, true })},
		{"qwen2", with("model_type", `"qwen2"`, "use_sliding_window", "false", "sliding_window", "4096", "max_window_layers", "1"),
			base(func(c *Config) { c.ModelType, c.QKVBias = "qwen2", true })},
		{"qwen2 window", with("model_type", `"qwen2"`, "use_sliding_window", "true", "sliding_window", "4096", "max_window_layers", "1"),
			base(func(c *Config) { c.ModelType, c.QKVBias, c.Window = "qwen2", true, []int{0, 4096, 4096} })},
		{"qwen3", with("model_type", `"qwen3"`, "head_dim", "64"), base(func(c *Config) { c.ModelType, c.QKNorm, c.HeadDim = "qwen3", true, 64 })},
		{"qwen3 layer types", with("model_type", `"qwen3"`, "head_dim", "64", "use_sliding_window", "true", "sliding_window", "7", "max_window_layers", "3", "layer_types", `["sliding_attention","full_attention","sliding_attention"]`),
			base(func(c *Config) {
				c.ModelType, c.QKNorm, c.HeadDim, c.Window = "qwen3", true, 64, []int{7, 0, 7}
			})},
		{"mistral", with("model_type", `"mistral"`, "sliding_window", "4096"), base(func(c *Config) { c.ModelType, c.Window = "mistral", []int{4096, 4096, 4096} })},
		{"mistral without a window", with("model_type", `"mistral"`, "sliding_window", "null"), base(func(c *Config) { c.ModelType = "mistral" })},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ReadConfig(mapFS(map[string][]byte{"config.json": []byte(c.json)}))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("\n got %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestConfigBad(t *testing.T) {
	for _, c := range []struct{ name, json, want string }{
		{"no JSON", "{", "config.json"},
		{"a list", "[]", "config.json"},
		{"no model type", with("model_type", "-"), `model_type ""`},
		{"unknown model", with("model_type", `"gpt_neox"`), `model_type "gpt_neox"`},
		{"missing", with("vocab_size", "-"), "vocab_size is missing"},
		{"zero", with("hidden_size", "0"), "hidden_size 0 is not positive"},
		{"negative", with("num_hidden_layers", "-2"), "num_hidden_layers -2 is not positive"},
		{"fraction", with("num_hidden_layers", "1.5"), "num_hidden_layers 1.5 is not an integer"},
		{"huge", with("num_hidden_layers", "1e300"), "num_hidden_layers 1e+300"},
		{"too many layers", with("num_hidden_layers", "2000000000"), "num_hidden_layers 2000000000 exceeds"},
		{"a string", with("hidden_size", `"4096"`), `hidden_size "4096" is not a number`},
		{"eps", with("rms_norm_eps", "-1e-5"), "rms_norm_eps -1e-05"},
		{"activation", with("hidden_act", `"gelu"`), `hidden_act "gelu"`},
		{"quantized", with("quantization_config", `{"quant_method":"gptq"}`), "quantized already"},
		{"kv heads", with("num_key_value_heads", "5"), "num_key_value_heads 5"},
		{"kv heads missing", with("model_type", `"mistral"`, "num_key_value_heads", "-"), "num_key_value_heads is missing"},
		{"head dim", with("num_attention_heads", "24"), "hidden_size 4096 is not divisible"},
		{"no heads", with("num_attention_heads", "0"), "num_attention_heads 0"},
		{"odd head dim", with("head_dim", "33"), "head_dim 33 is odd"},
		{"qwen3 head dim", with("model_type", `"qwen3"`), "head_dim is missing"},
		{"rope type", with("rope_scaling", `{"rope_type":"longrope","factor":4}`), `rope_scaling.rope_type "longrope"`},
		{"yarn factor", with("rope_scaling", `{"rope_type":"yarn"}`), "rope_scaling.factor is missing"},
		{"yarn mscale", with("rope_scaling", `{"rope_type":"yarn","factor":4,"mscale":1}`), "rope_scaling.mscale 1 is not supported"},
		{"yarn betas", with("rope_scaling", `{"rope_type":"yarn","factor":4,"beta_fast":1}`), "beta_fast 1 is not above beta_slow 1"},
		{"linear factor", with("rope_scaling", `{"rope_type":"linear","factor":-1}`), "rope_scaling.factor -1"},
		{"rope by attention", with("rope_parameters", `{"full_attention":{"rope_type":"default"}}`), "rope_parameters.full_attention: a rotation of its own"},
		{"mistral layer types", with("model_type", `"mistral"`, "sliding_window", "7", "layer_types", `["sliding_attention","full_attention"]`), `layer_types: "full_attention"`},
		{"rope without a type", with("rope_scaling", `{"factor":4}`), "rope_scaling.rope_type is missing"},
		{"rope factor", with("rope_scaling", `{"rope_type":"llama3","factor":8}`), "rope_scaling.low_freq_factor is missing"},
		{"rope both", with("rope_scaling", `{"type":"default"}`, "rope_parameters", `{}`), "both stand there"},
		{"rope no object", with("rope_scaling", `3`), "rope_scaling 3"},
		{"theta", with("rope_theta", "0"), "rope_theta 0"},
		{"partial", with("partial_rotary_factor", "0.5"), "partial_rotary_factor 0.5"},
		{"eos", with("eos_token_id", "200000"), "eos_token_id 200000 is outside"},
		{"eos text", with("eos_token_id", `"x"`), `eos_token_id "x"`},
		{"mistral window", with("model_type", `"mistral"`), "sliding_window is missing"},
		{"window", with("model_type", `"mistral"`, "sliding_window", "-1"), "sliding_window -1"},
		{"layer types", with("model_type", `"qwen2"`, "use_sliding_window", "true", "sliding_window", "7", "max_window_layers", "1", "layer_types", `["full_attention"]`), "layer_types has 1 entries for 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ReadConfig(mapFS(map[string][]byte{"config.json": []byte(c.json)}))
			wantError(t, err, "model/config.json", c.want)
		})
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(llamaConfig))
	f.Add([]byte(with("model_type", `"qwen2"`, "use_sliding_window", "true", "sliding_window", "7", "max_window_layers", "1", "layer_types", `["full_attention"]`)))
	f.Add([]byte(with("rope_scaling", `{"rope_type":"llama3","factor":8}`)))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseConfig(data)
		if err == nil && (c.Heads%c.KVHeads != 0 || c.HeadDim < 2 || len(c.Window) != c.Layers || !(c.RMSNormEps > 0)) {
			t.Errorf("accepted %+v", c)
		}
	})
}
