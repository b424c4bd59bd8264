package plan

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/method"
)

func TestExpand(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       []string
	}{
		{"product, last fastest", "methods:\n- {method: mosaic, density: [1%, 0.025], block: [16x16, 1x32]}",
			[]string{"mosaic 1% 16x16", "mosaic 1% 1x32", "mosaic 2.5% 16x16", "mosaic 2.5% 1x32"}},
		{"damp of an RTN base does not multiply", "methods:\n- {method: mosaic, base: [rtn, gptq], density: 1%, damp: [0.01, 0.1]}",
			[]string{"mosaic rtn", "mosaic gptq", "mosaic gptq damp0.1"}},
		{"duplicates between entries", "methods:\n- {method: rtn, group: [128, 64]}\n- {method: rtn, group: [64, row]}",
			[]string{"rtn g128", "rtn g64", "rtn per-row"}},
		{"activations outside", "activations: [a16, a8]\nmethods:\n- {method: [none, rtn]}",
			[]string{"16-bit a16", "rtn a16", "16-bit weights a8", "rtn a8"}},
		{"zip", "methods:\n- {method: mosaic, base: [rtn, gptq], density: [5%, 10%], block: [16x16, 1x32], zip: [density, block]}",
			[]string{"mosaic rtn 5% 16x16", "mosaic rtn 10% 1x32", "mosaic gptq 5% 16x16", "mosaic gptq 10% 1x32"}},
		{"two zips", "methods:\n- {method: mosaic, base: [rtn, gptq], density: [5%, 10%], block: [16x16, 1x32], criterion: [diag, full], zip: [[base, density], [block, criterion]]}",
			[]string{"mosaic rtn 5% 16x16 diag", "mosaic rtn 5% 1x32 full", "mosaic gptq 10% 16x16 diag", "mosaic gptq 10% 1x32 full"}},
		{"only is a union, skip wins", "methods:\n- {method: mosaic, density: [5%, 10%], criterion: [delta, weight, random], only: [{density: 10%}, {criterion: [delta, weight]}], skip: {density: 10%, criterion: weight}}",
			[]string{"mosaic 5% delta", "mosaic 5% weight", "mosaic 10% delta", "mosaic 10% random"}},
		{"sweep-level filters", "activations: [a16, a4]\nskip: [{activations: a4, method: none}, {group: 64}]\nmethods:\n- {method: none}\n- {method: rtn, group: [128, 64]}",
			[]string{"16-bit a16", "rtn a16", "rtn a4"}},
		{"quiet settings show where they differ from the default", "methods:\n- {method: gptq, order: [act, natural], awq: [true, false], scale: mse}",
			[]string{"gptq awq", "gptq", "gptq natural-order awq", "gptq natural-order"}},
		{"a list of methods", "methods:\n- {method: [rtn, gptq], group: [32, 16]}",
			[]string{"rtn g32", "rtn g16", "gptq g32", "gptq g16"}},
		{"whole columns", "methods:\n- {method: mosaic, density: 5%, block: [Nx1, Nx16, 1x16]}",
			[]string{"mosaic Nx1", "mosaic Nx16", "mosaic 1x16"}},
		{"budgets", "methods:\n- {method: mosaic, density: 5%, budget: [layer, global, relative], criterion: [delta, oracle], only: [{criterion: delta}, {budget: layer}]}",
			[]string{"mosaic delta", "mosaic delta global-budget", "mosaic delta relative-budget", "mosaic oracle"}},
		{"bits", "methods:\n- {method: rtn, format: [int4, int4a, int5]}", []string{"rtn", "rtn int4a", "rtn int5"}},
	} {
		s := parse(t, header+test.text)
		if got := labels(s); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
		again(t, s)
	}
}

func TestSweptSections(t *testing.T) {
	s := parse(t, `name: x
model: ["models/a", "hub:b/a", 'C:\models\c']
protocol: {text: [t, "dir: #1/t"], context: [64, 128], stride: 64, bos: [true, false], tokens: [0, 4096]}
calibration: {text: c, tokens: [128, 256], seed: [1, 18446744073709551615]}
zip: [protocol.context, calibration.tokens]
methods: [{method: rtn}]
`)
	if len(s.Trials) != 3*2*2*2*2*2 {
		t.Errorf("%d trials", len(s.Trials))
	}
	seen := map[string]bool{}
	for _, tr := range s.Trials {
		if seen[tr.Label] {
			t.Errorf("two trials have the label %q", tr.Label)
		}
		seen[tr.Label] = true
		if tr.Calibration.Context != tr.Protocol.Context || tr.Calibration.Tokens != 2*tr.Protocol.Context {
			t.Errorf("%s: context %d, calibration %+v", tr.Label, tr.Protocol.Context, tr.Calibration)
		}
	}
	again(t, s)
}

