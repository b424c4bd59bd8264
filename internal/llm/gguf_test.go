package llm

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/hf"
)

// smolLM2 returns the GGUF that scripts/smollm2 unpacks, or skips the test.
func smolLM2(t *testing.T) string {
	t.Helper()
	path := os.Getenv("SMOLLM2_GGUF")
	if path == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Skip("needs SMOLLM2_GGUF: no cache folder:", err)
		}
		path = filepath.Join(cache, "mosaicquant", "models", "SmolLM2-135M-Instruct.Q4_1.gguf")
	}
	if _, err := os.Stat(path); err != nil {
		t.Skip("needs SmolLM2: run scripts/smollm2, or set SMOLLM2_GGUF:", err)
	}
	return path
}

// TestGGUFEqualsTransformers compares token ids and logits of GGUF models with what
// Hugging Face makes of the same files, see scripts/golden/gguf_llama.py.
func TestGGUFEqualsTransformers(t *testing.T) {
	for name, path := range map[string]func(*testing.T) string{
		"tiny":    func(*testing.T) string { return "testdata/gguf/tiny.gguf" },
		"smollm2": smolLM2,
	} {
		t.Run(name, func(t *testing.T) {
			files := hf.GGUF(path(t))
			m := open(t, files)
			tokenizer, err := hf.ReadTokenizer(files)
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(filepath.Join("testdata/gguf", name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			var g struct {
				SHA256 string
				Step   int
				Cases  []struct {
					Text      string
					IDs       []int32
					LogSumExp []float64
					Logits    [][]float64
				}
			}
			if err := json.Unmarshal(text, &g); err != nil {
				t.Fatal(err)
			}
			if sha := m.Checkpoint().SHA256(); sha != g.SHA256 {
				t.Fatalf("the file has SHA-256 %s, the golden is of %s", sha, g.SHA256)
			}
			worst := 0.0
			for _, c := range g.Cases {
				ids := tokenizer.Encode(c.Text)
				if !slices.Equal(ids, c.IDs) {
					t.Errorf("Encode(%q)\n got %v\nwant %v", c.Text, ids, c.IDs)
					continue
				}
				if len(ids) == 0 {
					continue
				}
				h, err := m.Hidden(t.Context(), [][]int32{ids}, nil)
				if err != nil {
					t.Fatal(err)
				}
				logits := gemm.NewMatrix(len(ids), m.Config().VocabSize)
				if err := m.Logits(logits, h); err != nil {
					t.Fatal(err)
				}
				scale := 0.0
				for _, v := range logits.Data {
					scale = math.Max(scale, math.Abs(float64(v)))
				}
				for i, want := range c.LogSumExp {
					sum := 0.0
					for _, v := range logits.Row(i) {
						sum += math.Exp(float64(v))
					}
					worst = math.Max(worst, math.Abs(math.Log(sum)-want)/scale)
				}
				for j, want := range c.Logits[0] {
					worst = math.Max(worst, math.Abs(float64(logits.Row(len(ids) - 1)[j*g.Step])-want)/scale)
				}
			}
			if !(worst <= tolerance) || len(g.Cases) < 6 {
				t.Errorf("%d cases differ by %.2g of the largest logit, want at most %.0e", len(g.Cases), worst, tolerance)
			} else {
				t.Logf("differ by %.2g of the largest logit", worst)
			}
		})
	}
}

func TestGGUFPrecision(t *testing.T) {
	for files, want := range map[hf.Files]string{hf.GGUF("testdata/gguf/tiny.gguf"): "Q4_1/Q8_0/F16/Q4_0/Q5_1/Q5_0", hf.Dir(tinyDir): "BF16"} {
		c := open(t, files).Checkpoint()
		if got := c.Precision(); got != want || c.Quantized() != (want != "BF16") {
			t.Errorf("%s: precision %s, quantized %v, want %s", files.Name(), got, c.Quantized(), want)
		}
	}
}
