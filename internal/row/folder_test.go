package row

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

// TestParts has many writers add to one folder at the same time, and the files
// retire once they are joined.
func TestParts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	if _, err := Files(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no rows: %v", err)
	}
	if _, _, err := ReadFolder(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no rows: %v", err)
	}
	names := []string{"a", "b", "c", "d", "e", "f"}
	var wg sync.WaitGroup
	for i := range names {
		wg.Go(func() {
			key, err := SavePartEnvironment(dir, Environment{Kernel: names[i/2]})
			if err != nil {
				t.Error(err)
			}
			w := OpenPart(dir, "1of1") // the same task dispatched twice
			for _, name := range names[i:] {
				if err := w.Append(with(name, func(r *Row) { r.Env = key })); err != nil {
					t.Error(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := OpenPart(dir, "idle").Close(); err != nil {
		t.Error(err)
	}
	files, err := Files(dir)
	if err != nil || len(files) != len(names) {
		t.Fatalf("%d files, %v", len(files), err)
	}
	rows, warnings, err := ReadFolder(dir)
	if err != nil || len(warnings) != 0 || len(rows) != 21 || len(Merge(rows)) != len(names) {
		t.Fatalf("%d rows, %q, %v", len(rows), warnings, err)
	}
	env, err := ReadEnvironments(dir)
	if err != nil || len(env) != 3 {
		t.Fatalf("environments %v, %v", env, err)
	}
	for _, r := range rows {
		if _, ok := env[r.Env]; !ok {
			t.Errorf("row %s has no environment", r.Trial)
		}
	}

	j, err := Join(files...)
	if err != nil || j.Len() != len(names) || j.Repeated != 15 {
		t.Fatalf("%+v, %v", j, err)
	}
	if err := WriteFileFrom(filepath.Join(dir, File), j); err != nil {
		t.Fatal(err)
	}
	late := OpenPart(dir, "late")
	if err := late.Append(sample("g")); err != nil {
		t.Fatal(err)
	}
	if err := Retire(dir, append(files, filepath.Join(dir, File))); err != nil {
		t.Fatal(err)
	}
	left, err := Files(dir)
	if err != nil || len(left) != 2 || left[0] != filepath.Join(dir, File) {
		t.Errorf("files %q, %v: want rows.jsonl and the one that was not joined", left, err)
	}
	if err := late.Append(sample("h")); err != nil {
		t.Error(err)
	}
	rows, _, err = ReadFolder(dir)
	var got []string
	for _, r := range rows {
		got = append(got, r.Trial)
	}
	if slices.Sort(got[:6]); err != nil || !slices.Equal(got, append(names, "g", "h")) {
		t.Errorf("trials %q, %v", got, err)
	}
}

// TestPartTorn: another process never repairs a file that may still be written.
func TestPartTorn(t *testing.T) {
	dir := t.TempDir()
	w := OpenPart(dir, "1of1")
	if err := w.Append(sample("a")); err != nil {
		t.Fatal(err)
	}
	w.Close()
	files, _ := Files(dir)
	f, err := os.OpenFile(files[0], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString(`{"schema":1,"tri`)
	f.Close()
	before, _ := os.ReadFile(files[0])
	rows, warnings, err := ReadFolder(dir)
	if err != nil || len(rows) != 1 || len(warnings) != 1 {
		t.Errorf("%d rows, %q, %v", len(rows), warnings, err)
	}
	if w, warning, err := OpenWriter(dir); err != nil || warning != "" {
		t.Error(warning, err)
	} else {
		w.Close()
	}
	if after, _ := os.ReadFile(files[0]); string(after) != string(before) {
		t.Error("the file of another process was changed")
	}
}
