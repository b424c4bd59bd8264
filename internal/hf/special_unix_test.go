//go:build linux || darwin

package hf

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestNamedPipe: a pipe in place of a file is an error, not a wait for its writer.
func TestNamedPipe(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "config.json"), 0o644); err != nil {
		t.Skip("needs named pipes: ", err)
	}
	done := make(chan error, 1)
	go func() { _, err := ReadConfig(Dir(dir)); done <- err }()
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "config.json") {
			t.Errorf("error %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("waits at the pipe")
	}
}
