package plan

import (
	"strings"
	"testing"
)

func TestSet(t *testing.T) {
	const methods = "methods: [{method: rtn}]"
	s, err := Parse("x.yaml", []byte(header+methods), "activations=[a16, a8]", "calibration.seed=7", "stress.channels=1%",
		"methods=[{method: gptq, group: 32}]")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Trials) != 2 || s.Trials[1].Activations != "a8" || s.Trials[0].Calibration.Seed != 7 ||
		s.Trials[0].Stress.Channels != 0.01 || s.Trials[0].Method.Name() != "gptq" {
		t.Errorf("%+v", s.Trials)
	}
	again(t, s) // the resolved file has what was set
	for set, want := range map[string]string{
		"activations":       `--set: "activations" is no assignment`,
		"activations=a9":    `--set: activations: "a9" is not one of`,
		"calibration.sed=1": `--set: calibration: unknown key "sed"`,
		"model.x=1":         "--set: model.x: model is",
		"seed=":             "--set: seed: has no value",
		"seed=[1":           "--set: seed: ",
	} {
		if _, err := Parse("x.yaml", []byte(header+methods), set); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", set, err, want)
		}
	}
}
