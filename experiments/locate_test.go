package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLocate: what a sweep file names and what cannot be had is an error with the file
// and the line, whichever command meets it; a dry run tells which trials are impossible.
func TestLocate(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "my.yaml")
	const good = `name: my
model: builtin:tiny-llama3
protocol:
  {text: builtin:heldout, context: 64, stride: 64, bos: true, tokens: 64}
calibration:
  text: builtin:calibration
  tokens: 128
  seed: 1
tasks: [builtin:choice]
activations: a8
execution: packed
methods:
  - {method: rtn}
  - {method: none}
`
	missing := filepath.Join(dir, "missing")
	for _, c := range []struct{ old, new, want string }{
		{"", "", ""},
		{"builtin:tiny-llama3", "builtin:nope", ":2: model: builtin: no model \"nope\""},
		{"builtin:tiny-llama3", missing, ":2: model " + missing},
		{"builtin:tiny-llama3", "hub:../../etc", ":2: model: "},
		{"builtin:heldout", missing, ":4: protocol.text: "},
		{"builtin:calibration", missing, ":6: calibration.text: "},
		{"tokens: 128", "tokens: 99999999", ":7: calibration.tokens: 99999999"},
		{"builtin:choice", "arc_easy=" + missing, ":9: tasks: "},
		{"{method: rtn}", "{method: rtn, group: 7}", ""},
		{"{method: rtn}", "{method: mosaic, density: 10%, block: 3x7}", ""},
		{"{method: rtn}", "{method: rtn, format: fireq4}", "base format fireq4 g128: its scales or levels have no kernel"},
		{"{method: rtn}", "{method: mosaic, density: 10%, block: 16x64}", ""},
		{"{method: rtn}", "{method: gptq, group: 64}", ""},
		{"packed\nmethods:\n  - {method: rtn}", "fake\nmethods:\n  - {method: svdquant, rank: 300}", "rank 300 outside 1..256"},
		{"packed\nmethods:\n  - {method: rtn}", "fake\nmethods:\n  - {method: mosaic, density: 10%, block: 512x16}",
			"block 512x16 is larger than the matrix of 256x256"},
		{"packed\nmethods:\n  - {method: rtn}", "fake\nmethods:\n  - {method: atom, columns: 0.1%}",
			"reordering needs a kept channel, and 0.1 % of 256 are none"},
	} {
		if err := os.WriteFile(config, []byte(strings.Replace(good, c.old, c.new, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
		args := []string{"sweep", "-c", config, "--cache", dir, "-o", filepath.Join(dir, "out")}
		_, err := execute(t, append(args, "--dry-run")...)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.new, err)
			}
			continue
		}
		if err == nil || !strings.HasPrefix(err.Error(), config+":") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want it to say %q", c.new, err, c.want)
		}
		if c.want[0] != ':' {
			continue
		}
		for _, more := range [][]string{nil, {"--prepare"}} {
			if _, other := execute(t, append(args, more...)...); other == nil || err != nil && other.Error() != err.Error() {
				t.Errorf("%s %q: error %v, of the dry run %v", c.new, more, other, err)
			}
		}
	}
}
