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
	for lines, want := range map[string]string{
		"transform: quarot\nbasis: folded\nmethods: [{method: rtn}]\n":                                  `transform: quarot beside a basis`,
		"transform: block-hadamard\ntransform_block: 48\nmethods: [{method: rtn}]\n":                    `transform_block: 48 is no power of two`,
		"transform: quarot\ntransform_block: 64\nmethods: [{method: rtn}]\n":                            `transform_block: has no effect here`,
		"transform: quarot\nmethods: [{method: rtn, smoothing: 0.5}]\n":                                 `set smoothing_sites: norms`,
		"transform: block-hadamard\nmethods: [{method: rtn, smoothing: 0.5, smoothing_sites: norms}]\n": `drop smoothing`,
		"transform: hadamard\nmethods: [{method: rtn}]\n":                                               `"hadamard" is not one of`,
	} {
		_, err := Parse("t.yaml", []byte(file(lines)))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", lines, err, want)
		}
	}
	parse(t, file("transform: quarot\nmethods: [{method: rtn, smoothing: 0.5, smoothing_sites: norms}]\n"))
}
