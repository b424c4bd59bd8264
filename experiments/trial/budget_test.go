package trial

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/method"
	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/testmodel"
)

// Layers that share the budget of a joint residual keep as many blocks as layers
// of one density, but not the same shares; and a trial that was killed ends with
// the same row.
func TestJointBudget(t *testing.T) {
	defer func(a time.Duration) { keepLayer = a }(keepLayer)
	keepLayer = 0
	lab := testLab(t)
	trial := func(criterion, budget string) plan.Trial {
		return plan.Trial{Model: "builtin:tiny-llama3", Activations: "a16",
			Protocol:    plan.Protocol{Text: "builtin:heldout", Context: 64, Stride: 64, BOS: true, Tokens: 128},
			Calibration: plan.Calibration{Text: "builtin:calibration", Tokens: 2048, Context: 64},
			Method:      method.New("mosaic", "base", "gptq", "format", "int4", "group", 128, "scale", "absmax", "order", "act", "groups", "static", "damp", .01, "density", .05, "block", plan.Block{Rows: 1, Cols: 16}, "criterion", criterion, "budget", budget, "residual_bits", 2, "residual_scale", "block", "joint", true)}
	}
	run := func(ctx context.Context, tr plan.Trial) *row.Row {
		t.Helper()
		s, err := lab.Open(ctx, tr)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		r, err := s.Run(ctx, tr)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil || r.Status != row.OK {
			t.Fatal(err, r.Error)
		}
		return r
	}
	residual := func(r *row.Row) (n int64) {
		for _, i := range r.Ledger {
			if i.Name == "residual codes" || i.Name == "residual scales" {
				n += i.Bytes
			}
		}
		return n
	}
	for criterion, budget := range map[string]string{"relief": "global", "delta": "relative"} {
		layer, tr := run(t.Context(), trial(criterion, "")), trial(criterion, budget)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { // kill it once it has stored five layers
			defer cancel()
			for ctx.Err() == nil {
				items, _ := lab.Store.List() // files may go while it reads
				layers := 0
				for _, i := range items {
					if i.Kind == "layer" {
						layers++
					}
				}
				if layers >= 5 {
					return
				}
				time.Sleep(time.Millisecond)
			}
		}()
		if run(ctx, tr) != nil {
			t.Logf("%s %s was over before it could be killed", criterion, budget)
		}
		cancel()
		shared, whole := run(t.Context(), tr), run(t.Context(), tr)
		if residual(layer) != residual(shared) {
			t.Errorf("%s %s: residual of %d bytes, %d without sharing", criterion, budget, residual(shared), residual(layer))
		}
		var density []float64
		for i, l := range shared.Layers {
			density = append(density, l.Density)
			if again := whole.Layers[i]; again.Density != l.Density || again.OutputError != l.OutputError {
				t.Errorf("%s %s: layer %s differs after an interruption: %+v, %+v", criterion, budget, l.Name, l, again)
			}
		}
		if slices.Max(density) < 1.5*slices.Min(density) {
			t.Errorf("%s %s: densities between %g and %g", criterion, budget, slices.Min(density), slices.Max(density))
		}
		if !slices.Equal(shared.Windows(row.WindowKL), whole.Windows(row.WindowKL)) {
			t.Errorf("%s %s: windows differ", criterion, budget)
		}
	}
}

// Groups of a size for each layer store no more than groups of one size, lose
// less, and are not all alike.
func TestGroupBudget(t *testing.T) {
	lab := testLab(t)
	run := func(budget string) *row.Row {
		t.Helper()
		tr := plan.Trial{Model: "builtin:tiny-llama3", Activations: "a16",
			Protocol:    plan.Protocol{Text: "builtin:heldout", Context: 64, Stride: 64, BOS: true, Tokens: 128},
			Calibration: plan.Calibration{Text: "builtin:calibration", Tokens: 2048, Context: 64},
			Method:      method.New("gptq", "format", "int4", "group", 64, "scale", "absmax", "order", "act", "groups", "static", "damp", .01, "budget", budget)}
		s, err := lab.Open(t.Context(), tr)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		r, err := s.Run(t.Context(), tr)
		if err != nil || r.Status != row.OK {
			t.Fatal(err, r.Error)
		}
		return r
	}
	value := func(r *row.Row, name string) float64 {
		v, ok := r.Value(name)
		if !ok {
			t.Fatalf("no %s", name)
		}
		return v.Value
	}
	layer, global := run(""), run("global")
	if a, b := value(layer, row.BitsPerWeight), value(global, row.BitsPerWeight); !(b <= a && b > a-.02) {
		t.Errorf("%g bits, %g without sharing", b, a)
	}
	if a, b := value(layer, row.OutputError), value(global, row.OutputError); !(b < .98*a) {
		t.Errorf("output error %g, %g without sharing", b, a)
	}
	sizes := map[float64]bool{}
	for _, l := range global.Layers {
		sizes[l.BitsPerWeight] = true
	}
	if len(sizes) < 3 {
		t.Errorf("groups of %d sizes only", len(sizes))
	}
}

// A trial whose layers share a budget tells of the pass that weighs them, layer by
// layer, before it tells of their quantization; its estimate counts that pass.
func TestBudgetSteps(t *testing.T) {
	lab := testLab(t)
	tr := plan.Trial{Model: testmodel.Short(t, "builtin:tiny-llama3"), Activations: "a16",
		Protocol:    plan.Protocol{Text: "builtin:heldout", Context: 64, Stride: 64, BOS: true, Tokens: 128},
		Calibration: plan.Calibration{Text: "builtin:calibration", Tokens: 256, Context: 64},
		Method: method.New("mosaic", "base", "rtn", "format", "int4", "group", 128, "scale", "absmax", "density", .05,
			"block", plan.Block{Rows: 16, Cols: 16}, "criterion", "delta", "budget", "global", "residual_bits", 4, "residual_scale", "block")}
	s, err := lab.Open(t.Context(), tr)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	e := s.Estimate(tr, Rate{FLOPS: 1e11, Cores: 2})
	if !(e.Stages[Budgeting] > 0) || e.Seconds != e.Stages[Budgeting]+e.Stages[Quantizing]+e.Stages[Evaluating] {
		t.Errorf("estimate %+v", e)
	}
	var told []string
	ctx := Watch(t.Context(), func(stage string, done, total int) {
		if stage == Budgeting || stage == Quantizing {
			told = append(told, fmt.Sprint(stage, done, total))
		}
	})
	if r, err := s.Run(ctx, tr); err != nil || r.Status != row.OK {
		t.Fatal(err, r.Error)
	}
	var want []string
	for _, stage := range []string{Budgeting, Quantizing} {
		n := len(s.source.linears)
		for i := range n {
			want = append(want, fmt.Sprint(stage, i+1, n))
		}
	}
	if !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
}
