package bounded

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for _, size := range []int{0, 1, 999, 1000} {
		want := bytes.Repeat([]byte("x"), size)
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadFile(path, 1000); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: read %d, %v", size, len(got), err)
		}
		if _, err := ReadFile(path, int64(size)-1); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("limit %d: error %v", size-1, err)
		}
	}
	if _, err := ReadFile(filepath.Join(dir, "none"), 1000); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	for _, other := range []string{dir, "/dev/zero"} {
		if _, err := os.Stat(other); err != nil {
			continue
		}
		if _, err := ReadFile(other, 1000); err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("%s: %v", other, err)
		}
	}
	if got, err := ReadFile("/proc/self/status", 1<<20); err == nil && len(got) == 0 {
		t.Error("a file whose size is said to be 0 is read as empty")
	}
}
