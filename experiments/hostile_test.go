//go:build unix

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/builtin"
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

// TestPipesAndEndlessFiles: what is no plain file of a sensible size is an error,
// at once.
func TestPipesAndEndlessFiles(t *testing.T) {
	if _, err := execute(t, "sweep", "-c", "/dev/zero", "--dry-run"); err == nil || !strings.Contains(err.Error(), "/dev/zero: not a regular file") {
		t.Errorf("-c /dev/zero: %v", err)
	}
	dir := t.TempDir()
	large := filepath.Join(dir, "large.yaml")
	if err := os.WriteFile(large, make([]byte, maxFile+1), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := execute(t, "sweep", "-c", large, "--dry-run"); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a large file: %v", err)
	}
	model := filepath.Join(dir, "model")
	if err := os.Mkdir(model, 0o755); err != nil {
		t.Fatal(err)
	}
	source, err := builtin.Model("tiny-llama3")
	if err != nil {
		t.Fatal(err)
	}
	config, err := source.Open("config.json")
	if err != nil {
		t.Fatal(err)
	}
	defer config.Close()
	for _, pipe := range []string{"config.json", "model.safetensors", "tokenizer.json"} {
		path := filepath.Join(model, pipe)
		os.Remove(path)
		if err := syscall.Mkfifo(path, 0o644); err != nil {
			t.Skip("needs pipes: ", err)
		}
		if _, err := execute(t, "eval", "-m", model, "--text", "builtin:heldout", "--cache", dir); err == nil || !strings.Contains(err.Error(), pipe+": not a regular file") {
			t.Errorf("%s is a pipe: %v", pipe, err)
		}
		os.Remove(path)
		if pipe != "config.json" {
			break // the tokenizer is read after the weights, which are not there
		}
		if err := os.WriteFile(path, config.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	wide := regexp.MustCompile(`"head_dim": *[0-9]+`).ReplaceAllString(string(config.Data), `"head_dim": 2147483646`)
	if err := os.WriteFile(filepath.Join(model, "config.json"), []byte(wide), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := execute(t, "eval", "-m", model, "--text", "builtin:heldout", "--cache", dir); err == nil || !strings.Contains(err.Error(), "head_dim 2147483646") {
		t.Errorf("a huge head_dim: %v", err)
	}
}
