package row

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReplaced takes the file away between two rows, in each way that leaves the
// writer with a file that nobody can find.
func TestReplaced(t *testing.T) {
	for name, take := range map[string]func(dir, file string) error{
		"deleted folder": func(dir, _ string) error { return os.RemoveAll(dir) },
		"moved folder":   func(dir, _ string) error { return os.Rename(dir, dir+"-moved") },
		"deleted file":   func(_, file string) error { return os.Remove(file) },
		"replaced file": func(_, file string) error {
			if err := os.Remove(file); err != nil {
				return err
			}
			return os.WriteFile(file, nil, 0o644)
		},
	} {
		for _, part := range []bool{false, true} {
			dir := filepath.Join(t.TempDir(), "results")
			w, file := OpenPart(dir, "1of2"), ""
			if !part {
				var err error
				if w, _, err = OpenWriter(dir); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Append(sample("a")); err != nil {
				t.Fatal(err)
			}
			file = w.f.Name()
			if err := take(dir, file); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := w.Append(sample("b")); !errors.Is(err, ErrReplaced) || !strings.Contains(err.Error(), file) {
					t.Errorf("%s, part %t: error %v", name, part, err)
				}
			}
			w.Close()
		}
	}
}

// TestRetiredPart: merge may move the file of a process that still writes it.
func TestRetiredPart(t *testing.T) {
	dir := t.TempDir()
	w := OpenPart(dir, "1of2")
	defer w.Close()
	if err := w.Append(sample("a")); err != nil {
		t.Fatal(err)
	}
	if err := Retire(dir, []string{w.f.Name()}); err != nil {
		t.Fatal(err)
	}
	if err := w.Append(sample("b")); err != nil {
		t.Error(err)
	}
}

// TestFail: a row with a number that cannot be stored is storable once it failed.
func TestFail(t *testing.T) {
	r := sample("a")
	r.Layers = []Layer{{Name: "q_proj", OutputError: math.Inf(1)}}
	r.Values[0].Value = math.NaN()
	err := r.Storable()
	if err == nil {
		t.Fatal("a row with NaN is storable")
	}
	r.Fail(err)
	if err := r.Storable(); err != nil || r.Status != Failed || r.Values != nil || !strings.Contains(r.Error, "NaN") {
		t.Errorf("%+v, %v", r, err)
	}
}
