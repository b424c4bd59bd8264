package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNoCache: without a usable cache folder of the user's a trial runs all the
// same, with one warning.
func TestNoCache(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, home := range map[string]string{"a file in its place": file, "none": ""} {
		t.Setenv("XDG_CACHE_HOME", home)
		t.Setenv("HOME", home)
		var log strings.Builder
		lab, err := newLab("", &log)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		sw, err := readSweep("../configs/smoke.yaml")
		if err != nil {
			t.Fatal(err)
		}
		s, err := lab.Open(t.Context(), sw.Trials[0])
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		s.Close()
		if n := strings.Count(log.String(), "without this cache"); n != 1 {
			t.Errorf("%s: %d warnings: %s", name, n, log.String())
		}
	}
}
