package trial

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/method"
	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/store"
	"github.com/mosaicquant/mosaicquant/internal/testmodel"
)

// stored counts the values of each kind in the store.
func stored(t *testing.T, s *store.Store) map[string]int {
	t.Helper()
	items, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for _, i := range items {
		n[i.Kind]++
	}
	return n
}

// A trial that is killed in the middle of calibration, and again in the middle
// of quantization, continues there and gives the row of a trial that was not.
func TestResume(t *testing.T) {
	defer func(a, b time.Duration, c int) { checkpointAfter, keepLayer, keepFactors = a, b, c }(checkpointAfter, keepLayer, keepFactors)
	checkpointAfter, keepLayer, keepFactors = 0, 0, 1
	want := plan.Trial{Model: testmodel.Short(t, "builtin:tiny-llama3"), Activations: "a16",
		Protocol:    plan.Protocol{Text: "builtin:heldout", Context: 64, Stride: 64, BOS: true, Tokens: 128},
		Calibration: plan.Calibration{Text: "builtin:calibration", Tokens: 256, Context: 64},
		Method:      method.New("mosaic", "base", "gptq", "format", "int4", "group", 128, "scale", "absmax", "order", "act", "groups", "static", "damp", .01, "density", .1, "block", plan.Block{Rows: 16, Cols: 16}, "criterion", "delta", "residual_bits", 4, "residual_scale", "block")}
	run := func(ctx context.Context, l *Lab) *row.Row {
		t.Helper()
		s, err := l.Open(ctx, want)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		r, err := s.Run(ctx, want)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil || r.Status != row.OK {
			t.Fatal(err, r)
		}
		return r
	}
	sites, killed := 24, 9
	if testing.Short() {
		sites, killed = 4*testmodel.Layers, 5
	}
	whole := run(t.Context(), testLab(t))

	l := testLab(t)
	// killAt runs the trial until n values of a kind are there.
	killAt := func(kind string, n int) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan bool)
		go func() {
			defer close(done)
			for ctx.Err() == nil {
				if items, err := l.Store.List(); err == nil {
					count := 0
					for _, i := range items {
						if i.Kind == kind {
							count++
						}
					}
					if count >= n {
						cancel()
					}
				}
				time.Sleep(time.Millisecond)
			}
		}()
		if r := run(ctx, l); r != nil {
			t.Logf("the trial was over before it could be killed at %d values of %s", n, kind)
		}
		cancel()
		<-done
	}
	killAt("statistics", killed)
	if n := stored(t, l.Store); n["streams"] > 2 {
		t.Errorf("%d checkpoints of the calibration are kept", n["streams"])
	}
	killAt("layer", 5)
	killAt("scores", 1)
	before := stored(t, l.Store)
	resumed := run(t.Context(), l)
	if n := stored(t, l.Store); n["streams"]+n["layer"]+n["scores"] > 0 || n["statistics"] != sites || n["factor"] != sites {
		t.Errorf("afterwards the store has %v; before the last start it had %v", n, before)
	}
	for _, v := range whole.Values {
		if got, ok := resumed.Value(v.Name); v.Unit != "s" && (!ok || got.Value != v.Value) {
			t.Errorf("%s is %v, without interruption %v", v.Name, got.Value, v.Value)
		}
	}
	for i, layer := range whole.Layers {
		if got := resumed.Layers[i]; got.OutputError != layer.OutputError || got.WeightError != layer.WeightError || *got.BaseOutputError != *layer.BaseOutputError {
			t.Errorf("layer %s differs: %+v, %+v", layer.Name, got, layer)
		}
	}
	if !slices.Equal(whole.Ledger, resumed.Ledger) || !slices.Equal(whole.Windows(row.WindowKL), resumed.Windows(row.WindowKL)) {
		t.Error("ledger or windows differ")
	}
}
