// Package testmodel makes a model for tests that ask how trials run, not what
// they find: with some sixteenth of the weights of the builtin models, trials
// take seconds under the race detector, where those take minutes.
package testmodel

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mosaicquant/mosaicquant/internal/builtin"
	"github.com/mosaicquant/mosaicquant/internal/hf"
	"github.com/mosaicquant/mosaicquant/internal/llm"
)

// Layers is the number of decoder layers of the model, with 4 sites and 7 linear
// layers each.
const Layers = 2

// Dir returns a folder with a model of random weights in LLaMA style, K=128 and
// 256, and the tokenizer of builtin:tiny-llama3.
func Dir(t testing.TB) string {
	t.Helper()
	random := llm.Random(hf.Config{
		ModelType: "llama", VocabSize: 4096, HiddenSize: 128, MLPSize: 256, Layers: Layers, Heads: 2, KVHeads: 1, HeadDim: 64,
		MaxPositions: 256, RMSNormEps: 1e-5, RopeTheta: 10000, TieEmbeddings: true,
	}, 1)
	tokenizer, err := builtin.Model("tiny-llama3")
	if err != nil {
		t.Fatal(err)
	}
	dir, old := t.TempDir(), time.Now().Add(-time.Hour) // the hash of young files is not kept
	for name, from := range map[string]hf.Files{"config.json": random, "model.safetensors": random,
		"tokenizer.json": tokenizer} {
		blob, err := from.Open(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), blob.Data, 0o644)
		}
		if err == nil {
			err = os.Chtimes(filepath.Join(dir, name), old, old)
		}
		if err != nil {
			t.Fatal(err)
		}
		blob.Close()
	}
	return dir
}

// Short returns Dir with -short, and the given model else.
func Short(t testing.TB, model string) string {
	t.Helper()
	if testing.Short() {
		return Dir(t)
	}
	return model
}
