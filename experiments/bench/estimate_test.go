package bench

import (
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/experiments/trial"
)

// Estimates count each form once, and nothing where no times are asked for.
func TestEstimateSpeed(t *testing.T) {
	rate := trial.Rate{FLOPS: 1e12, Cores: 1e-5} // so slow that preparing weights is all that counts
	seconds := func(methods, more string) float64 {
		t.Helper()
		sw, err := plan.Parse("speed.yaml", []byte("name: speed\nmodel: m\nprotocol: {text: t, context: 64, stride: 64, bos: true}\n"+
			"calibration: {text: c, tokens: 64}\n"+more+"methods:\n  - "+strings.ReplaceAll(methods, "|", "\n  - ")+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		s, err := EstimateSpeed(sw.Trials, rate)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	const speed = "speed: {shapes: 256x1024, tokens: [1, 4], repeats: 3}\n"
	if s := seconds("{method: rtn}", ""); s != 0 {
		t.Errorf("%v s without a section speed", s)
	}
	one := seconds("{method: rtn, group: 64}", speed)
	if same := seconds("{method: [rtn, gptq], group: 64}", speed); same < 0.95*one || same > 1.05*one {
		t.Errorf("%.3g s for two methods of one form, %.3g s for one", same, one)
	}
	if two := seconds("{method: rtn, group: [64, 32]}", speed); two < 1.2*one || two > 1.5*one {
		t.Errorf("%.3g s for two forms and the two they are compared with, %.3g s for one of them", two, one)
	}
	if s := seconds("{method: rtn, group: 64}|{method: rtn, format: fireq4}", speed); s < 0.95*one || s > 1.05*one {
		t.Errorf("%.3g s with a form that has no kernel, %.3g s without", s, one)
	}
}
