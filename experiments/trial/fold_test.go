package trial

import (
	"fmt"
	"math"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/builtin"
	"github.com/mosaicquant/mosaicquant/internal/llm"
)

// Smoothing and synthetic outliers leave the 16-bit logits of the builtin models
// as they are, to 1e-5 of the largest, alone and together; and they do what they
// say to channels.
func TestFoldedModelsAreTheSame(t *testing.T) {
	lab := testLab(t)
	for _, name := range []string{"tiny-llama3", "tiny-qwen3"} {
		files, err := builtin.Model(name)
		if err != nil {
			t.Fatal(err)
		}
		model, err := llm.Open(files)
		if err != nil {
			t.Fatal(err)
		}
		defer model.Close()
		var ids []int32
		for i := range 48 {
			ids = append(ids, int32(i*i*7%model.Config().VocabSize))
		}
		want := logits(t, model, ids, nil)
		var largest float64
		for _, v := range want.Data {
			largest = max(largest, math.Abs(float64(v)))
		}
		sw, err := plan.Parse("fold.yaml", []byte(fmt.Sprintf(`
name: fold
model: builtin:%s
protocol: {text: builtin:heldout, context: 64, stride: 64, bos: true, tokens: 64}
calibration: {text: builtin:calibration, tokens: 512, seed: 1}
stress: {channels: [0%%, 2%%], gain: [30, 100]}
methods:
  - {method: rtn, smoothing: [0, 0.5, 0.85]}
  - {method: rtn, smoothing: 0.5, smoothing_sites: norms}
`, name)))
		if err != nil {
			t.Fatal(err)
		}
		folded := 0
		for _, tr := range sw.Trials {
			s, err := lab.Open(t.Context(), tr)
			if err != nil {
				t.Fatal(err)
			}
			m, scales, err := s.calibrated.smooth(t.Context(), tr)
			if err != nil {
				t.Fatal(err)
			}
			got := logits(t, m, ids, nil)
			s.Close()
			var worst float64
			for i, v := range got.Data {
				worst = max(worst, math.Abs(float64(v)-float64(want.Data[i])))
			}
			if !(worst <= 1e-5*largest) {
				t.Errorf("%s %s: logits differ by %.2g of the largest", name, tr.Label, worst/largest)
			}
			if worst > 0 {
				folded++
			}
			sites := map[string]int{"": 0, "all": 4, "norms": 2}[tr.Method.Word("smoothing_sites")] * model.Config().Layers
			if tr.Method.Float("smoothing") == 0 {
				sites = 0
			}
			if len(scales) != sites {
				t.Errorf("%s %s: %d sites have scales, want %d", name, tr.Label, len(scales), sites)
			}
		}
		if folded != len(sw.Trials)-1 {
			t.Errorf("%s: %d of %d trials change a bit of the logits; all but one fold scales into weights", name, folded, len(sw.Trials))
		}
	}
}