// TestResolved pins the default of every setting: a change here makes new
// trials of old files.
func TestResolved(t *testing.T) {
	s := parse(t, header+"methods:\n- {method: mosaic, base: gptq, density: 0.7%}\n- {method: spqr, outliers: 0.5%}\n- {method: rtn}\n- {method: none}")
	common := Trial{Model: "m", Protocol: Protocol{Text: "t", Context: 256, Stride: 256, BOS: true},
		Calibration: Calibration{Text: "c", Tokens: 1024, Context: 256, Seed: 1}, Activations: "a16"}
	for i, m := range []Method{
		method.New("mosaic", "base", "gptq", "format", "int4", "group", 128, "scale", "absmax", "order", "act", "groups", "static", "damp", 0.01, "density", 0.007, "block", Block{Rows: 16, Cols: 64}, "criterion", "delta", "residual_bits", 4, "residual_scale", "block"),
		method.New("spqr", "format", "int4", "group", 128, "scale", "absmax", "order", "act", "groups", "static", "damp", 0.01, "outliers", 0.005),
		method.New("rtn", "format", "int4", "group", 128, "scale", "absmax"),
		method.New("none"),
	} {
		want := common
		want.Method, want.Label = m, []string{"mosaic", "spqr", "rtn", "16-bit"}[i]
		if s.Trials[i] != want {
			t.Errorf("got  %+v\nwant %+v", s.Trials[i], want)
		}
	}
	got, err := json.Marshal(s.Trials[0])
	const canonical = `{"model":"m","protocol":{"text":"t","context":256,"stride":256,"bos":true,"tokens":0},` +
		`"calibration":{"text":"c","tokens":1024,"context":256,"seed":1},"activations":"a16",` +
		`"method":{"name":"mosaic","base":"gptq","format":"int4","group":128,"scale":"absmax","order":"act","groups":"static","damp":0.01,` +
		`"density":0.007,"block":"16x64","criterion":"delta","residual_bits":4,"residual_scale":"block"}}`
	if err != nil || string(got) != canonical {
		t.Errorf("canonical form: %v\n%s\nwant\n%s", err, got, canonical)
	}
	var back Trial
	if err := json.Unmarshal(got, &back); err != nil {
		t.Fatal(err)
	}
	if back.Label = s.Trials[0].Label; back != s.Trials[0] {
		t.Errorf("the canonical form reads back as %+v", back)
	}
	axes := s.Trials[0].Axes()
	for name, want := range map[string]string{"method": "mosaic", "density": "0.007", "block": "16x64", "joint": "false",
		"protocol.bos": "true", "calibration.seed": "1", "model": "m", "group": "128"} {
		if axes[name] != want {
			t.Errorf("axis %s is %q, want %q", name, axes[name], want)
		}
	}
	if _, ok := axes["outliers"]; ok || len(s.Trials[3].Axes()) != 12 {
		t.Errorf("axes without a meaning: %v, %v", axes, s.Trials[3].Axes())
	}
}

func TestID(t *testing.T) {
	data, err := os.ReadFile("../../configs/default.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s := parse(t, string(data))
	content := map[string]string{"model": "1", "text": "2"}
	seen := map[string]string{}
	for _, tr := range s.Trials {
		id := ID(tr, content)
		if len(id) != 16 || seen[id] != "" {
			t.Errorf("%s has the ID %q, and so has %q", tr.Label, id, seen[id])
		}
		seen[id] = tr.Label
		other := tr
		other.Label, other.Baseline = "another", ""
		if ID(other, content) != id {
			t.Errorf("%s: the label changes the ID", tr.Label)
		}
		if ID(tr, map[string]string{"model": "1", "text": "3"}) == id {
			t.Errorf("%s: the text does not change the ID", tr.Label)
		}
	}
	// Old results stay valid only as long as this holds.
	if got := ID(Trial{Model: "m", Method: method.New("none")}, content); got != "4e765c0f5272185a" {
		t.Errorf("a known trial has the ID %s", got)
	}
}

func TestBaseline(t *testing.T) {
	s := parse(t, header+"activations: [a16, a8]\nbaseline: {method: rtn, group: 128}\nmethods:\n- {method: none}\n- {method: rtn, group: [128, 64]}")
	for _, tr := range s.Trials {
		if want := "rtn g128 " + tr.Activations; tr.Baseline != want {
			t.Errorf("%s has the baseline %q, want %q", tr.Label, tr.Baseline, want)
		}
	}
	again(t, s)
	s = parse(t, header+"activations: [a16, a8]\nbaseline: {method: none, activations: a16}\nmethods:\n- {method: none}\n- {method: rtn}")
	for _, tr := range s.Trials {
		if tr.Baseline != "16-bit a16" {
			t.Errorf("%s has the baseline %q", tr.Label, tr.Baseline)
		}
	}
}

// TestTable holds every row of the table of keys to its promises.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for i, k := range keys {
		if k.label == nil || k.variants == nil && (k.quiet && k.fallback == nil || (k.when == nil) != (k.needs == "")) || seen[k.axis()] {
			t.Errorf("key %d, %s: incomplete or given twice", i, k.axis())
		}
		seen[k.axis()] = true
		var tr Trial
		if k.fallback != nil {
			v := k.fallback(&tr)
			k.set(&tr, v)
			if k.get(&tr) != v {
				t.Errorf("%s: set %v, got %v", k.axis(), v, k.get(&tr))
			}
		}
	}
}
