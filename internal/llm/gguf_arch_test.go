package llm

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/hf"
)

// changed is a folder whose config.json has other values.
type changed struct {
	hf.Files
	values map[string]any
}

func (c changed) Open(name string) (*hf.Blob, error) {
	blob, err := c.Files.Open(name)
	if err != nil || name != "config.json" {
		return blob, err
	}
	defer blob.Close()
	m := map[string]any{}
	if err := json.Unmarshal(blob.Data, &m); err != nil {
		return nil, err
	}
	for k, v := range c.values {
		if m[k] = v; v == nil {
			delete(m, k)
		}
	}
	data, err := json.Marshal(m)
	return &hf.Blob{Data: data}, err
}

// TestGGUFArchitectures: files with the names and keys that the Python package gguf has
// for each architecture, see scripts/golden/gguf_arch.py, are the models that they were
// converted from.
func TestGGUFArchitectures(t *testing.T) {
	text, err := os.ReadFile("testdata/gguf/arch.json")
	if err != nil {
		t.Fatal(err)
	}
	var index map[string][]struct {
		Name                 string
		Heads, Bytes, Offset int
		Values               []float32
	}
	if err := json.Unmarshal(text, &index); err != nil {
		t.Fatal(err)
	}
	for name, values := range map[string]map[string]any{
		"llama3": {"rope_scaling": map[string]any{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
			"high_freq_factor": 4.0, "original_max_position_embeddings": 8192}},
		"llama-bias": nil,
		"mistral":    nil,
		"qwen2":      {"use_sliding_window": false, "layer_types": nil}, // GGUF has no key for its windows
		"qwen3":      nil,
	} {
		t.Run(name, func(t *testing.T) {
			want := open(t, changed{hf.Dir(filepath.Join("testdata", name)), values})
			head, err := os.ReadFile(filepath.Join("testdata/gguf", name+".head"))
			if err != nil || len(index[name]) == 0 {
				t.Fatal(len(index[name]), err)
			}
			file := bytes.Clone(head)
			for _, e := range index[name] {
				x := e.Values
				if x == nil {
					tensor, err := want.Checkpoint().Raw(e.Name)
					if err != nil {
						t.Fatal(err)
					}
					x = reordered(tensor.Float32(), e.Heads, tensor.Shape[0])
				}
				if 4*len(x) != e.Bytes || len(file) > len(head)+e.Offset {
					t.Fatalf("%s: %d values for %d bytes at %d", e.Name, len(x), e.Bytes, e.Offset)
				}
				file = append(file, make([]byte, len(head)+e.Offset-len(file))...)
				for _, v := range x {
					file = binary.LittleEndian.AppendUint32(file, math.Float32bits(v))
				}
			}
			file = append(file, make([]byte, 32)...)
			path := filepath.Join(t.TempDir(), name+".gguf")
			if err := os.WriteFile(path, file, 0o644); err != nil {
				t.Fatal(err)
			}
			got := open(t, hf.GGUF(path))
			var ids []int32
			for i := range 60 {
				ids = append(ids, int32(i*37%got.Config().VocabSize))
			}
			a, b := logits(t, got, ids), logits(t, want, ids)
			if !slices.Equal(a.Data, b.Data) {
				t.Errorf("logits differ by %.2g of the largest", difference(a, b))
			}
		})
	}
}

// reordered returns x with the rows of each head as llama.cpp's converter permutes them.
func reordered(x []float32, heads, rows int) []float32 {
	if heads == 0 {
		return x
	}
	width, half := len(x)/rows, rows/heads/2
	out := make([]float32, 0, len(x))
	for h := range heads {
		for i := range half {
			for part := range 2 {
				at := ((h*2+part)*half + i) * width
				out = append(out, x[at:at+width]...)
			}
		}
	}
	return out
}
