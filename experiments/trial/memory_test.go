package trial

import (
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/method"
	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/testmodel"
)

// TestMemory: what a method holds beyond another one counts, and so do the tokens
// of the calibration. How far the estimate is from the truth, results/README.md
// tells of a model where it matters.
func TestMemory(t *testing.T) {
	base := plan.Trial{Model: testmodel.Dir(t), Activations: "a16",
		Protocol:    plan.Protocol{Text: "builtin:heldout", Context: 16, Stride: 16, BOS: true, Tokens: 16},
		Calibration: plan.Calibration{Text: "builtin:calibration", Tokens: 128, Context: 64}}
	s, _, err := testLab(t).open(t.Context(), base)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var before int64
	for _, m := range []plan.Method{method.New("none"), method.New("rtn"), method.New("gptq"), method.New("gptq", "refine", 4),
		method.New("mosaic", "base", "gptq", "joint", true, "refine", 4)} {
		squares, copies := arrays(m)
		trial := base
		trial.Method = m
		if m.Name() == "none" {
			before = s.Memory(trial)
			continue
		}
		// H [256,256], W [128,256] of down_proj and the packed weights, times 1.4.
		quantizing := int64(garbage * float64(squares*256*256+copies*128*256))
		if got := s.Memory(trial); got < before || got < quantizing {
			t.Errorf("%+v: %d bytes, the method before it %d, the largest layer alone %d", m, got, before, quantizing)
		} else {
			before = got
		}
	}
	few, many := base, base
	few.Method, many.Method = method.New("rtn"), method.New("rtn")
	s.calibrated.settings.Tokens = 1 << 10
	a := s.Memory(few)
	s.calibrated.settings.Tokens = 1 << 20
	if b := s.Memory(many); !(b > a+4*(1<<20-1<<11)*128) {
		t.Errorf("2^20 calibration tokens take %d bytes, 2^10 take %d", b, a)
	}
}
