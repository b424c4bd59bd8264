package plan

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestErrors(t *testing.T) {
	method := func(s string) string { return header + "methods:\n- " + s }
	common := func(old, new string) string {
		if !strings.Contains(header, old) {
			t.Fatalf("the header has no %q", old)
		}
		return strings.Replace(header, old, new, 1) + "methods: [{method: rtn}, {method: none}]"
	}
	for _, test := range []struct{ text, want string }{
		{"", "x.yaml:1: is empty"},
		{"# only a comment\n", "x.yaml:1: is empty"},
		{"[1, 2]", "x.yaml:1: is not a mapping"},
		{"name", "x.yaml:1: is not a mapping"},
		{"name: x\n\tmodel: m", "x.yaml:2: is indented with a tab"},
		{"name: {x", "x.yaml:1: "},
		{"name: \"x", "x.yaml:1: "},
		{"name: \xff\xfe", "x.yaml:1: "},
		{header + "methods: [{method: rtn}]\n---\nname: y", "x.yaml:6: a second document begins"},
		{header, "x.yaml:1: methods: is missing"},
		{header + "methods: []", "x.yaml:5: methods: is an empty list"},
		{header + "methods: {method: rtn}", "x.yaml:5: methods: a mapping is not a list of methods"},
		{header + "metods: [{method: rtn}]", `x.yaml:5: unknown key "metods"; did you mean methods?`},
		{header + "name: y\nmethods: [{method: rtn}]", "x.yaml:5: name: is given twice, first in line 1"},
		{header + "speeds: {shapes: llama3-8b}\nmethods: [{method: rtn}]", `x.yaml:5: unknown key "speeds"; did you mean speed?`},
		{common("name: x", "name: ../x"), `x.yaml:1: name: "../x" is not a name`},
		{common("name: x", "name: 12"), `x.yaml:1: name: "12" is not a name`},
		{common("bos: true", "bos: yes"), `x.yaml:3: protocol.bos: "yes" is not true or false`},
		{common(", bos: true", ""), "x.yaml:3: protocol.bos: is missing"},
		{common("stride: 256", "stride: 257"), "x.yaml:3: protocol.stride: 257 is longer than protocol.context"},
		{common("1024", "100"), "x.yaml:4: calibration.tokens: 100 is less than one sequence"},
		{common("1024", "1e3"), `x.yaml:4: calibration.tokens: "1e3" is not a whole number`},
		{header + "stress: {gain: 10}\nmethods: [{method: rtn}]", "x.yaml:5: stress.gain: has no effect here: it needs stress.channels above 0"},
		{header + "stress: {channels: 2}\nmethods: [{method: rtn}]", "x.yaml:5: stress.channels: 2 is outside 0%..100%; did you mean 2%?"},
		{header + "stress: {channels: 1%, gain: 0.5}\nmethods: [{method: rtn}]", "x.yaml:5: stress.gain: 0.5 is outside 1..10000"},
		{header + "stress: {channels: 1%, gain: 10%}\nmethods: [{method: rtn}]", `x.yaml:5: stress.gain: "10%" is not a number`},
		{method("{method: none, smoothing: 0.5}"), "x.yaml:6: methods[0].smoothing: has no effect here: it needs a quantizer, or activations a8 or a4"},
		{method("{method: rtn, smoothing: 0.5, smoothing_search: alpha}"), "x.yaml:6: methods[0].smoothing_search: has no effect here: it needs smoothing 0"},
		{method("{method: quik, columns: 5%, smoothing_search: alpha}"), "methods[0].smoothing_search: "},
		{method("{method: rtn, smoothing_sites: norms}"), "x.yaml:6: methods[0].smoothing_sites: has no effect here: it needs smoothing above 0, or smoothing_search"},
		{common("1024", "1024, seed: -1"), `x.yaml:4: calibration.seed: "-1" is not a whole number`},
		{common("model: m", "model: 12"), `x.yaml:2: model: "12" is not a string`},
		{common("model: m", "model: ''"), "x.yaml:2: model: is empty"},
		{common("model: m", `model: "a\nb"`), `x.yaml:2: model: "a\nb" has characters`},
		{common("model: m", "model:"), "x.yaml:2: model: nothing is not a string"},
		{common("model: m", "model: []"), "x.yaml:2: model: is an empty list"},
		{common("model: m", "model: [m, m]"), "x.yaml:2: model[1]: m is given twice"},
		{common("protocol", "protocol: t\nprotocl"), `x.yaml:3: protocol: "t" is not a mapping`},
		{method("{method: mosaic, density: 10%, block: 1x8, residual_scale: half}"),
			`x.yaml:6: methods[0].residual_scale: half needs residual_bits: 2`},
		{method("{method: mosaic, density: 10%, block: 1x4, residual_bits: 2, residual_scale: half}"),
			`x.yaml:6: methods[0].residual_scale: half needs blocks of a multiple of 8 columns`},
		{method("{method: mosaic, density: 10%, residual_bits: 2, residual_scale: half, format: nf4}"),
			`x.yaml:6: methods[0].residual_scale: half needs a format of integers of up to 4 bits: int4, int4a, int2`},
		{method("{method: mosaic, density: 10%, residual_bits: 2, residual_scale: half, group: 36}"),
			`x.yaml:6: methods[0].residual_scale: half needs groups of a multiple of 8 columns`},
		{method("{method: mosaic, density: 10%, index: exact}"),
			`x.yaml:6: methods[0].index: exact needs a density of a whole number of 16 blocks: 6.25%, 12.5%`},
		{method("{method: mosaic, density: 12.5%, index: exact, budget: global}"),
			`x.yaml:6: methods[0].index: exact keeps as many blocks in all layers`},
		{method("{method: mosaic, density: 12.5%, index: exact, criterion: greedy}"),
			`x.yaml:6: methods[0].index: exact needs a criterion whose scores`},
		{method("{method: mosaic, density: 12.5%, index: bits}"),
			`x.yaml:6: methods[0].index: "bits" is not one of rows, bitmap, exact`},
		{method("{method: gptq, groups: dynamic}"),
			`x.yaml:6: methods[0].groups: dynamic groups need order: natural`},
		{method("{method: mosaic, base: gptq, density: 10%, order: act, groups: dynamic}"),
			`x.yaml:6: methods[0].groups: dynamic groups need order: natural`},
		{method("{method: spqr, outliers: 1%, order: natural, groups: dynamic}"),
			`x.yaml:6: methods[0].groups: dynamic groups are not possible with spqr`},
		{method("{method: spqr, threshold: 0.2, format: power4}"),
			`x.yaml:6: methods[0].threshold: 0.2 is not possible with any4, any3, any2, power4, whose`},
		{method("{method: spqr, threshold: 0.2, format: any4}"),
			`x.yaml:6: methods[0].threshold: 0.2 is not possible with any4`},
		{method("{method: atom, columns: 0%}"), `x.yaml:6: methods[0].columns: 0% leaves no channel in 8 bits`},
		{method("{method: gtpq}"), `x.yaml:6: methods[0].method: "gtpq" is not one of none, rtn, gptq, spqr, mosaic, quik, atom, llmint8, svdquant, trellis, vptq, gobo, olive, adadim, checkpoint; did you mean gptq?`},
		{common("model: m", "model: m\ntasks: builtin:choice"), `x.yaml:3: tasks: "builtin:choice" is not a list of tasks`},
		{common("model: m", "model: m\ntasks: []"), "x.yaml:3: tasks: "},
		{common("model: m", "model: m\ntasks: [Choice]"),
			`x.yaml:3: tasks[0]: "Choice" is neither builtin:NAME nor TASK=FILE`},
		{common("model: m", "model: m\ntasks: [a=b, 'builtin:']"), `x.yaml:3: tasks[1]: "builtin:" is neither`},
		{common("model: m", "model: m\ntasks: ['piqa=']"), `x.yaml:3: tasks[0]: "piqa=" is neither`},
		{common("model: m", "model: m\ntasks: ['piqa=a,b']"), `x.yaml:3: tasks[0]: "piqa=a,b" is neither`},
		{common("model: m", "model: m\ntasks: [piqa=a, {}]"), "x.yaml:3: tasks[1]: a mapping is neither"},
		{common("model: m", "model: m\ntasks: [piqa=a, builtin:choice, piqa=b]"), "x.yaml:3: tasks[2]: task piqa is given twice"},
		{method("{group: 128}"), "x.yaml:6: methods[0].method: is missing"},
		{method("rtn"), `x.yaml:6: methods[0]: "rtn" is not a mapping`},
		{method("{method: rtn, groop: 128}"), `x.yaml:6: methods[0]: unknown key "groop"; did you mean group?`},
		{method("{method: rtn, density: 10%}"), "x.yaml:6: methods[0].density: method rtn has no such setting"},
		{method("{method: mosaic, density: 1%, base: gptq, joint: true, criterion: [delta, full]}"), "x.yaml:6: methods[0].criterion: full has no meaning with joint"},
		{method("{method: mosaic, density: 1%, criterion: relief}"), "x.yaml:6: methods[0].criterion: relief needs joint: true"},
		{method("{method: mosaic, density: 1%, base: gptq, refine: 2}"), "x.yaml:6: methods[0].refine: has no effect here: it needs method gptq or joint: true"},
		{method("{method: rtn, refine: 2}"), "x.yaml:6: methods[0].refine: method rtn has no such setting"},
		{method("{method: mosaic}"), "x.yaml:6: methods[0].density: is missing"},
		{method("{method: mosaic, density: 150%}"), "x.yaml:6: methods[0].density: 150% is outside 0%..100%"},
		{method("{method: mosaic, density: [5%, 10]}"), "x.yaml:6: methods[0].density[1]: 10 is outside 0%..100%; did you mean 10%?"},
		{method("{method: mosaic, density: -1%}"), "x.yaml:6: methods[0].density: -1% is outside"},
		{method("{method: mosaic, density: .nan}"), `x.yaml:6: methods[0].density: ".nan" is not a percentage`},
		{method("{method: mosaic, density: 1e99}"), "x.yaml:6: methods[0].density: 1e99 is outside"},
		{method("{method: mosaic, density: 0x1p-2}"), `x.yaml:6: methods[0].density: "0x1p-2" is not a percentage`},
		{method("{method: mosaic, density: lots}"), `x.yaml:6: methods[0].density: "lots" is not a percentage`},
		{method("{method: mosaic, density: {a: b}}"), "x.yaml:6: methods[0].density: a mapping is not a single value"},
		{method("{method: mosaic, density: [[5%]]}"), "x.yaml:6: methods[0].density[0]: a list is not a single value"},
		{method("{method: mosaic, density: 5%, block: 16x}"), `x.yaml:6: methods[0].block: "16x" is not ROWSxCOLUMNS`},
		{method("{method: mosaic, density: 5%, block: Nx0}"), "x.yaml:6: methods[0].block: "},
		{method("{method: mosaic, density: 5%, budget: all}"), `x.yaml:6: methods[0].budget: "all" is not one of layer, global, relative`},
		{method("{method: gptq, format: nvfp4, budget: global}"), "x.yaml:6: methods[0].budget: global of gptq is shared by groups of several sizes"},
		{method("{method: rtn, budget: global}"), "x.yaml:6: methods[0].budget: method rtn has no such setting"},
		{method("{method: mosaic, density: 5%, budget: global, criterion: greedy}"), "x.yaml:6: methods[0].budget: global needs a criterion whose scores"},
		{method("{method: mosaic, density: 5%, block: 0x16}"), "x.yaml:6: methods[0].block: "},
		{method("{method: mosaic, density: 5%, criterion: detla}"), "did you mean delta?"},
		{method("{method: mosaic, density: 5%, residual_bits: 5}"), "x.yaml:6: methods[0].residual_bits: 5 is outside 2..4"},
		{method("{method: mosaic, density: 5%, damp: 0.1}"), "x.yaml:6: methods[0].damp: has no effect here: it needs base gptq"},
		{method("{method: rtn, group: 0}"), "x.yaml:6: methods[0].group: 0 is outside 1..1048576"},
		{method("{method: rtn, group: \"128\"}"), `x.yaml:6: methods[0].group: "128" is neither a whole number nor row`},
		{method("{method: rtn, group: 99999999999999999999}"), "x.yaml:6: methods[0].group: "},
		{method("{method: rtn, group: &g 64x}\n- {method: gptq, group: *g}"), `x.yaml:6: methods[1].group: "64x" is neither`},
		{method("{method: rtn, group: *g}"), "x.yaml:1: unknown anchor 'g' referenced"},
		{method("&a {method: rtn}\n- {<<: [*a, rtn]}"), `x.yaml:7: methods.<<: "rtn" is not a mapping`},
		{method("{<<: 64}"), "x.yaml:6: methods.<<: \"64\" is neither a mapping"},
		{method("&a {method: rtn, groop: 64}\n- {<<: *a, group: 32}"), `x.yaml:6: methods[1]: unknown key "groop"`},
		{method("&a [{method: rtn, group: *a}]"), "x.yaml:6: methods.group: *a refers to what it stands in"},
		{header + "include: a.yaml\nmethods: []", "x.yaml:5: include: a.yaml: this file stands for itself"},
		{method("{method: rtn, only: {group: 64}}"), "x.yaml:6: methods[0].only: matches no trial"},
		{method("{method: rtn, skip: {}}"), "x.yaml:6: methods[0].skip: is empty"},
		{method("{method: rtn, skip: []}"), "x.yaml:6: methods[0].skip: is an empty list"},
		{method("{method: rtn, skip: {tokens: 5}}"), `x.yaml:6: methods[0].skip: unknown key "tokens"`},
		{method("{method: rtn, skip: {method: rtn}}"), "methods: no trial passes the filters"},
		{method("{method: rtn, group: [64, 32], scale: [mse], zip: [group, scale]}"), "x.yaml:6: methods[0].zip: group has 2 values and scale has 1"},
		{method("{method: rtn, group: [64, 32], zip: [group, scale]}"), `x.yaml:6: methods[0].zip: "scale" is not a key that is given here`},
		{method("{method: rtn, group: [64, 32], zip: [group, group]}"), "x.yaml:6: methods[0].zip: group is zipped twice"},
		{method("{method: rtn, group: [64, 32], zip: group}"), `x.yaml:6: methods[0].zip: "group" is not a list of keys`},
		{header + "baseline: {method: gptq}\nmethods:\n- {method: rtn}", "x.yaml:5: baseline: no trial of the sweep matches it for rtn"},
		{header + "baseline: {method: rtn}\nmethods:\n- {method: rtn, group: [128, 64]}", "x.yaml:5: baseline: matches 2 trials: rtn g128, rtn g64; name more settings"},
		{header + "baseline: rtn\nmethods:\n- {method: rtn}", `x.yaml:5: baseline: "rtn" is not a mapping`},
	} {
		s, err := Parse("x.yaml", []byte(test.text))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q\n got: %v\nwant: %s", strings.TrimPrefix(test.text, header), err, test.want)
		}
		if err != nil && s != nil {
			t.Errorf("%q: a sweep besides the error", test.text)
		}
	}
}

