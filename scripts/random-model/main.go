// Command random-model writes a checkpoint of a published model's shape with
// random bfloat16 weights, to measure what a model of that size takes of memory,
// disk and time where the model itself is not at hand:
//
//	go run ./scripts/random-model -shape llama3.2-1b -tokenizer DIR -o DIR
//
// Nothing that such a model says of quality means anything. The tokenizer is
// copied from a folder in Hugging Face layout; its vocabulary must fit the
// shape's. Embeddings that are the output layer too get variance 1/D, so that
// logits have variance 1 and exp stays finite. The same seed and shape give the
// same bytes. It takes as much memory as the checkpoint has bytes.
package main

import (
	"bufio"
	"encoding/binary"
	"flag"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/hf"
	"github.com/mosaicquant/mosaicquant/internal/llm"
)

func main() {
	shape := flag.String("shape", "llama3.2-1b", "`name` of the architecture")
	layers := flag.Int("layers", 0, "decoder layers, in place of the architecture's")
	tokenizer := flag.String("tokenizer", "", "`folder` of tokenizer.json")
	out := flag.String("o", "", "`folder` to write, which must not exist")
	seed := flag.Uint64("seed", 1, "seed of the weights")
	flag.Parse()
	if *out == "" || *tokenizer == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*shape, *layers, *tokenizer, *out, *seed); err != nil {
		fmt.Fprintln(os.Stderr, "random-model:", err)
		os.Exit(1)
	}
}

func run(shape string, layers int, tokenizer, out string, seed uint64) error {
	a, ok := plan.ArchitectureOf(shape)
	if !ok {
		return fmt.Errorf("no architecture %q", shape)
	}
	if layers < 1 {
		layers = a.Layers
	}
	if err := os.Mkdir(out, 0o755); err != nil {
		return err
	}
	model := llm.Random(hf.Config{
		ModelType: a.Type, VocabSize: a.Vocab, HiddenSize: a.Hidden, MLPSize: a.MLP, Layers: layers,
		Heads: a.Heads, KVHeads: a.KVHeads, HeadDim: a.HeadDim, MaxPositions: a.Positions,
		RMSNormEps: a.RMSNormEps, RopeTheta: a.RopeTheta, TieEmbeddings: a.Tied, QKNorm: a.QKNorm,
	}, seed)
	if err := copyFile(model, "config.json", out); err != nil {
		return err
	}
	source := hf.Dir(tokenizer)
	if err := copyFile(source, "tokenizer.json", out); err != nil {
		return err
	}
	if _, err := fs.Stat(os.DirFS(tokenizer), "tokenizer_config.json"); err == nil {
		if err := copyFile(source, "tokenizer_config.json", out); err != nil {
			return err
		}
	}
	checkpoint, err := hf.OpenCheckpoint(model)
	if err != nil {
		return err
	}
	defer checkpoint.Close()
	var tensors []*hf.Tensor
	for _, name := range checkpoint.Names() {
		t, err := checkpoint.Tensor(name)
		if err != nil {
			return err
		}
		if a.Tied && name == "model.embed_tokens.weight" {
			scaled := *t
			scaled.Data = scale(t.Data, 1/math.Sqrt(float64(a.Hidden)))
			t = &scaled
		}
		tensors = append(tensors, t)
	}
	f, err := os.Create(filepath.Join(out, "model.safetensors"))
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	if err := hf.Write(w, tensors, nil); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// scale returns bfloat16 elements times c, rounded towards zero.
func scale(data []byte, c float64) []byte {
	out := slices.Clone(data)
	for i := 0; i < len(out); i += 2 {
		v := math.Float32frombits(uint32(binary.LittleEndian.Uint16(data[i:])) << 16)
		binary.LittleEndian.PutUint16(out[i:], uint16(math.Float32bits(float32(float64(v)*c))>>16))
	}
	return out
}

func copyFile(from hf.Files, name, dir string) error {
	blob, err := from.Open(name)
	if err != nil {
		return err
	}
	defer blob.Close()
	return os.WriteFile(filepath.Join(dir, name), blob.Data, 0o644)
}
