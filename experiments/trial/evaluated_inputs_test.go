package trial

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/method"
	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/testmodel"
	"github.com/mosaicquant/mosaicquant/quant"
)

// TestSampledError checks the sums against their definition.
func TestSampledError(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	random := func(rows, cols int) gemm.Matrix {
		m := gemm.NewMatrix(rows, cols)
		for i := range m.Data {
			m.Data[i] = float32(rng.NormFloat64())
		}
		return m
	}
	w, wq, x, scales := random(7, 19), random(7, 19), random(5, 19), make([]float32, 19)
	for i := range scales {
		scales[i] = 0.5 + rng.Float32()
	}
	for _, scales := range [][]float32{nil, scales} {
		var lost, energy float64
		for m := range x.Rows {
			for n := range w.Rows {
				var e, y float64
				for k, v := range x.Row(m) {
					v := float64(v)
					if scales != nil {
						v /= float64(scales[k])
					}
					e += v * float64(w.Row(n)[k]-wq.Row(n)[k])
					y += v * float64(w.Row(n)[k])
				}
				lost, energy = lost+e*e, energy+y*y
			}
		}
		gotLost, gotEnergy := sampledError(w, wq, x, scales)
		if !(math.Abs(gotLost-lost) < 1e-4*lost) || !(math.Abs(gotEnergy-energy) < 1e-4*energy) {
			t.Errorf("scales %v: %v and %v, want %v and %v", scales != nil, gotLost, gotEnergy, lost, energy)
		}
	}
}

// TestEvaluatedError runs trials on a text that fits into the sample, where the output
// error on it is that under the second moments of all its tokens, smoothed or not; and
// counts the tokens that flip. The 16-bit model has no error and no flips.
func TestEvaluatedError(t *testing.T) {
	lab := testLab(t)
	rtn := plan.Trial{Model: testmodel.Short(t, "builtin:tiny-llama3"), Activations: "a16",
		Protocol:    plan.Protocol{Text: "builtin:heldout", Context: 64, Stride: 64, BOS: true, Tokens: 512},
		Calibration: plan.Calibration{Text: "builtin:calibration", Tokens: 1024, Context: 64},
		Method:      method.New("rtn", "format", "int4", "group", 128, "scale", "absmax")}
	smooth, none := rtn, rtn
	smooth.Method = rtn.Method.With("smoothing", 0.5)
	none.Method = method.New("none")
	s, err := lab.Open(t.Context(), rtn)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if seqs, every := s.inputs.windows(); len(seqs) != len(s.evaluator.windows) || every != 1 {
		t.Fatalf("every %d of the tokens of %d of %d windows, want all", every, len(seqs), len(s.evaluator.windows))
	}
	for name, tr := range map[string]plan.Trial{"rtn": rtn, "smoothed": smooth} {
		r, err := s.Run(t.Context(), tr)
		if err != nil || r.Status != row.OK {
			t.Fatalf("%s: %v %s", name, err, r.Error)
		}
		loop, err := s.quantization(t.Context(), tr)
		if err != nil {
			t.Fatal(err)
		}
		var lost, energy float64
		k := newKeeper(loop.store())
		for p, err := range loop.problems(t.Context(), true) {
			if err != nil {
				t.Fatal(err)
			}
			l, err := loop.layer(t.Context(), p, k)
			if err != nil {
				t.Fatal(err)
			}
			a, b := quant.Distortion(p.whole().Weights, l, p.HeldOut)
			lost, energy = lost+a*float64(p.HeldOut.Tokens)/2, energy+b*float64(p.HeldOut.Tokens)/2
		}
		evaluated, ok := r.Value(row.OutputErrorEvaluated)
		if want := lost / energy; !ok || !(math.Abs(evaluated.Value-want) < 1e-3*want) {
			t.Errorf("%s: output error on the evaluated text %v, want %v", name, evaluated.Value, want)
		}
		if calibrated, _ := r.Value(row.OutputError); calibrated.Value == evaluated.Value {
			t.Errorf("%s: the output error on both texts is %v", name, evaluated.Value)
		}
		lostTokens, gained := sum(r.Windows(row.WindowLost)), sum(r.Windows(row.WindowGained))
		tokens, agreeing := sum(r.Windows(row.WindowTokens)), sum(r.Windows(row.WindowTop1))
		some := testing.Short() || lostTokens > 0 && gained > 0 // the short model is right nowhere
		if !some || lostTokens+gained > tokens-agreeing {
			t.Errorf("%s: %v tokens lost and %v gained, of %v that do not agree", name, lostTokens, gained, tokens-agreeing)
		}
		if v, _ := r.Value(row.Top1Lost); v.Value != lostTokens/tokens {
			t.Errorf("%s: share %v of tokens lost, want %v of %v", name, v.Value, lostTokens, tokens)
		}
	}
	r, err := s.Run(t.Context(), none)
	if err != nil || r.Status != row.OK {
		t.Fatal(err, r.Error)
	}
	flips := sum(r.Windows(row.WindowLost)) + sum(r.Windows(row.WindowGained))
	if _, ok := r.Value(row.OutputErrorEvaluated); ok || flips != 0 {
		t.Error("the 16-bit model has an output error, or flips")
	}
}

// TestEvaluatedErrorOfStoredLayer: trials on two texts share a stored layer, and each has
// its output error on its own text.
func TestEvaluatedErrorOfStoredLayer(t *testing.T) {
	lab := testLab(t)
	first := func(tokens int, keep bool) *layer {
		tr := plan.Trial{Model: testmodel.Short(t, "builtin:tiny-llama3"), Activations: "a16",
			Protocol:    plan.Protocol{Text: "builtin:heldout", Context: 64, Stride: 64, BOS: true, Tokens: tokens},
			Calibration: plan.Calibration{Text: "builtin:calibration", Tokens: 1024, Context: 64},
			Method:      method.New("rtn", "format", "int4", "group", 128, "scale", "absmax")}
		s, err := lab.Open(t.Context(), tr)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		loop, err := s.quantization(t.Context(), tr)
		if err != nil {
			t.Fatal(err)
		}
		for p, err := range loop.problems(t.Context(), true) {
			if err != nil {
				t.Fatal(err)
			}
			l, err := loop.layer(t.Context(), p, newKeeper(loop.store()))
			if err != nil {
				t.Fatal(err)
			}
			if keep {
				key, err := loop.key(p.index)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := loop.store().Keep(key, l.encode); err != nil {
					t.Fatal(err)
				}
			}
			return l
		}
		t.Fatal("a model without layers")
		return nil
	}
	want := first(256, false)
	long := first(512, true)
	got := first(256, false)
	if want.stored || long.stored || !got.stored {
		t.Fatalf("stored: %t, %t, %t", want.stored, long.stored, got.stored)
	}
	if got.evaluatedLost != want.evaluatedLost || got.evaluatedEnergy != want.evaluatedEnergy || got.lost != want.lost {
		t.Errorf("lost %v of %v, want %v of %v", got.evaluatedLost, got.evaluatedEnergy, want.evaluatedLost, want.evaluatedEnergy)
	}
	if long.evaluatedLost == want.evaluatedLost {
		t.Error("both texts lose the same")
	}
}