func TestSeveralErrors(t *testing.T) {
	_, err := Parse("x.yaml", []byte(strings.Replace(header, "256", "1", 1)+"methods:\n- {method: rnt}\n- {method: rtn, group: many}\n"))
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "x.yaml:3: ") || !strings.HasPrefix(lines[1], "x.yaml:6: ") || !strings.HasPrefix(lines[2], "x.yaml:7: ") {
		t.Errorf("want the errors of lines 3, 6 and 7:\n%v", err)
	}
	many := header + "methods:\n" + strings.Repeat("- {method: rnt}\n", 50)
	if _, err = Parse("x.yaml", []byte(many)); err == nil || strings.Count(err.Error(), "\n") != maxErrors || !strings.Contains(err.Error(), "and 30 more") {
		t.Errorf("50 errors are reported as\n%v", err)
	}
}

func TestTooMuch(t *testing.T) {
	var numbers []string
	for i := range 400 {
		numbers = append(numbers, strconv.Itoa(i+1))
	}
	list := "[" + strings.Join(numbers, ", ") + "]"
	_, err := Parse("x.yaml", []byte(strings.Replace(header, "bos: true", "bos: true, tokens: "+list, 1)+"methods:\n- {method: rtn, group: "+list+"}"))
	if err == nil || !strings.Contains(err.Error(), "x.yaml:6: methods[0]: more than 100000 combinations") {
		t.Errorf("160000 combinations: %v", err)
	}
	_, err = Parse("x.yaml", make([]byte, maxBytes+1))
	if err == nil || !strings.Contains(err.Error(), "bytes; a file has at most") {
		t.Errorf("a huge file: %v", err)
	}
	bomb := header + "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'h'; c++ {
		bomb += string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+string(c-1)+", ", 10) + "x]\n"
	}
	_, err = Parse("x.yaml", []byte(bomb))
	if err == nil || !strings.Contains(err.Error(), "YAML references make more than 100000 values") {
		t.Errorf("references to references: %v", err)
	}
	deep := header + "methods: " + strings.Repeat("[", 20000)
	if _, err = Parse("x.yaml", []byte(deep)); err == nil {
		t.Error("20000 brackets were accepted")
	}
}

// FuzzParse checks that no file makes Parse panic, and that what it accepts
// has distinct labels and survives being written out.
func FuzzParse(f *testing.F) {
	for _, path := range []string{"../../configs/default.yaml", "../../configs/smoke.yaml"} {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(header + "activations: [a16, a4]\nskip: {activations: a4, group: 64}\nmethods:\n- {method: [rtn, gptq], group: [row, 64], scale: [mse, absmax], zip: [group, scale]}"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse("f.yaml", data)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f.yaml:") {
				t.Errorf("error without file and line: %v", err)
			}
			return
		}
		if len(s.Trials) == 0 || len(s.Trials) > maxCombinations {
			t.Fatalf("%d trials", len(s.Trials))
		}
		seen := map[string]bool{}
		for _, tr := range s.Trials {
			if seen[tr.Label] || tr.Label == "" {
				t.Fatalf("label %q is given twice", tr.Label)
			}
			seen[tr.Label] = true
		}
		again(t, s)
	})
}
