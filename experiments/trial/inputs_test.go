package trial

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/builtin"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/quant"
)

// What methods see of a smoothed and stressed model are the moments of its own
// inputs, as it computes them, of the calibration and of the held-out text; and
// what is kept of their factors is kept apart for each set of scales.
func TestInputsOfFoldedModels(t *testing.T) {
	defer func(k int) { keepFactors = k }(keepFactors)
	keepFactors = 1
	lab := testLab(t)
	sw, err := plan.Parse("inputs.yaml", []byte(`
name: inputs
model: builtin:tiny-qwen3
protocol: {text: builtin:heldout, context: 32, stride: 32, bos: true, tokens: 128}
calibration: {text: builtin:calibration, tokens: 128, seed: 1}
stress: {channels: 2%, gain: 30}
methods:
  - {method: rtn, smoothing: [0.5, 0.85]}
`))
	if err != nil {
		t.Fatal(err)
	}
	kept := map[string]bool{}
	for _, tr := range sw.Trials {
		s, err := lab.Open(t.Context(), tr)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		q, err := s.quantization(t.Context(), tr)
		if err != nil {
			t.Fatal(err)
		}
		moments := func(seqs [][]int32) map[string]*quant.Moments {
			sums := map[string]*quant.Accumulator{}
			var failed error
			_, err := q.model.Hidden(t.Context(), seqs, func(site string, x gemm.Matrix) {
				if sums[site] == nil {
					sums[site] = quant.NewAccumulator(x.Cols)
				}
				if err := sums[site].Add(x); err != nil {
					failed = err
				}
			})
			if err != nil || failed != nil {
				t.Fatal(err, failed)
			}
			all := map[string]*quant.Moments{}
			for site, a := range sums {
				if all[site], err = a.Finish(); err != nil {
					t.Fatal(err)
				}
			}
			return all
		}
		calibration, heldOut := moments(s.calibrated.sequences), moments(s.heldOut.sequences)
		seen := 0
		check := func(p *problem) error {
			l := p.linear
			for what, pair := range map[string][2]*quant.Moments{"calibration": {p.Moments, calibration[l.Site]}, "held-out": {p.HeldOut, heldOut[l.Site]}} {
				got, want := pair[0], pair[1]
				h := want.Diag()
				for a := range want.K {
					for b := range want.K {
						if d := got.H[a*want.K+b] - want.H[a*want.K+b]; !(math.Abs(d) <= 1e-4*math.Sqrt(h[a]*h[b])) {
							return fmt.Errorf("%s, %s: H[%d,%d] is %g, want %g", l.Name, what, a, b, got.H[a*want.K+b], want.H[a*want.K+b])
						}
					}
					if d := got.AbsMax[a] - want.AbsMax[a]; !(math.Abs(float64(d)) <= 1e-4*float64(want.AbsMax[a])) {
						return fmt.Errorf("%s, %s: largest input %d is %g, want %g", l.Name, what, a, got.AbsMax[a], want.AbsMax[a])
					}
				}
			}
			if p.index > 0 {
				return nil
			}
			data, err := p.Moments.Keep("factor", func() ([]byte, error) { return []byte(tr.Label), nil })
			kept[string(data)] = true
			return err
		}
		for p, err := range q.problems(t.Context(), true) {
			if err == nil {
				err = check(p)
			}
			if err != nil {
				t.Fatalf("%s: %v", tr.Label, err)
			}
			seen++
		}
		if seen != len(s.source.linears) {
			t.Errorf("%s: %d of %d layers seen", tr.Label, seen, len(s.source.linears))
		}
	}
	if len(kept) != 2 {
		t.Errorf("two sets of scales share what is kept: %v", kept)
	}
}

// Synthetic outliers are the same channels wherever the residual stream is read,
// others in each v_proj and up_proj, as many as asked for, and drawn from the
// seed.
func TestStressScales(t *testing.T) {
	files, err := builtin.Model("tiny-llama3")
	if err != nil {
		t.Fatal(err)
	}
	m, err := llm.Open(files)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	outliers := func(seed uint64) map[string][]int {
		at := map[string][]int{}
		for site, s := range stressScales(m, plan.Stress{Channels: .05, Gain: 8, Seed: seed}) {
			from := m.Producers(site)
			for j, v := range s {
				if v != 1 && v != .125 {
					t.Fatalf("%s: scale %g", site, v)
				}
				if v != 1 && !slices.Contains(at[site], from[j]) {
					at[site] = append(at[site], from[j])
				}
			}
			if want := int(math.Round(.05 * float64(slices.Max(from)+1))); len(at[site]) != want {
				t.Errorf("%s: %d outlier channels, want %d", site, len(at[site]), want)
			}
		}
		return at
	}
	at := outliers(1)
	if len(at) != 4*m.Config().Layers {
		t.Fatalf("%d sites", len(at))
	}
	for site, channels := range at {
		layer, kind := site[:strings.LastIndexByte(site, '.')], site[strings.LastIndexByte(site, '.'):]
		first := "model.layers.0" + kind
		if kind == ".attn_in" || kind == ".mlp_in" {
			first = "model.layers.0.attn_in"
		}
		if same := slices.Equal(channels, at[first]); same != (kind == ".attn_in" || kind == ".mlp_in" || layer == "model.layers.0") {
			t.Errorf("%s has the outliers of %s: %v", site, first, same)
		}
	}
	if slices.Equal(outliers(2)["model.layers.0.attn_in"], at["model.layers.0.attn_in"]) {
		t.Error("another seed draws the same channels")
	}
}

// A layer that oracle chose blocks of is another one for another text; others
// are not.
func TestLayerKeys(t *testing.T) {
	lab := testLab(t)
	for criterion, differ := range map[string]bool{"oracle": true, "full": false} {
		keys := map[string]bool{}
		for _, tokens := range []int{64, 128} {
			sw, err := plan.Parse("keys.yaml", []byte(fmt.Sprintf(`
name: keys
model: builtin:tiny-qwen3
protocol: {text: builtin:heldout, context: 32, stride: 32, bos: true, tokens: %d}
calibration: {text: builtin:calibration, tokens: 128, seed: 1}
methods:
  - {method: mosaic, density: 10%%, criterion: %s}
`, tokens, criterion)))
			if err != nil {
				t.Fatal(err)
			}
			s, err := lab.Open(t.Context(), sw.Trials[0])
			if err != nil {
				t.Fatal(err)
			}
			q, err := s.quantization(t.Context(), sw.Trials[0])
			if err != nil {
				t.Fatal(err)
			}
			key, err := q.key(0)
			if err != nil {
				t.Fatal(err)
			}
			keys[key.String()] = true
			s.Close()
		}
		if (len(keys) == 2) != differ {
			t.Errorf("%s: %d keys for two texts", criterion, len(keys))
		}
	}
}
