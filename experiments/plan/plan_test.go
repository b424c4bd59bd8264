package plan

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const header = `name: x
model: m
protocol: {text: t, context: 256, stride: 256, bos: true}
calibration: {text: c, tokens: 1024}
`

func parse(t *testing.T, text string) *Sweep {
	t.Helper()
	s, err := Parse("x.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func labels(s *Sweep) []string {
	var l []string
	for _, t := range s.Trials {
		l = append(l, t.Label)
	}
	return l
}

func TestConfigs(t *testing.T) {
	paths, err := filepath.Glob("../../configs/*.yaml")
	if err != nil || len(paths) < 2 {
		t.Fatalf("configs: %v, %v", paths, err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(filepath.Base(path), "kernels") {
			benchAgain(t, path, data)
			continue
		}
		s, err := Parse(path, data)
		if err != nil {
			t.Error(err)
			continue
		}
		if want := strings.TrimSuffix(filepath.Base(path), ".yaml"); s.Name != want {
			t.Errorf("%s has the name %q", path, s.Name)
		}
		again(t, s)
	}
}

// again checks that the resolved file of s gives the same trials.
func again(t *testing.T, s *Sweep) {
	t.Helper()
	data, err := s.YAML()
	if err != nil {
		t.Fatal(err)
	}
	s2, err := Parse("again.yaml", data)
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	if s.Name != s2.Name || !reflect.DeepEqual(s.Trials, s2.Trials) {
		t.Fatalf("the resolved file gives other trials:\n%v\n%v\n%s", labels(s), labels(s2), data)
	}
	if data2, err := s2.YAML(); err != nil || string(data2) != string(data) {
		t.Fatalf("the resolved file is not its own resolved form (%v):\n%s\n%s", err, data, data2)
	}
}
