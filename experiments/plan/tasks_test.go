package plan

import (
	"slices"
	"strings"
	"testing"
)

// TestTasks checks that every trial has the tasks, that they survive writing
// the sweep out, and that a sweep without them keeps its identities.
func TestTasks(t *testing.T) {
	const methods = "methods: [{method: rtn, group: [128, 64]}, {method: none}]\n"
	plain, err := Parse("x.yaml", []byte(header+methods))
	if err != nil {
		t.Fatal(err)
	}
	sw, err := Parse("x.yaml", []byte(header+"tasks: [builtin:choice, piqa=data/valid.jsonl]\n"+methods))
	if err != nil {
		t.Fatal(err)
	}
	data, err := sw.YAML()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse("y.yaml", data)
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	if len(sw.Trials) != 3 || !slices.Equal(sw.Trials, again.Trials) {
		t.Errorf("%d trials became\n%s", len(sw.Trials), data)
	}
	for i, tr := range sw.Trials {
		if got := strings.Join(tr.TaskList(), " "); got != "builtin:choice piqa=data/valid.jsonl" {
			t.Errorf("%s: tasks %q", tr.Label, got)
		}
		if plain.Trials[i].TaskList() != nil {
			t.Errorf("tasks out of nothing: %q", plain.Trials[i].Tasks)
		}
		if ID(tr, nil) == ID(plain.Trials[i], nil) {
			t.Errorf("%s: tasks do not change the identity", tr.Label)
		}
		tr.Tasks = ""
		if ID(tr, nil) != ID(plain.Trials[i], nil) {
			t.Errorf("%s: more than the tasks changed", tr.Label)
		}
	}
}
