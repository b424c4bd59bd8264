package plan

import (
	"strings"
	"testing"
)

// TestTransform: a transform is part of a trial's identity, its settings only where
// it has them, and combinations that cannot be are told with their line.
func TestTransform(t *testing.T) {
	file := func(lines string) string {
		return `name: x
model: m
protocol: {text: t, context: 64, stride: 64, bos: true}
calibration: {text: c, tokens: 128}
` + lines
	}
	s := parse(t, file("transform: [none, quarot, block-hadamard]\nmethods: [{method: rtn}]\n"))
	if len(s.Trials) != 3 || len(Groups(s.Trials)) != 3 {
		t.Fatalf("%d trials in %d groups", len(s.Trials), len(Groups(s.Trials)))
	}
	plain := parse(t, file("methods: [{method: rtn}]\n")).Trials[0]
	if ID(s.Trials[0], nil) != ID(plain, nil) {
		t.Error("transform: none changes the identity")
	}
	for i, want := range []string{"", "seed 1", "block 128"} {
		a := s.Trials[i].Axes()
		got := ""
		for _, k := range []string{"seed", "block", "steps"} {
			if v, ok := a["transform_"+k]; ok {
				got += k + " " + v
			}
		}
		if got != want {
			t.Errorf("%s has %q, want %q", s.Trials[i].Label, got, want)
		}
	}
	for _, c := range [][2]string{
		{"transform: quarot\nbasis: folded\nmethods: [{method: rtn}]\n",
			`transform: quarot beside a basis`},
		{"transform: block-hadamard\ntransform_block: 48\nmethods: [{method: rtn}]\n",
			`transform_block: 48 is no power of two`},
		{"transform: quarot\ntransform_block: 64\nmethods: [{method: rtn}]\n",
			`transform_block: has no effect here`},
		{"transform: quarot\nmethods: [{method: rtn, smoothing: 0.5}]\n",
			`set smoothing_sites: norms`},
		{"transform: block-hadamard\nmethods: [{method: rtn, smoothing: 0.5, smoothing_sites: norms}]\n",
			`drop smoothing`},
		{"transform: [quarot, spinquant]\nactivations: [a4, a16]\nmethods: [{method: rtn}]\n",
			`is learned under rounded inputs, which activations: a16 are not`},
		{"transform: hadamard\nmethods: [{method: rtn}]\n",
			`"hadamard" is not one of`},
	} {
		_, err := Parse("t.yaml", []byte(file(c[0])))
		if err == nil || !strings.Contains(err.Error(), c[1]) {
			t.Errorf("%q: %v, want %q", c[0], err, c[1])
		}
	}
	parse(t, file("transform: quarot\nmethods: [{method: rtn, smoothing: 0.5, smoothing_sites: norms}]\n"))
	for name, want := range map[string]int{"kurtail": 1, "spinquant": 3} { // inputs that it is learned under
		s := parse(t, file("transform: "+name+"\nactivations: [a4, a8]\nactivations_clip: [0, 0.9]\n"+
			"skip: {activations: a8, activations_clip: 0.9}\nactivations_scale: [dynamic, static]\n"+
			"methods: [{method: rtn, group: [32, 64]}]\n"))
		if got := len(Groups(s.Trials)); len(s.Trials) != 12 || got != want {
			t.Errorf("%s: %d trials in %d groups, want 12 in %d", name, len(s.Trials), got, want)
		}
	}
}

// TestActivationKeys: settings of inputs leave no trace where they are as the name of
// the activations says, and are told where they cannot be.
func TestActivationKeys(t *testing.T) {
	file := func(lines string) string {
		return `name: x
model: m
protocol: {text: t, context: 64, stride: 64, bos: true}
calibration: {text: c, tokens: 128}
` + lines
	}
	plain := parse(t, file("activations: a4\nmethods: [{method: rtn}]\n")).Trials[0]
	same := parse(t, file("activations: a4\nactivations_group: default\nactivations_zero: symmetric\n"+
		"activations_clip: 0\nactivations_scale: dynamic\nmethods: [{method: rtn}]\n")).Trials[0]
	if ID(plain, nil) != ID(same, nil) {
		t.Error("settings that change nothing change the identity")
	}
	s := parse(t, file("activations: a4\nactivations_group: [row, 32, default]\nmethods: [{method: rtn}]\n"))
	if len(s.Trials) != 3 || s.Trials[1].ActivationsGroup != "32" {
		t.Errorf("groups of inputs: %v", s.Trials)
	}
	again, err := s.YAML()
	if err != nil {
		t.Fatal(err)
	}
	if r := parse(t, string(again)); ID(r.Trials[1], nil) != ID(s.Trials[1], nil) {
		t.Error("written and read, groups of inputs are others")
	}
	for _, c := range [][2]string{
		{"activations: fp8\nactivations_clip: 0.9\nmethods: [{method: rtn}]\n",
			`activations_clip: has no effect here`},
		{"activations: a8\nactivations_scale: static\nactivations_zero: asymmetric\nmethods: [{method: rtn}]\n",
			`with asymmetric grids`},
		{"activations: a8\nactivations_scale: static\nmethods: [{method: atom, columns: 5%}]\n",
			`keeps channels apart`},
		{"activations: a8\nactivations_scale: searched\nactivations_clip: 0.9\nmethods: [{method: rtn}]\n",
			`which finds what share`},
		{"activations: a4\nactivations_wide: 16%\nmethods: [{method: quik, columns: 5%}]\n",
			`keeps channels apart`},
		{"activations: a4\nactivations_wide: 16%\nactivations_scale: static\nmethods: [{method: rtn}]\n",
			`found beforehand`},
		{"activations: a8\nactivations_wide: 16%\nmethods: [{method: rtn}]\n",
			`activations_wide: has no effect here`},
		{"activations: a8\nactivations_group: wide\nmethods: [{method: rtn}]\n",
			`"wide" is not`},
		{"activations: a6\nmethods: [{method: rtn}]\n",
			`"a6" is not one of`},
	} {
		_, err := Parse("t.yaml", []byte(file(c[0])))
		if err == nil || !strings.Contains(err.Error(), c[1]) {
			t.Errorf("%q: %v, want %q", c[0], err, c[1])
		}
	}
}
