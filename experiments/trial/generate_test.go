package trial

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/hf"
	"github.com/mosaicquant/mosaicquant/internal/llm"
)

// TestGenerate: the text is that of the most likely tokens, which float32 products of what
// is stored find without a cache; in a packed checkpoint of each form, and in 16 bits.
func TestGenerate(t *testing.T) {
	const tokens, prompt = 5, "The castle stands on"
	lab := testLab(t)
	models := map[string]string{"16 bits": "builtin:tiny-llama3"}
	for name, method := range map[string]string{
		"records": "{method: mosaic, density: 12.5%, block: 1x8, residual_bits: 2, residual_scale: half, index: exact}",
		"nf4":     "{method: rtn, group: 64, format: nf4}",
	} {
		sw, err := plan.Parse("g.yaml", []byte(`
name: g
model: builtin:tiny-llama3
protocol: {text: builtin:heldout, context: 64, stride: 64, bos: true, tokens: 64}
calibration: {text: builtin:calibration, tokens: 512, seed: 1}
methods: [`+method+"]\n"))
		if err != nil {
			t.Fatal(err)
		}
		models[name] = filepath.Join(t.TempDir(), "packed")
		if _, err := lab.Quantize(t.Context(), sw.Trials[0], models[name]); err != nil {
			t.Fatal(err)
		}
	}
	texts := map[string]bool{}
	for name, ref := range models {
		g := Generation{Model: ref, Prompt: prompt, Tokens: tokens, Batches: []int{1, 3}, Repeats: 1, BOSAsTokenizer: true}
		out, err := lab.Generate(t.Context(), g)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if want := likely(t, lab, ref, prompt, tokens); out.Text != want {
			t.Errorf("%s: %q, want %q", name, out.Text, want)
		}
		texts[out.Text] = true
		if len(out.Speeds) != 2 || out.Speeds[1].Batch != 3 || len(out.Speeds[0].Decode) != 1 || !(out.Speeds[0].Decode[0] > 0) {
			t.Errorf("%s: %+v", name, out.Speeds)
		}
		if weights := int64(out.WeightBytes); (name == "16 bits") != (weights > 5<<20) {
			t.Errorf("%s: %d bytes of weights", name, weights)
		}
	}
	if len(texts) < 2 {
		t.Errorf("all models write %v: the test tells nothing apart", texts)
	}
	for want, g := range map[string]Generation{
		"has 256 positions": {Model: models["nf4"], Prompt: prompt, Tokens: 600, Batches: []int{1}, BOSAsTokenizer: true},
		"prompt: is empty":  {Model: models["nf4"], Tokens: 2, Batches: []int{1}, BOS: false},
	} {
		if _, err := lab.Generate(t.Context(), g); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// likely continues prompt by float32 products over all tokens at each step.
func likely(t *testing.T, lab *Lab, ref, prompt string, tokens int) string {
	t.Helper()
	files, err := lab.OpenModel(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	m, err := llm.Open(files)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	tokenizer, err := hf.ReadTokenizer(files)
	if err != nil {
		t.Fatal(err)
	}
	var ids []int32
	if bos, ok := tokenizer.BOS(); ok {
		ids = append(ids, bos)
	}
	ids = append(ids, tokenizer.Encode(prompt)...)
	before := len(tokenizer.Decode(ids))
	for range tokens {
		h, err := m.Hidden(context.Background(), [][]int32{ids}, nil)
		if err != nil {
			t.Fatal(err)
		}
		logits := gemm.NewMatrix(1, m.Config().VocabSize)
		if err := m.Logits(logits, h.View(h.Rows-1, h.Rows, 0, h.Cols)); err != nil {
			t.Fatal(err)
		}
		best := 0
		for j, v := range logits.Data {
			if v > logits.Data[best] {
				best = j
			}
		}
		ids = append(ids, int32(best))
	}
	return tokenizer.Decode(ids)[before:]
}
