package sweep

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/builtin"
	"github.com/mosaicquant/mosaicquant/internal/row"
)

// TestBadModel damages a copy of the builtin model, one way at a time. Each
// must end in one error that names the place, and no row may carry a number.
func TestBadModel(t *testing.T) {
	for _, c := range []struct {
		name, file string
		damage     func(t *testing.T, data []byte) []byte
		want       []string
	}{
		{"truncated weights", "model.safetensors", func(_ *testing.T, d []byte) []byte { return d[:len(d)/2] },
			[]string{"model.safetensors", "truncated"}},
		{"header longer than the file", "model.safetensors", func(_ *testing.T, d []byte) []byte {
			binary.LittleEndian.PutUint64(d, uint64(len(d)))
			return d
		}, []string{"model.safetensors", "header"}},
		{"a shape that lies", "model.safetensors", func(t *testing.T, d []byte) []byte {
			return replace(t, d, `"shape":[256,768]`, `"shape":[256,769]`)
		}, []string{"model.safetensors", "down_proj"}},
		{"NaN weight", "model.safetensors", func(t *testing.T, d []byte) []byte {
			n := binary.LittleEndian.Uint64(d)
			var header map[string]struct {
				Offsets [2]int `json:"data_offsets"`
			}
			if err := json.Unmarshal(d[8:8+n], &header); err != nil {
				t.Fatal(err)
			}
			at := 8 + int(n) + header["model.layers.1.self_attn.k_proj.weight"].Offsets[0]
			binary.LittleEndian.PutUint16(d[at+2*257:], 0x7fc0) // row 1, column 1 of [128,256]
			return d
		}, []string{"model.layers.1.self_attn.k_proj", "[1,1]", "NaN"}},
		{"a vocabulary that does not match", "config.json", func(t *testing.T, d []byte) []byte {
			return replace(t, d, `"vocab_size": 4096`, `"vocab_size": 4100`)
		}, []string{"embed_tokens", "4096", "4100"}},
		{"unknown architecture", "config.json", func(t *testing.T, d []byte) []byte {
			return replace(t, d, `"model_type": "llama"`, `"model_type": "mamba"`)
		}, []string{"config.json", "model_type", "mamba"}},
		{"no JSON", "tokenizer.json", func(_ *testing.T, d []byte) []byte { return d[:100] },
			[]string{"tokenizer.json"}},
		{"no weights", "model.safetensors", func(*testing.T, []byte) []byte { return nil },
			[]string{"model.safetensors"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			files, err := builtin.Model("tiny-llama3")
			if err != nil {
				t.Fatal(err)
			}
			model := t.TempDir()
			for _, name := range []string{"config.json", "model.safetensors", "tokenizer.json"} {
				blob, err := files.Open(name)
				if err != nil {
					t.Fatal(err)
				}
				data := bytes.Clone(blob.Data)
				if name == c.file {
					if data = c.damage(t, data); data == nil {
						continue
					}
				}
				if err := os.WriteFile(filepath.Join(model, name), data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			dir := t.TempDir()
			sw := parse(t, "name: bad\nmodel: "+model+`
protocol: {text: builtin:heldout, context: 64, stride: 64, bos: true, tokens: 64}
calibration: {text: builtin:calibration, tokens: 128, seed: 1}
methods: [{method: rtn}]
`)
			_, err = Run(t.Context(), newLab(t), sw, Options{Dir: dir})
			list, _, rerr := row.ReadFile(filepath.Join(dir, row.File))
			if rerr != nil {
				t.Fatal(rerr)
			}
			var text string
			switch {
			case err != nil:
				text = err.Error()
			case len(list) == 1 && list[0].Status == row.Failed && len(list[0].Values) == 0:
				text = list[0].Error
			default:
				t.Fatalf("no error; rows: %+v", list)
			}
			t.Log(text)
			for _, want := range c.want {
				if !strings.Contains(text, want) {
					t.Errorf("error %q does not say %q", text, want)
				}
			}
		})
	}
}

func replace(t *testing.T, data []byte, old, new string) []byte {
	t.Helper()
	if !bytes.Contains(data, []byte(old)) {
		t.Fatalf("the model has no %s", old)
	}
	return bytes.Replace(data, []byte(old), []byte(new), 1)
}
