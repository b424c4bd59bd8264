package plan

import (
	"strings"
	"testing"
)

// TestOpening carries the comment on top of a file into the resolved file, and
// its text to whoever reports on the trials.
func TestOpening(t *testing.T) {
	const rest = "name: a\nmodel: builtin:tiny-llama3\nprotocol: {text: t, context: 8, stride: 8, bos: true}\ncalibration: {text: t, tokens: 8}\nmethods:\n  - {method: rtn}\n"
	for _, c := range []struct{ head, question, kept string }{
		{"", "", ""},
		{"# What\n# is it?\n", "What is it?", "# What\n# is it?\n\n"},
		{"# What\n#is it?\n#\n#   run this\n#   and that\n# More\n# text.\n\n# Not this.\n", "What is it?\n\n  run this\n  and that\nMore text.", "# What\n# is it?\n#\n#   run this\n#   and that\n# More\n# text.\n\n"},
		{"#\r\n# What?\r\n#\r\n", "What?", "# What?\n\n"},
		{"# What?\u2028", "What?", "# What?\n\n"}, // ends a line in YAML too
		{"\n# Not on top.\n", "", ""},
	} {
		sw, err := Parse("a.yaml", []byte(c.head+rest))
		if err != nil {
			t.Fatalf("%q: %v", c.head, err)
		}
		if sw.Question != c.question {
			t.Errorf("%q asks %q, want %q", c.head, sw.Question, c.question)
		}
		text, err := sw.YAML()
		if err != nil {
			t.Fatal(err)
		}
		head, _, _ := strings.Cut(string(text), "name: ")
		if head != c.kept {
			t.Errorf("%q is kept as %q, want %q", c.head, head, c.kept)
		}
		again, err := Parse("again.yaml", text)
		if err != nil || again.Question != sw.Question {
			t.Errorf("%q read again: %v, %q", c.head, err, again.Question)
		}
	}
}
