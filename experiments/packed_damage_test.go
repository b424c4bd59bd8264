package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/hf"
	"github.com/mosaicquant/mosaicquant/internal/testmodel"
)

// rewrite changes the metadata of the packed checkpoint in dir, and with seal also the
// hash that tells of it.
func rewrite(t *testing.T, dir string, seal bool, change func(meta string) string) {
	t.Helper()
	c, err := hf.OpenCheckpoint(hf.Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	meta := c.Metadata()
	text := change(meta[hf.QuantMethod])
	if text == meta[hf.QuantMethod] {
		t.Fatalf("the metadata has not what is to be changed: %.300s", text)
	}
	meta[hf.QuantMethod] = text
	if seal {
		sum := sha256.Sum256([]byte(text))
		meta[hf.QuantMethod+"_sha256"] = hex.EncodeToString(sum[:])
	}
	var tensors []*hf.Tensor
	for _, name := range c.Names() {
		tensor, err := c.Raw(name)
		if err != nil {
			t.Fatal(err)
		}
		tensors = append(tensors, tensor)
	}
	var b bytes.Buffer
	if err := hf.Write(&b, tensors, meta); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "new"), b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "model.safetensors")); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedPacked alters every part of a packed checkpoint. None of it is accepted,
// and no escape sequence reaches the terminal.
func TestDamagedPacked(t *testing.T) {
	base := t.TempDir()
	cache, whole, config := filepath.Join(base, "cache"), filepath.Join(base, "whole"), filepath.Join(base, "one.yaml")
	yaml := "name: one\nmodel: " + testmodel.Dir(t) + `
protocol: {text: builtin:heldout, context: 64, stride: 64, bos: true, tokens: 128}
calibration: {text: builtin:calibration, tokens: 256, seed: 1}
methods: [{method: rtn, group: 64}]
`
	if err := os.WriteFile(config, []byte(yaml), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := execute(t, "quantize", "-c", config, "--cache", cache, "-o", whole); err != nil {
		t.Fatal(err)
	}
	eval := func(dir string) (string, error) {
		return execute(t, "eval", "-m", dir, "--cache", cache, "--text", "builtin:heldout", "--context", "64", "--tokens", "128")
	}
	if _, err := eval(whole); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(base, ".whole*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	// flip changes the last byte of a tensor: part of a code or a mantissa.
	flip := func(name string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			c, err := hf.OpenCheckpoint(hf.Dir(dir))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			tensor, err := c.Raw(name)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "model.safetensors")
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			data[bytes.Index(data, tensor.Data)+len(tensor.Data)/2] ^= 1
			os.Remove(path)
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	edit := func(name, old, new string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, name)
			data, err := os.ReadFile(path)
			if err != nil || !bytes.Contains(data, []byte(old)) {
				t.Fatalf("%s has no %s, %v", name, old, err)
			}
			if err := os.WriteFile(path, bytes.Replace(data, []byte(old), []byte(new), 1), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	meta := func(seal bool, old, new string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			rewrite(t, dir, seal, func(text string) string { return strings.Replace(text, old, new, 1) })
		}
	}
	for name, c := range map[string]struct {
		damage func(t *testing.T, dir string)
		want   string // in the error; "" accepts
	}{
		"norm":         {flip("model.norm.weight"), "norm.weight has SHA-256"},
		"embedding":    {flip("model.embed_tokens.weight"), "model.embed_tokens.weight has SHA-256"},
		"packed":       {flip("model.layers.1.mlp.up_proj.weight_packed"), "up_proj.weight_packed"},
		"rope_theta":   {edit("config.json", `10000`, `10001`), "config.json has SHA-256"},
		"rms_norm_eps": {edit("config.json", `"rms_norm_eps"`, `"rms_norm_eps" `), "config.json has SHA-256"},
		"tokenizer":    {edit("tokenizer.json", `"vocab": {`, `"vocab":  {`), "tokenizer.json has SHA-256"},
		"tokenizer config": {func(t *testing.T, dir string) {
			os.WriteFile(filepath.Join(dir, "tokenizer_config.json"), []byte("{}"), 0o644)
		}, "tokenizer_config.json has SHA-256"},
		"method":  {meta(false, `"group":64`, `"group":32`), "_sha256"},
		"ledger":  {meta(true, `"name":"scales"`, `"name":"\u001b[2Jscales"`), "ledger"},
		"bits":    {meta(true, `"bits_per_weight":`, `"bits_per_weight":1`), "bits per weight"},
		"escapes": {meta(true, `"model":"`, `"model":"\u001b[31m\u009b2J`), ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "packed")
			if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			c.damage(t, dir)
			out, err := eval(dir)
			text := out
			if err != nil {
				text += err.Error()
			}
			if strings.ContainsAny(text, "\x1b\u009b") {
				t.Errorf("escapes reach the terminal: %q", text)
			}
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
			} else if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want it to say %q", err, c.want)
			}
		})
	}
}
