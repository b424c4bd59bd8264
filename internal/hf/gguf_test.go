package hf

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gguf"
)

const tinyGGUF = "../llm/testdata/gguf/tiny.gguf"

// TestRowOrder compares with the permutation of llama.cpp's converter, written
// out for heads of 4: row i of the file is row order[i] of the model.
func TestRowOrder(t *testing.T) {
	order := []float32{0, 2, 1, 3, 4, 6, 5, 7}
	var data []byte
	for _, x := range order {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
	}
	x := &Tensor{Name: "q", DType: "F32", Shape: []int{8}, Data: data, headDim: 4}
	want := []float32{0, 1, 2, 3, 4, 5, 6, 7}
	if got := x.Float32(); !slices.Equal(got, want) {
		t.Errorf("rows %v, want %v", got, want)
	}
	if got := x.Plain(); got.headDim != 0 || !slices.Equal(got.Float32(), want) {
		t.Errorf("Plain() gives rows %v, want %v", got.Float32(), want)
	}
}

func TestGGUFMissing(t *testing.T) {
	_, err := ReadConfig(GGUF(t.TempDir() + "/x.gguf"))
	wantError(t, err, "x.gguf", "no such file")
	path := t.TempDir() + "/y.gguf"
	if err := os.WriteFile(path, []byte("GGUF"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = OpenCheckpoint(GGUF(path))
	wantError(t, err, "y.gguf", "truncated: 4 bytes")
}

// FuzzGGUF reads whatever parses as config, tokenizer and tensors.
func FuzzGGUF(f *testing.F) {
	data, err := os.ReadFile(tinyGGUF)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	if data, err = os.ReadFile("testdata/fallback/tokenizer.gguf"); err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := gguf.Parse(data)
		if err != nil {
			return
		}
		if config, err := ggufConfig(file); err == nil {
			if !json.Valid(config) {
				t.Fatalf("config.json is no JSON: %s", config)
			}
			parseConfig(config)
		}
		if tokenizer, err := ggufTokenizer(file); err == nil {
			if tok, err := parseTokenizer(tokenizer); err == nil {
				tok.Encode("a b\x00 12 é")
			}
		}
		if tensors, err := ggufTensors(file); err == nil {
			for _, x := range tensors {
				x.Plain()
				x.Float32()
			}
		}
	})
}
