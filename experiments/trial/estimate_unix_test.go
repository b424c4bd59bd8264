//go:build unix

package trial

import (
	"errors"
	"math"
	"slices"
	"syscall"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/method"
	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/store"
	"github.com/mosaicquant/mosaicquant/quant"
)

// TestEstimatedMethods compares what methods take beside each other, in seconds of the
// CPU, with what estimates say.
func TestEstimatedMethods(t *testing.T) {
	if testing.Short() {
		t.Skip("compares processor time, which the race detector changes")
	}
	const text = `
name: methods
model: builtin:tiny-llama3
protocol: {text: builtin:heldout, context: 256, stride: 256, bos: true, tokens: 256}
calibration: {text: builtin:calibration, tokens: 512, seed: 1}
methods:
  - {method: rtn, group: 32, awq: true}
  - {method: rtn, group: 64, scale: mse}
  - {method: gptq, group: 32}
  - {method: gptq, group: 32, scale: hessian, refine: 4}
  - {method: gptq, group: 16, format: nf4dq, scale: hessian, refine: 4}
  - {method: gptq, group: 16, format: int4b, refine: 4}
  - {method: mosaic, base: gptq, density: 10%, block: 1x32, joint: true}
  - {method: mosaic, base: gptq, density: 6.4%, block: 1x8, criterion: relief, residual_bits: 2, scale: hessian, joint: true, refine: 4}
  - {method: mosaic, base: gptq, format: int4b, group: 32, density: 4.7%, block: 1x8, criterion: relief, residual_bits: 2, residual_scale: base, joint: true}
`
	sw, err := plan.Parse("methods.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	lab := &Lab{Store: store.None(errors.New("a test"), func(string) {})}
	s, err := lab.Open(t.Context(), sw.Trials[0])
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	i := slices.IndexFunc(s.source.linears, func(l llm.Linear) bool { return l.K == 256 })
	l := s.source.linears[i]
	st, err := s.calibrated.begin().statistics(t.Context(), l.Site)
	if err != nil {
		t.Fatal(err)
	}
	weights := load(l)
	best := make([]float64, len(sw.Trials))
	for round := range 2 {
		for at, tr := range sw.Trials {
			q, err := tr.Method.Quantizer()
			if err != nil {
				t.Fatal(err)
			}
			m := *st.moments // without the factor of H that an earlier method left
			p := quant.Problem{Name: l.Name, Weights: weights, Seed: 1,
				Moments: &quant.Moments{K: m.K, Tokens: m.Tokens, H: m.H, AbsMax: m.AbsMax, Mean: m.Mean, MeanAbs: m.MeanAbs}}
			start := cpuSeconds(t)
			if _, err := q.Quantize(p); err != nil {
				t.Fatal(err)
			}
			if took := cpuSeconds(t) - start; round == 0 || took < best[at] {
				best[at] = took
			}
		}
	}
	var logs []float64
	for at, tr := range sw.Trials {
		logs = append(logs, math.Log(best[at]/layerSeconds(tr.Method.Cost(), float64(l.N), float64(l.K), true, 2e11, 1)))
	}
	slices.Sort(logs)
	middle := logs[len(logs)/2]
	for at, tr := range sw.Trials {
		estimate := layerSeconds(tr.Method.Cost(), float64(l.N), float64(l.K), true, 2e11, 1) * math.Exp(middle)
		if ratio := best[at] / estimate; ratio < 0.4 || ratio > 2.5 {
			t.Errorf("%s: took %.1f ms, and %.1f ms are estimated", tr.Label, 1e3*best[at], 1e3*estimate)
		}
	}
	if middle < math.Log(0.1) || middle > math.Log(10) {
		t.Errorf("methods take %.2g times their estimates", math.Exp(middle))
	}
}

// cpuSeconds is the time that this process has had of all cores.
func cpuSeconds(t *testing.T) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return float64(u.Utime.Sec) + float64(u.Stime.Sec) + 1e-6*(float64(u.Utime.Usec)+float64(u.Stime.Usec))
}

// Keys that make a method slower make its estimate longer.
func TestCost(t *testing.T) {
	seconds := func(m method.Settings) float64 { return layerSeconds(m.Cost(), 512, 512, true, 1e11, 2) }
	gptq := method.New("gptq", "format", "int4", "group", 32, "scale", "absmax", "order", "act", "groups", "static", "damp", 0.01)
	if a, b := seconds(gptq), seconds(gptq.With("refine", 4)); b < 2*a {
		t.Errorf("refinement: %.3g s and %.3g s", a, b)
	}
	for _, slower := range []method.Settings{gptq.With("scale", "hessian"), gptq.With("scale", "clip"), gptq.With("format", "any4"), gptq.With("awq", true)} {
		if a, b := seconds(gptq), seconds(slower); b < 1.5*a {
			t.Errorf("%s: %.3g s, and %.3g s without", slower, b, a)
		}
	}
}
