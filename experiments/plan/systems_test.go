package plan

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/method"
)

// TestSystems: docs/systems.md is what WriteSystems writes; the lines of every system
// make trials; and every method and transform of the registry is part of a system.
func TestSystems(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Systems {
		if s.Entry != "" && TransformOf(s.Entry) == nil && method.Find(s.Entry) == nil {
			t.Errorf("%s: %s is in no registry", s.Name, s.Entry)
		}
		if seen[s.Name] || s.Departs == "" || s.Checked == "" {
			t.Errorf("%s: there twice, or without departures or checks", s.Name)
		}
		seen[s.Name] = true
		sw, err := Parse(s.Name, []byte("name: x\nmodel: m\nprotocol: {text: t, context: 64, stride: 64, bos: true}\n"+
			"calibration: {text: c, tokens: 128}\n"+s.File+"\n"))
		if err != nil {
			t.Errorf("%s: %v", s.Name, err)
			continue
		}
		for _, tr := range sw.Trials {
			seen["method "+tr.Method.Name()], seen["transform "+tr.Transform] = true, true
			seen["activations "+tr.Activations] = true
		}
	}
	for _, m := range method.All {
		if m.Quantizes() && m.Reads == "" && !seen["method "+m.Name] {
			t.Errorf("method %s is part of no system", m.Name)
		}
	}
	for _, tr := range Transforms {
		if tr.Source != "" && !seen["transform "+tr.Name] {
			t.Errorf("transform %s is part of no system", tr.Name)
		}
	}
	for _, a := range []string{"a16", "a8", "a4", "fp8", "mxfp4", "nvfp4"} {
		if !seen["activations "+a] {
			t.Errorf("activations %s are part of no system", a)
		}
	}
	for _, l := range LeftOut {
		names := strings.Split(l.Name, ", ")
		if l.Why == "" || slices.ContainsFunc(Systems, func(s System) bool { return slices.Contains(names, s.Name) }) {
			t.Errorf("%s is left out without a reason, or is there", l.Name)
		}
	}
	var b bytes.Buffer
	if err := WriteSystems(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "../../docs/systems.md", b.Bytes())
}
