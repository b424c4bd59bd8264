package trial

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/method"
	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/store"
	"github.com/mosaicquant/mosaicquant/internal/testmodel"
)

// TestNoCache puts files where the cache needs folders, so that it takes nothing,
// or only half of what it is given. Trials run all the same, with one warning and
// to the bit as with a cache; preparing a cache, which is for nothing but that,
// fails.
func TestNoCache(t *testing.T) {
	defer func(a, b time.Duration, c int) { checkpointAfter, keepLayer, keepFactors = a, b, c }(checkpointAfter, keepLayer, keepFactors)
	checkpointAfter, keepLayer, keepFactors = 0, 0, 1
	base := plan.Trial{Model: testmodel.Short(t, "builtin:tiny-llama3"), Activations: "a16",
		Protocol:    plan.Protocol{Text: "builtin:heldout", Context: 64, Stride: 64, BOS: true, Tokens: 128},
		Calibration: plan.Calibration{Text: "builtin:calibration", Tokens: 256, Context: 64}}
	gptq, mosaic := base, base
	gptq.Method = method.New("gptq", "format", "int4", "group", 128, "scale", "absmax", "order", "act", "groups", "static", "damp", .01)
	mosaic.Method = method.New("mosaic", "base", "rtn", "format", "int4", "group", 128, "scale", "absmax", "smoothing", .5, "smoothing_sites", "all", "density", .1, "block", plan.Block{Rows: 16, Cols: 16}, "criterion", "oracle", "residual_bits", 4, "residual_scale", "block")
	trials := []plan.Trial{gptq, mosaic}

	run := func(l *Lab, trial plan.Trial) *row.Row {
		t.Helper()
		s, err := l.Open(t.Context(), trial)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		r, err := s.Run(t.Context(), trial)
		if err != nil || r.Status != row.OK {
			t.Fatal(err, r)
		}
		return r
	}
	lab := testLab(t)
	var want []*row.Row
	for _, trial := range trials {
		want = append(want, run(lab, trial))
	}

	for _, share := range []int{1, 2} {
		dir := filepath.Join(t.TempDir(), "store")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for i := 0; i < 256; i += share {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%02x", i)), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		var warnings []string
		st, err := store.Open(dir, func(w string) { warnings = append(warnings, w) })
		if err != nil {
			t.Fatal(err)
		}
		l := &Lab{Store: st, Progress: io.Discard}
		for i, trial := range trials {
			got := run(l, trial)
			for _, v := range want[i].Values {
				if g, ok := got.Value(v.Name); v.Unit != "s" && (!ok || g.Value != v.Value) {
					t.Errorf("%s of %s is %v without a cache, %v with one", v.Name, trial.Method.Name(), g.Value, v.Value)
				}
			}
			if !slices.Equal(want[i].Windows(row.WindowKL), got.Windows(row.WindowKL)) || !slices.Equal(want[i].Ledger, got.Ledger) {
				t.Errorf("%s: windows or ledger differ", trial.Method.Name())
			}
		}
		if len(warnings) != 1 || !strings.Contains(warnings[0], dir) {
			t.Errorf("1 in %d values cannot be stored: warnings %q", share, warnings)
		}
		if n := stored(t, st); (len(n) == 0) != (share == 1) {
			t.Errorf("1 in %d values cannot be stored: %v are", share, n)
		}
		s, err := l.Open(t.Context(), gptq)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Prepare(t.Context(), trials); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("preparing: %v", err)
		}
		s.Close()
	}
}
