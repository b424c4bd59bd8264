package trial

import (
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/method"
	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/testmodel"
)

// Each layer is quantized by its own settings: one by GPTQ, one not at all, and all
// others as in a trial that has their settings everywhere. What is executed and
// counted follows the layers.
func TestLayerSettings(t *testing.T) {
	lab := testLab(t)
	rtn := plan.Trial{Model: testmodel.Short(t, "builtin:tiny-llama3"), Activations: "a8",
		Protocol:    plan.Protocol{Text: "builtin:heldout", Context: 64, Stride: 64, BOS: true, Tokens: 128},
		Calibration: plan.Calibration{Text: "builtin:calibration", Tokens: 256, Context: 64},
		Method:      method.New("rtn", "format", "int4", "group", 128, "scale", "absmax")}
	gptq := rtn
	gptq.Method = method.New("gptq", "format", "int4", "group", 128, "scale", "absmax", "order", "act", "groups", "static", "damp", .01)
	s, err := lab.Open(t.Context(), rtn)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	run := func(tr plan.Trial, settings func(string) plan.Method) (map[string]*layer, *quantizedModel, *row.Row) {
		t.Helper()
		loop, err := s.quantization(t.Context(), tr)
		if err != nil {
			t.Fatal(err)
		}
		if settings != nil {
			loop.settings = settings
		}
		q, r, layers := &quantizedModel{quantization: loop}, &row.Row{}, map[string]*layer{}
		for l, err := range loop.layers(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			layers[l.linear.Name] = l
			if err := q.add(l, r); err != nil {
				t.Fatal(err)
			}
		}
		return layers, q, r
	}
	allRTN, plain, _ := run(rtn, nil)
	allGPTQ, _, _ := run(gptq, nil)
	const kept, looped = "model.layers.0.self_attn.v_proj", "model.layers.0.mlp.down_proj"
	mixed, q, r := run(rtn, func(name string) plan.Method {
		switch name {
		case kept:
			return method.New("none")
		case looped:
			return gptq.Method
		}
		return rtn.Method
	})
	if len(mixed) != len(s.source.linears) || len(r.Layers) != len(mixed)-1 || mixed[kept].Quantized != nil {
		t.Fatalf("%d layers of %d, %d in the row", len(mixed), len(s.source.linears), len(r.Layers))
	}
	for name, l := range mixed {
		want := allRTN[name]
		switch name {
		case kept:
			continue
		case looped:
			want = allGPTQ[name]
			if want.lost == allRTN[name].lost {
				t.Errorf("%s: GPTQ loses what RTN loses", name)
			}
		}
		if l.lost != want.lost || l.weightLost != want.weightLost || l.energy != want.energy {
			t.Errorf("%s loses %g of %g, want %g of %g", name, l.lost, l.energy, want.lost, want.energy)
		}
	}
	l := mixed[kept].linear
	if got, want := q.bytes-plain.bytes, 2*int64(l.N*l.K)-allRTN[kept].Ledger().Total(); got != want {
		t.Errorf("%d bytes more with a layer in 16 bits, want %d", got, want)
	}
	found := false
	for _, item := range r.Ledger {
		found = found || strings.HasPrefix(item.Name, "16-bit") && item.Bytes == 2*int64(l.N*l.K)
	}
	if !found {
		t.Errorf("no 16-bit layer in the ledger %v", r.Ledger)
	}
}
