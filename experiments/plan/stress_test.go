package plan

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// A model without stress is the one of old files: no axis, no part of the
// identity. One with stress says so in every label, also where all have it.
func TestStress(t *testing.T) {
	plain := parse(t, header+"methods: [{method: rtn}]").Trials[0]
	data, err := json.Marshal(plain)
	if err != nil || strings.Contains(string(data), "stress") || strings.Contains(string(data), "smooth") {
		t.Errorf("%s, %v", data, err)
	}
	for axis := range plain.Axes() {
		if strings.HasPrefix(axis, "stress") {
			t.Errorf("a model without stress has the axis %s", axis)
		}
	}

	s := parse(t, header+"stress: {channels: [0%, 1%], gain: [10, 30.5]}\nbaseline: {group: 64}\nmethods: [{method: rtn, group: [128, 64]}]")
	want := []string{"rtn g128", "rtn g64", "rtn g128 synthetic stress 1% x10", "rtn g64 synthetic stress 1% x10",
		"rtn g128 synthetic stress 1% x30.5", "rtn g64 synthetic stress 1% x30.5"}
	if got := labels(s); !slices.Equal(got, want) {
		t.Errorf("labels %q, want %q", got, want)
	}
	if got := s.Trials[4].Baseline; got != want[5] {
		t.Errorf("the baseline of %s is %s", want[4], got)
	}
	if groups := Groups(s.Trials); len(groups) != 3 || groups[1][0].Stress != (Stress{0.01, 10, 1}) {
		t.Errorf("groups %+v", groups)
	}
	axes := s.Trials[4].Axes()
	if axes["stress.channels"] != "0.01" || axes["stress.gain"] != "30.5" || axes["stress.seed"] != "1" {
		t.Errorf("axes %v", axes)
	}
	again(t, s)

	all := parse(t, header+"stress: {channels: 2%, seed: [1, 2]}\nmethods: [{method: rtn}]")
	if got := labels(all); !slices.Equal(got, []string{"rtn synthetic stress 2% x30", "rtn synthetic stress 2% x30 stress-seed2"}) &&
		!strings.Contains(got[0], "synthetic stress 2% x30") {
		t.Errorf("labels %q", got)
	}
	again(t, all)
	again(t, parse(t, header+"stress: {channels: 0%}\nmethods: [{method: rtn}]"))
}

// Smoothing is swept with every method; the 16-bit model has none, unless its
// activations are quantized.
func TestSmoothing(t *testing.T) {
	s := parse(t, header+"activations: [a16, a8]\nmethods:\n- {method: [none, rtn, gptq], smoothing: [0, 0.5]}\n- {method: rtn, smoothing: 0.8, smoothing_sites: norms}")
	want := []string{"16-bit a16", "rtn a16", "rtn smooth0.5 a16", "gptq a16", "gptq smooth0.5 a16", "rtn smooth0.8 norms-only a16",
		"16-bit weights a8", "16-bit weights smooth0.5 a8", "rtn a8", "rtn smooth0.5 a8", "gptq a8", "gptq smooth0.5 a8", "rtn smooth0.8 norms-only a8"}
	got := labels(s)
	for i, l := range want {
		if !slices.Contains(got, l) {
			t.Errorf("no trial %q (%d) in %q", l, i, got)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d trials, want %d: %q", len(got), len(want), got)
	}
	again(t, s)
}
