package plan

import (
	"strings"
	"testing"
)

// A prefix is part of a trial's identity and of what trials share; none leaves no mark.
func TestPrefix(t *testing.T) {
	file := func(lines string) string {
		return "name: x\nmodel: builtin:m\nprotocol: {text: builtin:t, context: 64, stride: 64, bos: true}\n" +
			"calibration: {text: builtin:t, tokens: 512}\n" + lines + "methods: [{method: rtn}]\n"
	}
	plain, both := parse(t, file("")), parse(t, file("prefix: [none, outliers]\n"))
	if len(both.Trials) != 2 || len(Groups(both.Trials)) != 2 {
		t.Fatalf("%d trials in %d groups, want 2 in 2", len(both.Trials), len(Groups(both.Trials)))
	}
	a, b := both.Trials[0], both.Trials[1]
	if ID(plain.Trials[0], nil) != ID(a, nil) || ID(a, nil) == ID(b, nil) {
		t.Error("identities of none and outliers")
	}
	if _, ok := a.Axes()["prefix"]; ok || b.Axes()["prefix"] != "outliers" {
		t.Errorf("axes %v, %v", a.Axes(), b.Axes())
	}
	if !strings.Contains(b.Label, "prefix-outliers") {
		t.Errorf("label %q", b.Label)
	}
	if _, err := Parse("x.yaml", []byte(file("prefix: bos\n"))); err == nil || !strings.Contains(err.Error(), "x.yaml:5: prefix: ") {
		t.Errorf("prefix: bos: %v", err)
	}
}
