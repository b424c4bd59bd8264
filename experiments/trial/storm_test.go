package trial

import (
	"context"
	"testing"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/method"
	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/row"
)

// TestStorm ends a trial whose process never lives as long as the trial takes, and
// whose layers and batches are all short.
func TestStorm(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	tr := plan.Trial{Model: "builtin:tiny-llama3", Activations: "a16",
		Protocol:    plan.Protocol{Text: "builtin:heldout", Context: 64, Stride: 64, BOS: true, Tokens: 8192},
		Calibration: plan.Calibration{Text: "builtin:calibration", Tokens: 8192, Context: 64},
		Method:      method.New("mosaic", "base", "gptq", "format", "int4", "group", 128, "scale", "absmax", "order", "act", "groups", "static", "damp", .01, "density", .1, "block", plan.Block{Rows: 16, Cols: 16}, "criterion", "delta", "residual_bits", 4, "residual_scale", "block")}
	run := func(ctx context.Context, l *Lab) *row.Row {
		t.Helper()
		s, err := l.Open(t.Context(), tr)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		r, err := s.Run(ctx, tr)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil || r.Status != row.OK {
			t.Fatal(err, r)
		}
		return r
	}
	start := time.Now()
	whole := run(t.Context(), testLab(t))
	life := time.Since(start) / 4
	l := testLab(t)
	const most = 40
	for starts := 1; ; starts++ {
		if starts > most {
			t.Fatalf("not at its end after %d starts of %s", most, life)
		}
		ctx, cancel := context.WithTimeout(t.Context(), life)
		r := run(ctx, l)
		cancel()
		if r == nil {
			continue
		}
		t.Logf("%d starts of %s", starts, life)
		for _, v := range whole.Values {
			if got, ok := r.Value(v.Name); v.Unit != "s" && (!ok || got.Value != v.Value) {
				t.Errorf("%s is %v, in one piece %v", v.Name, got.Value, v.Value)
			}
		}
		if n := stored(t, l.Store); n["streams"]+n["layer"]+n["scores"] > 0 {
			t.Errorf("afterwards the store has %v", n)
		}
		return
	}
}
