package row

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// pack replaces the file path by a packed one.
func pack(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(text)
	z.Close()
	if err := os.WriteFile(path+Packed, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// packedFolder has two rows, packed, and returns them.
func packedFolder(t *testing.T) (dir string, rows []Row) {
	t.Helper()
	dir = t.TempDir()
	w, _, err := OpenWriter(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, trial := range []string{"a", "b"} {
		r := Row{Schema: Schema, Trial: trial, Status: OK, Config: []byte(`{"x":1}`)}
		if err := w.Append(&r); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	if rows, _, err = ReadFile(filepath.Join(dir, File)); err != nil || len(rows) != 2 {
		t.Fatal(rows, err)
	}
	pack(t, filepath.Join(dir, File))
	return dir, rows
}

func TestPackedRowsAreRead(t *testing.T) {
	dir, want := packedFolder(t)
	path := filepath.Join(dir, File)
	for _, p := range []string{path, path + Packed} {
		if got, _, err := ReadFile(p); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("ReadFile %s: %v, %v", p, got, err)
		}
	}
	if got, _, err := ReadFolder(dir); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("ReadFolder: %v, %v", got, err)
	}
	files, err := Files(dir)
	if err != nil || len(files) != 1 || files[0] != path+Packed {
		t.Fatalf("Files: %v, %v", files, err)
	}
	// twice, so that rows are repeated and compared
	j, err := Join(files[0], path)
	if err != nil || j.Len() != 2 || j.Repeated != 2 {
		t.Fatalf("Join: %+v, %v", j, err)
	}
	var b bytes.Buffer
	if _, err := j.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	if got, _, err := Read(&b, "joined"); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("joined: %v, %v", got, err)
	}
}

// TestPackedRowsGrow: a writer goes on with the rows, whenever an earlier one
// was killed while it unpacked them.
func TestPackedRowsGrow(t *testing.T) {
	dir, want := packedFolder(t)
	path := filepath.Join(dir, File)
	packed, _ := os.ReadFile(path + Packed)
	text, _ := unpack(path + Packed)
	for _, had := range []int{0, 1, len(text) / 2, len(text)} {
		os.WriteFile(path, text[:had], 0o644)
		os.WriteFile(path+Packed, packed, 0o644)
		w, warning, err := OpenWriter(dir)
		if err != nil || warning != "" {
			t.Fatal(warning, err)
		}
		if err := w.Append(&Row{Schema: Schema, Trial: "c", Status: OK}); err != nil {
			t.Fatal(err)
		}
		w.Close()
		got, _, err := ReadFile(path)
		if err != nil || len(got) != 3 || !reflect.DeepEqual(got[:2], want) {
			t.Errorf("%d bytes were there: %v, %v", had, got, err)
		}
		if _, err := os.Stat(path + Packed); !os.IsNotExist(err) {
			t.Errorf("the packed file is left: %v", err)
		}
	}
}

func TestPackedErrors(t *testing.T) {
	dir, _ := packedFolder(t)
	path := filepath.Join(dir, File)
	packed, _ := os.ReadFile(path + Packed)
	os.WriteFile(path, []byte(`{"schema":1,"trial":"x","status":"ok"}`+"\n"), 0o644)
	if _, _, err := ReadFile(path); err == nil || !strings.Contains(err.Error(), "are both there") {
		t.Errorf("both: %v", err)
	}
	if w, _, err := OpenWriter(dir); err == nil || !strings.Contains(err.Error(), "are both there") {
		t.Errorf("both, to write: %v, %v", w, err)
	}
	os.Remove(path)
	for name, bad := range map[string][]byte{"cut": packed[:len(packed)-9], "empty": nil, "no gzip": []byte("{}\n")} {
		os.WriteFile(path+Packed, bad, 0o644)
		if _, _, err := ReadFile(path); err == nil || !strings.Contains(err.Error(), File+Packed+": ") {
			t.Errorf("%s: %v", name, err)
		}
		if _, _, err := OpenWriter(dir); err == nil || !strings.Contains(err.Error(), File+Packed+": ") {
			t.Errorf("%s, to write: %v", name, err)
		}
		os.Remove(path)
	}
}

func TestPackedCriteria(t *testing.T) {
	dir := t.TempDir()
	want := []Criteria{{Schema: Schema, Study: "s", Layer: "l"}}
	if err := WriteCriteria(dir, want); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, CriteriaFile)
	pack(t, path)
	if got, err := ReadCriteria(dir); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if err := WriteCriteria(dir, append(want, want...)); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadCriteria(dir); err != nil || len(got) != 2 {
		t.Errorf("replaced: %v, %v", got, err)
	}
}
