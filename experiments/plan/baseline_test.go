package plan

import "testing"

// The baseline of 16-bit weights, whose execution has no meaning, is that of the
// others, and the other way round.
func TestBaselineOfOtherExecution(t *testing.T) {
	const methods = "\nmethods: [{method: none}, {method: rtn, group: [128, 32]}]"
	for _, c := range []struct{ text, want string }{
		{"execution: packed\nbaseline: {method: rtn, group: 128}", "rtn g128"},
		{"execution: packed\nbaseline: {method: none}", "16-bit"},
	} {
		for _, tr := range parse(t, header+c.text+methods).Trials {
			if tr.Baseline != c.want {
				t.Errorf("%s: the baseline of %s is %q", c.text, tr.Label, tr.Baseline)
			}
		}
	}
	for _, tr := range parse(t, header+"execution: [fake, packed]\nbaseline: {method: rtn, group: 128}"+methods).Trials {
		want := "rtn g128"
		if tr.Execution == "packed" {
			want += " packed"
		}
		if tr.Baseline != want {
			t.Errorf("the baseline of %s is %q", tr.Label, tr.Baseline)
		}
	}
}
