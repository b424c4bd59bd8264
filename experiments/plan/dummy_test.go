package plan

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/kinds"
	"github.com/mosaicquant/mosaicquant/experiments/method"
	"github.com/mosaicquant/mosaicquant/quant"
)

// TestNewMethod shows what a new method takes: its own description, and a place in
// the registry. Parsing, errors, defaults, labels, the resolved file, identities
// and docs/keys.md follow.
func TestNewMethod(t *testing.T) {
	rtn := method.Find("rtn")
	round := &method.Method{
		Name:    "round",
		Summary: "Rounds to nearest, and has a key of its own",
		Look:    method.Look{Color: "#101010", Marker: "plus"},
		Keys: []*method.Key{rtn.Key("format"), rtn.Key("group"), rtn.Key("scale"),
			{Name: "wobble", Kind: kinds.Integer(0, 9), Default: func(method.Settings) any { return 2 }, Means: "Nothing",
				Label: kinds.Prefix("wobble", nil), Quiet: true}},
		Rules: append(slices.Clone(rtn.Rules), method.Rule{Key: "wobble",
			Fails: func(s method.Settings) bool { return s.Int("wobble") == 7 }, Says: "is never allowed"}),
		Build: func(s method.Settings) (quant.Quantizer, error) { return rtn.Build(s) },
	}
	all := method.All
	method.All = append(slices.Clone(all), round)
	keys = tableOfKeys()
	t.Cleanup(func() {
		method.All = all
		keys = tableOfKeys()
	})

	s := parse(t, header+"methods:\n- {method: [rtn, round], group: 64}\n- {method: round, wobble: [2, 3]}")
	again(t, s)
	var labels []string
	for _, tr := range s.Trials {
		labels = append(labels, tr.Label)
	}
	want := []string{"rtn g64", "round g64", "round g128", "round g128 wobble3"}
	if !slices.Equal(labels, want) {
		t.Errorf("labels %q, want %q", labels, want)
	}
	if tr := s.Trials[3]; tr.Method.String() != `{"name":"round","format":"int4","group":128,"scale":"absmax","wobble":3}` || tr.Axes()["wobble"] != "3" {
		t.Errorf("%s, axes %v", tr.Method, tr.Axes())
	}
	for text, want := range map[string]string{
		"{method: round, wobble: 10}":               "wobble: 10 is outside 0..9",
		"{method: round, wobble: 7}":                "wobble: 7 is never allowed",
		"{method: round, density: 10%}":             "method round has no such setting",
		"{method: rtn, wobble: 1}":                  "method rtn has no such setting",
		"{method: roud}":                            "did you mean round?",
		"{method: round, format: mxfp4, group: 64}": "64 is no group of mxfp4",
	} {
		if _, err := Parse("x.yaml", []byte(header+"methods:\n- "+text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", text, err, want)
		}
	}
	var b bytes.Buffer
	if err := Document(&b); err != nil || !strings.Contains(b.String(), "| `wobble` | whole number, 0 to 9 | `2` | round | Nothing. |") {
		t.Errorf("%v\n%s", err, b.String())
	}
}
