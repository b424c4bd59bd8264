package plan

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
)

// filesOf returns the files of a map.
func filesOf(files map[string]string) Files {
	return func(path string) ([]byte, error) {
		if text, ok := files[path]; ok {
			return []byte(text), nil
		}
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
}

func TestInclude(t *testing.T) {
	files := map[string]string{
		"dir/common.yaml": "name: common\nmodel: m\nprotocol: {text: t, context: 256, stride: 256, bos: true}\n" +
			"include: more/calibration.yaml\nmethods: [{method: gptq}]",
		"dir/more/calibration.yaml": "calibration: {text: c, tokens: 4096}\nactivations: a8\n",
		"dir/last.yaml":             "activations: a4\n",
	}
	s, err := ParseWith(filesOf(files), "dir/x.yaml", []byte("# Why?\nname: x\ninclude: [common.yaml, last.yaml]\n"+
		"protocol: {context: 128, stride: 128}\nmethods: [{method: rtn}]\n"), "calibration.seed=3")
	if err != nil {
		t.Fatal(err)
	}
	got := s.Trials[0]
	if len(s.Trials) != 1 || s.Name != "x" || s.Question != "Why?" || got.Method.Name() != "rtn" ||
		got.Activations != "a4" || got.Protocol.Context != 128 || got.Protocol.Text != "t" ||
		got.Calibration.Tokens != 4096 || got.Calibration.Seed != 3 {
		t.Errorf("%s: %+v", s.Name, s.Trials)
	}
	again(t, s)
	if err := s.Locate(AboutSetting("calibration.text", errors.New("is bad"))); err == nil ||
		!strings.HasPrefix(err.Error(), "dir/more/calibration.yaml:1: calibration.text: is bad") {
		t.Errorf("%v", err)
	}
	err = s.LocateMethod(&got, errors.New("is bad"))
	if err == nil || !strings.HasPrefix(err.Error(), "dir/x.yaml:5: rtn") {
		t.Errorf("%v", err)
	}
}

func TestIncludeErrors(t *testing.T) {
	files := map[string]string{
		"self.yaml": "include: self.yaml\n", "a.yaml": "include: b.yaml", "b.yaml": "include: a.yaml",
		"bad.yaml": "\nmodel: [\n", "list.yaml": "- x", "empty.yaml": "", "typo.yaml": "\nmodle: m\n",
		"value.yaml": "\nactivations: a9\n",
		"huge.yaml":  strings.Repeat("#", maxBytes+1),
	}
	for include, want := range map[string]string{
		"none.yaml":   "x.yaml:5: include: open none.yaml",
		"self.yaml":   "self.yaml:1: include: self.yaml includes itself: self.yaml > self.yaml",
		"a.yaml":      "b.yaml:1: include: a.yaml includes itself: a.yaml > b.yaml > a.yaml",
		"bad.yaml":    "bad.yaml:",
		"list.yaml":   "list.yaml:1: is not a mapping",
		"empty.yaml":  "empty.yaml:1: is empty",
		"typo.yaml":   `typo.yaml:2: unknown key "modle"; did you mean model?`,
		"value.yaml":  `value.yaml:2: activations: "a9" is not one of`,
		"huge.yaml":   "x.yaml:5: include: huge.yaml: 1048577 bytes",
		"[]":          "x.yaml:5: include: a list is neither",
		"{a: b}":      "x.yaml:5: include: a mapping is neither",
		"[{a: b}]":    "x.yaml:5: include: a mapping is not the path",
		"3":           "x.yaml:5: include: \"3\" is not the path of a file",
		`""`:          `x.yaml:5: include: "" is not the path of a file`,
		"[self.yaml]": "self.yaml:1: include: self.yaml includes itself",
	} {
		_, err := ParseWith(filesOf(files), "x.yaml", []byte(header+"include: "+include+"\nmethods: [{method: rtn}]"))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("include: %s: %v, want %s", include, err, want)
		}
	}
	list := strings.TrimSuffix(strings.Repeat("e.yaml, ", maxIncluded+1), ", ")
	many := "include: [" + list + "]\nmethods: [{method: rtn}]"
	files["e.yaml"] = "activations: a16"
	_, err := ParseWith(filesOf(files), "x.yaml", []byte(header+many))
	if err == nil || !strings.Contains(err.Error(), "more than 16 files") {
		t.Errorf("%v", err)
	}
	if _, err := Parse("x.yaml", []byte(header+"methods: [{method: rtn}]"), "include=a.yaml"); err == nil ||
		!strings.Contains(err.Error(), "--set: include: is what a file says of itself") {
		t.Errorf("%v", err)
	}
}

func TestReferences(t *testing.T) {
	s, err := Parse("x.yaml", []byte(header+"methods:\n- &base {method: gptq, group: &g [128, 32], damp: 0.1}\n"+
		"- {<<: *base, group: 64}\n- {<<: [{refine: 2}, *base], group: *g, scale: hessian}\n"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, trial := range s.Trials {
		got = append(got, trial.Label)
	}
	const want = "gptq g128, gptq g32, gptq g64, gptq g128 hessian refine2, gptq g32 hessian refine2"
	if strings.Join(got, ", ") != want {
		t.Errorf("%s", strings.Join(got, ", "))
	}
	if damp := s.Trials[3].Method.Float("damp"); damp != 0.1 {
		t.Errorf("damp %v", damp)
	}
	again(t, s)
}

func TestBenchSet(t *testing.T) {
	const text = "include: shared.yaml\nname: b\nproducts: [{shapes: 64x256, variants: [dense4]}]\n"
	files := filesOf(map[string]string{"shared.yaml": "repeats: 9\ncache: warm\n"})
	b, err := ParseBenchWith(files, "b.yaml", []byte(text), "cache=rotate")
	if err != nil {
		t.Fatal(err)
	}
	if p := b.Products[0]; p.Repeats != 9 || p.Cache != "rotate" {
		t.Errorf("%+v", p)
	}
	data, err := b.YAML()
	if err != nil || !strings.Contains(string(data), "repeats: 9\ncache: rotate") {
		t.Errorf("%s %v", data, err)
	}
}
