package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEndlessFiles names a device that never ends where a command reads a file.
func TestEndlessFiles(t *testing.T) {
	const zero = "/dev/zero"
	if _, err := os.Stat(zero); err != nil {
		t.Skip("needs " + zero)
	}
	dir := t.TempDir()
	for _, name := range []string{"config", "rows"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	config, rows := filepath.Join(dir, "config", "config.yaml"), filepath.Join(dir, "rows", "rows.jsonl")
	for _, link := range []string{config, rows} {
		if err := os.Symlink(zero, link); err != nil {
			t.Skip("needs symbolic links: ", err)
		}
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"sweep", "-c", zero}, zero},
		{[]string{"bench", "-c", zero}, zero},
		{[]string{"report", filepath.Dir(config), "--serve"}, config},
		{[]string{"report", filepath.Dir(rows)}, rows},
		{[]string{"eval", "--cache", dir, "--text", zero}, zero},
		{[]string{"eval", "--cache", dir, "--tasks", "arc_easy=" + zero}, zero},
	} {
		if _, err := execute(t, c.args...); err == nil || !strings.Contains(err.Error(), c.want+": not a regular file") {
			t.Errorf("%q: error %v", c.args, err)
		}
	}
}
