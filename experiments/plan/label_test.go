package plan

import (
	"slices"
	"strings"
	"testing"
)

// A label names the trials of its entry; what varies among them and is not in the
// label follows, and so does what varies in the whole file.
func TestLabels(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       []string
	}{
		{"one trial", "methods:\n- {method: rtn, group: 32}\n- {method: gptq, label: 'GPTQ, ours'}",
			[]string{"rtn g32", "GPTQ, ours"}},
		{"what varies in other entries is left out", "methods:\n- {method: rtn, group: [128, 32]}\n- {method: rtn, group: 64, label: Baseline}",
			[]string{"rtn g128", "rtn g32", "Baseline"}},
		{"a product", "methods:\n- {method: mosaic, density: [5%, 10%], refine: [0, 8], joint: true, base: gptq, label: Ours}",
			[]string{"Ours 5%", "Ours 5% refine8", "Ours 10%", "Ours 10% refine8"}},
		{"placeholders", "methods:\n- {method: mosaic, density: [5%, 10%], block: [16x16, 1x32], label: 'Mosaic {density} of W'}",
			[]string{"Mosaic 5% of W 16x16", "Mosaic 5% of W 1x32", "Mosaic 10% of W 16x16", "Mosaic 10% of W 1x32"}},
		{"a list of methods", "methods:\n- {method: [rtn, gptq], label: Plain}\n- {method: [rtn, gptq], group: 64, label: '{method}, {group}'}",
			[]string{"Plain rtn", "Plain gptq", "rtn, 64", "gptq, 64"}},
		{"settings of the whole file", "activations: [a16, a4]\nstress: {channels: 1%}\nmethods:\n- {method: rtn, label: Plain}\n- {method: gptq, label: 'W4{activations}'}",
			[]string{"Plain synthetic stress 1% x30 a16", "W4a16 synthetic stress 1% x30", "Plain synthetic stress 1% x30 a4", "W4a4 synthetic stress 1% x30"}},
		{"a trial of two entries", "methods:\n- {method: rtn, group: [128, 64]}\n- {method: rtn, group: 64, label: Fine}",
			[]string{"rtn g128", "Fine"}},
		{"spaces", "methods:\n- {method: rtn, label: '  two   words '}", []string{"two words"}},
	} {
		s := parse(t, header+test.text)
		if got := labels(s); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
		again(t, s)
	}
}

// A label is no part of what a trial is.
func TestLabelIsNoIdentity(t *testing.T) {
	plain := parse(t, header+"methods:\n- {method: rtn, group: [128, 64]}")
	titled := parse(t, header+"methods:\n- {method: rtn, group: [128, 64], label: Ours}")
	for i, tr := range plain.Trials {
		if tr.Title != "" || titled.Trials[i].Title != "Ours" {
			t.Errorf("titles %q and %q", tr.Title, titled.Trials[i].Title)
		}
		if a, b := ID(tr, nil), ID(titled.Trials[i], nil); a != b {
			t.Errorf("%s is %s, %s with a label", tr.Label, a, b)
		}
	}
}

// A baseline is found by its settings and called by its label.
func TestLabelOfBaseline(t *testing.T) {
	s := parse(t, header+"baseline: {method: rtn}\nmethods:\n- {method: rtn, label: Simple}\n- {method: gptq, label: Better}")
	for _, tr := range s.Trials {
		if tr.Baseline != "Simple" {
			t.Errorf("%s: baseline %q", tr.Label, tr.Baseline)
		}
	}
}

func TestLabelErrors(t *testing.T) {
	for text, want := range map[string]string{
		"- {method: rtn, label: A}\n- {method: gptq, label: A}": `x.yaml:7: methods[1].label: "A" names 2 trials ` +
			`of methods[0] and methods[1]; they differ in method: write {method}, or choose another`,
		"- {method: rtn}\n- {method: gptq, label: rtn}":              `x.yaml:7: methods[1].label: "rtn" names 2 trials of methods[0] and methods[1]; they differ in method`,
		"- {method: rtn, label: A}\n- {method: rtn, label: B}":       `x.yaml:7: methods[1].label: "B" names a trial that methods[0] calls "A"`,
		"- {method: rtn, label: 'g{grop}'}":                          `x.yaml:6: methods[0].label: {grop} is no key; did you mean group?`,
		"- {method: rtn, label: 'g{group'}":                          `x.yaml:6: methods[0].label: "g{group": braces hold the name of a key`,
		"- {method: rtn, label: 'g}{'}":                              `x.yaml:6: methods[0].label: "g}{": braces hold the name of a key`,
		"- {method: [rtn, mosaic], density: 5%, label: '{density}'}": `x.yaml:6: methods[0].label: {density} has no value for rtn`,
		"- {method: rtn, label: ''}":                                 `x.yaml:6: methods[0].label: is empty`,
		"- {method: rtn, label: 7}":                                  `x.yaml:6: methods[0].label: "7" is not a string`,
		"- {method: rtn, label: [a, b]}":                             `x.yaml:6: methods[0].label: a list is not a string`,
		"- {method: rtn, label: '" + strings.Repeat("x", 101) + "'}": `x.yaml:6: methods[0].label: has 101 characters`,
		"- {method: rtn, label: \"a\\tb\"}":                          `x.yaml:6: methods[0].label: "a\tb" has characters that cannot be printed`,
	} {
		_, err := Parse("x.yaml", []byte(header+"methods:\n"+text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Count(err.Error(), "\n") > 0 {
			t.Errorf("%s: error %v, want %s", text, err, want)
		}
	}
}

// The older word for tied scales is read, and is the same trial.
func TestTied(t *testing.T) {
	const text = header + "methods:\n- {method: mosaic, density: 5%, residual_scale: [block, X]}"
	old, now := parse(t, strings.Replace(text, "X", "base", 1)), parse(t, strings.Replace(text, "X", "tied", 1))
	if !slices.Equal(old.Trials, now.Trials) {
		t.Errorf("%v is not %v", old.Trials, now.Trials)
	}
	if got, want := labels(now), []string{"mosaic", "mosaic tied"}; !slices.Equal(got, want) {
		t.Errorf("labels %q, want %q", got, want)
	}
	again(t, old)
	_, err := Parse("x.yaml", []byte(strings.Replace(text, "X", "bas", 1)))
	if err == nil || !strings.Contains(err.Error(), "is not one of block, row, tied") {
		t.Errorf("error %v", err)
	}
}
