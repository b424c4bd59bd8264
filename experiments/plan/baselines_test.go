package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Formats bring their own group, papers theirs; a group that a format cannot
// have is an error of its line.
func TestFormatDefaults(t *testing.T) {
	s := parse(t, header+`methods:
- {method: rtn, format: [int4, nf4, mxfp4, nvfp4, int4b, any4]}
- {method: quik, columns: 10%}
- {method: atom, columns: 10%}
- {method: llmint8}
- {method: svdquant, rank: 4}
- {method: spqr, format: int4b, threshold: 0.2}
- {method: mosaic, base: gptq, format: nvfp4, density: 10%, block: Nx1}`)
	want := []string{"rtn int4 128", "rtn nf4 128", "rtn mxfp4 32", "rtn nvfp4 16", "rtn int4b 16", "rtn any4 128", "quik int4 0", "atom int4 128",
		"llmint8 int8 0", "svdquant int4 64", "spqr int4b 16", "mosaic nvfp4 16"}
	var got []string
	for _, t := range s.Trials {
		got = append(got, fmt.Sprint(t.Method.Name(), " ", t.Method.Word("format"), " ", t.Method.Int("group")))
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if m := s.Trials[11].Method; m.Block("block") != (Block{Cols: 1}) || s.Trials[11].Axes()["block"] != "Nx1" {
		t.Errorf("%+v", m)
	}
	if m := s.Trials[8].Method; m.Float("threshold") != 6 {
		t.Errorf("%+v", m)
	}
	again(t, s)
}

func TestErrorsOfBaselines(t *testing.T) {
	for text, want := range map[string]string{
		"{method: rtn, format: mxfp4, group: 64}":                  "x.yaml:6: methods[0].group: 64 is no group of mxfp4, which has 32",
		"{method: gptq, format: [int4, nvfp4], group: [16, 128]}":  "x.yaml:6: methods[0].group: 128 is no group of nvfp4, which has 16",
		"{method: rtn, format: nf5}":                               `x.yaml:6: methods[0].format: "nf5" is not one of int4`,
		"{method: rtn, scale: ceil}":                               "x.yaml:6: methods[0].scale: ceil is a rule of mxfp4, mxint4, mxint8, mxfp8, mxfp6, mxfp6e2m3 alone",
		"{method: gptq, scale: foursix}":                           "x.yaml:6: methods[0].scale: foursix is a rule of nvfp4 alone",
		"{method: rtn, scale: clip, format: any4}":                 "x.yaml:6: methods[0].scale: clip does not exist for any4",
		"{method: gptq, groups: dynamic, format: any4}":            "x.yaml:6: methods[0].groups: dynamic groups are not possible with int3b, int4b, nf4dq, any4",
		"{method: spqr}":                                           "x.yaml:6: methods[0].outliers: is missing",
		"{method: spqr, outliers: 1%, threshold: 0.2}":             "x.yaml:6: methods[0].outliers: has no effect here: it needs threshold left out",
		"{method: quik}":                                           "x.yaml:6: methods[0].columns: is missing",
		"{method: quik, columns: 128}":                             "x.yaml:6: methods[0].columns: 128 is outside 0%..90%",
		"{method: svdquant}":                                       "x.yaml:6: methods[0].rank: is missing",
		"{method: svdquant, rank: 4, damp: 0.1}":                   "x.yaml:6: methods[0].damp: has no effect here: it needs base gptq",
		"{method: atom, columns: 10%, awq: true}":                  "x.yaml:6: methods[0].awq: method atom has no such setting",
		"{method: mosaic, density: 1%, budget: global, awq: true}": "x.yaml:6: methods[0].awq: true does not go with a shared budget",
		"{method: mosaic, density: 1%, block: Mx1}":                `x.yaml:6: methods[0].block: "Mx1" is not ROWSxCOLUMNS`,
		"{method: mosaic, density: 1%, block: 0x1}":                `x.yaml:6: methods[0].block: "0x1" is not ROWSxCOLUMNS`,
	} {
		if _, err := Parse("x.yaml", []byte(header+"methods:\n- "+text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n got: %v\nwant: %s", text, err, want)
		}
	}
}
