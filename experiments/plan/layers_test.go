package plan

import (
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/method"
)

func TestLayers(t *testing.T) {
	s := parse(t, header+`methods:
- {method: rtn, group: 128}
- {method: rtn, group: 128, ignore: ["*.o_proj"], layers: [{match: "*.down_proj", group: 32}, {match: last, format: int8}]}
- {method: mosaic, base: gptq, density: [5%, 10%], block: 1x32, layers: [{match: "layers.0.", density: 20%, joint: true}]}`)
	want := []string{"rtn", "rtn down_proj:g32 last:int8 o_proj:16-bit", "mosaic 5% layers.0:20%,joint", "mosaic 10% layers.0:20%,joint"}
	for i, tr := range s.Trials {
		if tr.Label != want[i] {
			t.Errorf("label %q, want %q", tr.Label, want[i])
		}
	}
	again(t, s)
	plain, m := s.Trials[0].Method, s.Trials[1].Method
	for name, want := range map[string]method.Settings{
		"model.layers.1.self_attn.q_proj": plain,
		"model.layers.1.self_attn.o_proj": method.New("none"),
		"model.layers.1.mlp.down_proj":    plain.With("group", 32),
		"model.layers.3.mlp.down_proj":    plain.With("group", 32).With("format", "int8"),
		"model.layers.3.mlp.up_proj":      plain.With("format", "int8"),
	} {
		if got := m.At(name, 4); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if plain.ByLayer() || !m.ByLayer() || m.Plain() != plain || len(m.Variants()) != 3 {
		t.Errorf("%v %v %s %v", plain.ByLayer(), m.ByLayer(), m.Plain(), m.Variants())
	}
	joint := s.Trials[2].Method.At("model.layers.0.mlp.up_proj", 4)
	if joint.Float("density") != 0.2 || !joint.Bool("joint") || joint.Word("pairs") != "all" || joint.Word("base") != "gptq" {
		t.Errorf("joint: %s", joint)
	}
	axes := s.Trials[1].Axes()
	if axes["ignore"] != "*.o_proj" || axes["layers"] != "*.down_proj group=32; last format=int8" {
		t.Errorf("axes %v", axes)
	}
	var back method.Settings
	if err := back.UnmarshalJSON([]byte(m.String())); err != nil || back != m {
		t.Errorf("%s read back as %s: %v", m, back, err)
	}
	seen := map[string]bool{}
	for _, tr := range s.Trials {
		seen[ID(tr, nil)] = true
	}
	if len(seen) != 4 {
		t.Errorf("%d identities of 4 trials", len(seen))
	}
}

func TestErrorsOfLayers(t *testing.T) {
	for text, want := range map[string]string{
		"{method: none, ignore: [a]}":                                                    "settings by layer have no meaning for method none",
		"{method: rtn, ignore: o_proj}":                                                  `methods[0].ignore: "o_proj" is not a list of patterns`,
		"{method: rtn, ignore: ['re:(']}":                                                `methods[0].ignore[0]: "re:(" is no regular expression`,
		"{method: rtn, layers: [{group: 32}]}":                                           "methods[0].layers[0].match: is missing",
		"{method: rtn, layers: [{match: first}]}":                                        "methods[0].layers[0]: changes nothing",
		"{method: rtn, layers: [{match: first, grup: 32}]}":                              `methods[0].layers[0]: unknown key "grup"`,
		"{method: rtn, layers: [{match: first, group: [32, 64]}]}":                       "methods[0].layers[0].group: is a list",
		"{method: rtn, layers: [{match: first, method: gptq}]}":                          "layers have the method of their entry",
		"{method: rtn, layers: [{match: first, smoothing: 0.5}]}":                        "is a setting of the whole model",
		"{method: [rtn, gptq], layers: [{match: first, damp: 0.1}]}":                     "methods[0].layers[0].damp: method rtn, gptq has no such setting",
		"{method: rtn, layers: [{match: first, format: mxfp4}]}":                         "methods[0].layers[0].group: 128 is no group of mxfp4",
		"{method: gptq, budget: global, ignore: [first]}":                                "methods[0].ignore: does not go with budget: global",
		"{method: mosaic, density: 1%, block: 1x32, layers: [{match: last, damp: 0.1}]}": "methods[0].layers[0].damp: has no effect here: it needs base gptq",
	} {
		if _, err := Parse("x.yaml", []byte(header+"methods:\n- "+text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n got: %v\nwant: %s", text, err, want)
		}
	}
}

func TestMatches(t *testing.T) {
	const name = "model.layers.3.mlp.down_proj"
	for pattern, want := range map[string]bool{
		name: true, "layers.3.mlp.down_proj": true, "*.down_proj": true, "*down*": true, "layers.3.": true, "layers.3.*": true,
		"layers.*.mlp.": true, "last": true, "layers.last.mlp.*": true, "re:model.*[13].mlp": true, "*": true,
		"down_proj": false, "layers.3": false, "first": false, "layers.first.": false, "re:down": false, "*.down": false, "*.up_proj": false,
	} {
		if method.Matches(pattern, name, 4) != want {
			t.Errorf("%s: %v", pattern, !want)
		}
	}
}
