package trial

import (
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/cudallm"
)

// TestEngineRefused: what no kernel of a GPU does is said before a sweep starts, and an engine that is not
// here is an error, never the CPU.
func TestEngineRefused(t *testing.T) {
	for _, c := range []struct{ settings, want string }{
		{"activations: a8\nactivations_zero: asymmetric", "activations a8"},
		{"activations: a8\nactivations_scale: static", "scales of inputs that are found beforehand"},
		{"activations: a8\nexecution: packed\nmethods: [{method: rtn, format: nf4, group: 64}]", "only symmetric int4"},
		{"activations: a16\nexecution: packed\nmethods: [{method: rtn, group: 64}]", ""},
		{"activations: a8\nmethods: [{method: rtn, format: nf4, group: 64}]", ""}, // as products in 16 bits
	} {
		if !strings.Contains(c.settings, "methods:") {
			c.settings += "\nmethods: [{method: rtn, group: 64}]"
		}
		sw, err := plan.Parse("s.yaml", []byte("name: s\nmodel: builtin:tiny-llama3\nengine: cuda\n"+
			"protocol: {text: builtin:heldout, context: 64, stride: 64, bos: true}\n"+
			"calibration: {text: builtin:calibration, tokens: 512}\n"+c.settings+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		err = Refused(sw.Trials)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want %q", c.settings, err, c.want)
		}
		if cudallm.Available() != nil {
			if err := CheckEngines(sw.Trials); err == nil || !strings.Contains(err.Error(), "engine cuda: ") {
				t.Errorf("there is no GPU, and the error is %v", err)
			}
		}
	}
}
