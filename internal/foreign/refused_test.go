package foreign

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/mosaicquant/mosaicquant/internal/hf"
)

// folder copies a checkpoint of testdata with one text of its config replaced, and one
// of the names of its tensors.
func folder(t *testing.T, name, old, with, oldTensor, withTensor string) hf.Files {
	t.Helper()
	dir := t.TempDir()
	for _, file := range []struct{ name, old, with string }{{"config.json", old, with}, {"model.safetensors", oldTensor, withTensor}} {
		data, err := os.ReadFile(filepath.Join("testdata", name, file.name))
		if err != nil {
			t.Fatal(err)
		}
		text := string(data)
		if !strings.Contains(text, file.old) {
			t.Fatalf("%s/%s has no %q", name, file.name, file.old)
		}
		if len(file.old) != len(file.with) && file.name != "config.json" {
			t.Fatalf("%q and %q differ in length", file.old, file.with)
		}
		text = strings.Replace(text, file.old, file.with, 1)
		if err := os.WriteFile(filepath.Join(dir, file.name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return hf.Dir(dir)
}

// TestRefused: a layout that is not known is refused by the name of its field.
func TestRefused(t *testing.T) {
	const layer = "model.layers.0.mlp.up_proj"
	for _, c := range []struct{ name, old, with, oldTensor, withTensor, want string }{
		{"gptq-v1", `"quant_method": "gptq"`, `"quant_method": "hqq"`, "", "", `quantization_config.quant_method "hqq" is not`},
		{"gptq-v1", `"bits": 4`, `"bits": 3`, "", "", "bits 3: only 2, 4 and 8"},
		{"gptq-v1", `"bits": 4`, `"bits": 8`, "", "", ".qweight\": shape [8 64], want [16 64]"},
		{"gptq-v1", `"bits": 4`, `"is_marlin_format": true, "bits": 4`, "", "", "is_marlin_format true is not supported"},
		{"gptq-v1", `"group_size": 32`, `"group_size": 64`, "", "", ".qzeros\": shape [2 8], want [1 8]"},
		{"gptq-v1", `"group_size": 32`, `"group_size": 0`, "", "", "group_size 0 is no group size"},
		{"gptq-v2", `"gptq_v2"`, `"marlin"`, "", "", `checkpoint_format "marlin" is not supported`},
		{"gptq-v2", `"pack_dtype": "int32"`, `"pack_dtype": "int64"`, "", "", "pack_dtype \"int64\" is not supported"},
		{"gptq-v1-act", `"bits": 4`, `"bits": 4`, layer + ".g_idx", layer + ".h_idx", layer + ".h_idx: no such tensor"},
		{"awq", `"version": "gemm"`, `"version": "gemv"`, "", "", `version "gemv" is not supported (want "gemm")`},
		{"awq", `"zero_point": true`, `"zero_point": false`, "", "", "zero_point false is not supported"},
		{"awq", `"o_proj"`, `"k_proj"`, "", "", `no tensor "model.layers.0.self_attn.k_proj.weight"`},
		{"bnb-nf4", `"load_in_8bit": false`, `"load_in_8bit": true`, "", "", "load_in_8bit true is not supported"},
		{"bnb-nf4", `"bnb_4bit_quant_type": "nf4"`, `"bnb_4bit_quant_type": "fp4"`, "", "", "quant_state.bitsandbytes__fp4"},
		{"bnb-nf4", `"bnb_4bit_quant_storage": "uint8"`, `"bnb_4bit_quant_storage": "bfloat16"`, "", "", `bnb_4bit_quant_storage "bfloat16" is not supported`},
		{"ct-w4a16-g32", `"pack-quantized"`, `"marlin-24"`, "", "", `config_groups.group_0.weights.format "marlin-24" is not`},
		{"ct-w4a16-g32", `"strategy": "group"`, `"strategy": "block"`, "", "", `weights.strategy "block" is not supported`},
		{"ct-w4a16-g32", `"kv_cache_scheme": null`, `"kv_cache_scheme": {"num_bits": 8}`, "", "", "kv_cache_scheme {"},
		{"ct-w4a16-g32", `"quantization_status": "compressed"`, `"quantization_status": "frozen"`, "", "", `quantization_status "frozen"`},
		{"ct-w4a16-g32", `"transform_config": {}`, `"transform_config": {"config_groups": {"R1": {}}}`, "", "", "transform_config {"},
		{"ct-w4a16-g32", `"symmetric": true`, `"symmetric": false`, "", "", "weight_zero_point"},
		{"ct-w8a8", `"dynamic": true`, `"dynamic": false`, "", "", "input_activations.dynamic false is not supported"},
		{"ct-nvfp4a16", `"group_size": 16`, `"group_size": 32`, "", "", "nvfp4-pack-quantized has 4, 16, true"},
		{"ct-mxfp4a16", "", "", layer + ".weight_scale", layer + ".weight_skale", `no tensor "` + layer + `.weight_scale"`},
	} {
		opened, err := Open(folder(t, c.name, c.old, c.with, c.oldTensor, c.withTensor))
		if err == nil {
			opened.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with %s: error %v, want %q", c.name, c.with+c.withTensor, err, c.want)
		}
	}
}

// TestGPTQZero: a zero that the libraries read differently is refused.
func TestGPTQZero(t *testing.T) {
	dir := filepath.Join("testdata", "gptq-v1")
	fsys := fstest.MapFS{}
	for _, name := range []string{"config.json", "model.safetensors"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		fsys[name] = &fstest.MapFile{Data: data}
	}
	tensors, err := hf.OpenCheckpoint(hf.Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer tensors.Close()
	zeros, err := tensors.Raw("model.layers.0.mlp.up_proj.qzeros")
	if err != nil {
		t.Fatal(err)
	}
	data := fsys["model.safetensors"].Data
	data[bytes.Index(data, zeros.Data)] = 0xf7 // the first layer whose zeros are the same
	const want = ".qzeros: group 0 of output 1 stores 15, which with checkpoint_format gptq is the zero 16 of AutoGPTQ and 0 of GPTQModel"
	if _, err := Open(hf.FS("x", fsys)); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
}

// TestForms: what package quant can hold without a change, it holds.
func TestForms(t *testing.T) {
	for name, want := range map[string]string{
		"ct-w4a16-g32": "int4 g32", "ct-w4a16-g32-asym": "int4 affine g32", "ct-w4a16-channel": "", "ct-w8a16-channel-asym": "int8 affine per-channel",
		"ct-w8a8": "int8 per-channel", "ct-nvfp4a16": "", "ct-mxfp4a16": "mxfp4 g32", "gptq-v1": "int4 g32", "gptq-v1-act": "", "gptq-v1-int8": "int8 g32",
		"gptq-v2": "int4 affine g32", "gptq-v2-act": "", "awq": "int4 affine g32", "bnb-nf4": "", "bnb-nf4-double": "", "bnb-fp4": "",
	} {
		c, err := Open(hf.Dir(filepath.Join("testdata", name)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		l, got := c.Layer("model.layers.0.mlp.up_proj"), ""
		if l.Quantized != nil {
			got = l.Quantized.Base.Format.String()
		}
		if got != want {
			t.Errorf("%s: stored as %q, want %q", name, got, want)
		}
		c.Close()
	}
}

// TestActOrder: columns of compressed-tensors find their groups through weight_g_idx, as
// its versions up to 0.14 write them.
func TestActOrder(t *testing.T) {
	g := &Grid{N: 1, K: 4, Bits: 4, Codes: []byte{0x91, 0x3f}, Scales: []float32{2, .5}, Zero: 8, Group: 2, Index: []int32{1, 0, 0, 1}}
	if err := g.check("x"); err != nil {
		t.Fatal(err)
	}
	want := []float32{-3.5, 2, 14, -2.5}
	for j, v := range dense(g).Data {
		if v != want[j] {
			t.Errorf("weight %d is %v, want %v", j, v, want[j])
		}
	}
	g.Index[2] = 2
	if err := g.check("x"); err == nil || !strings.Contains(err.Error(), "g_idx[2] is 2, of 2 groups") {
		t.Errorf("error %v", err)
	}
	if g.quantized() != nil {
		t.Error("groups that are no runs of columns fit package quant")
	}
}
