package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMessages: what a flag says wrongly is one short error that names it.
func TestMessages(t *testing.T) {
	dir, long := t.TempDir(), strings.Repeat("0123456789", 100_000)
	one := filepath.Join(dir, "one.yaml")
	const yaml = "name: one\nmodel: builtin:tiny-llama3\nprotocol: {text: builtin:heldout, context: 64, stride: 64, bos: true, tokens: 64}\n" +
		"calibration: {text: builtin:calibration, tokens: 128, seed: 1}\nmethods: [{method: rtn}]\n"
	if err := os.WriteFile(one, []byte(yaml), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"eval", "--text", "builtin:heldout", "--tokens", "-1"}, "--tokens -1"},
		{[]string{"eval", "--text", "builtin:heldout", "--context", "-1"}, "--context -1"},
		{[]string{"eval", "--text", "builtin:heldout", "--stride", "-1"}, "--stride -1"},
		{[]string{"eval", "--tasks", "builtin:choice", "--limit", "-1"}, "--limit -1"},
		{[]string{"eval", "--tasks", "builtin:choice", "--max-length", "-1"}, "--max-length -1"},
		{[]string{"sweep", "-c", one, "-o", dir, "--trial", long}, "no trial of this sweep has the label or id"},
		{[]string{"quantize", "-c", one, "-o", filepath.Join(dir, "packed"), "--trial", long}, "no trial has the label or id"},
		{[]string{"submit", "-c", one, "-o", dir, "--dry-run", "--option", "mem=1G\n#SBATCH --uid=0"}, "mem=1G"},
		{[]string{"submit", "-c", one, "-o", dir, "--dry-run", "--partition", "a\nb"}, `"a\nb"`},
	} {
		args := append(c.args, "--cache", dir)
		cmd := root()
		cmd.SetArgs(args)
		cmd.SetOut(new(strings.Builder))
		cmd.SetErr(new(strings.Builder))
		err := cmd.ExecuteContext(t.Context())
		if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 1000 || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.80q: error %.300v, want it to say %q", args, err, c.want)
		}
	}
}
