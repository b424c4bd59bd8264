package parquet

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func lines(t *testing.T, data []byte) (list []any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	for d.More() {
		var v any
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		list = append(list, v)
	}
	return list
}

// TestEqualsPyarrow compares with what pyarrow reads of its own files, see
// scripts/golden/parquet_files.py.
func TestEqualsPyarrow(t *testing.T) {
	files, err := filepath.Glob("testdata/*.jsonl")
	if err != nil || len(files) < 8 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".jsonl")
		got, err := JSONLines(read(t, name+".parquet"))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		a, b := lines(t, got), lines(t, read(t, name+".jsonl"))
		if len(a) != len(b) {
			t.Errorf("%s: %d rows, want %d", name, len(a), len(b))
			continue
		}
		for i := range a {
			if !reflect.DeepEqual(a[i], b[i]) {
				t.Errorf("%s: row %d\n got %v\nwant %v", name, i, a[i], b[i])
				break
			}
		}
	}
}

func TestTexts(t *testing.T) {
	texts, err := Texts(read(t, "long.parquet"), "text")
	if err != nil || len(texts) != 12 || len(texts[1]) != 800 {
		t.Errorf("%d texts, %v", len(texts), err)
	}
	for column, want := range map[string]string{
		"txt": `row 0 has no text in a column "txt"`, "label": `row 0 has no text in a column "label"`,
		"text": `row 3 has no text`,
	} {
		if _, err := Texts(read(t, "mixed.parquet"), column); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("column %s: %v, want %q", column, err, want)
		}
	}
}

func TestRefused(t *testing.T) {
	for name, want := range map[string]string{
		"zstd":    "column text: codec ZSTD is not read",
		"delta":   "column n: encoding 5 is not read",
		"structs": "column l: lists of structs are not read",
		"nested":  "column l: lists of lists are not read",
		"fixed":   "column d: type FIXED_LEN_BYTE_ARRAY is not read",
		"bytes":   `column d: row 0: "\xff\xfe" is not UTF-8`,
	} {
		if _, err := Rows(read(t, "refused-"+name+".parquet")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

// TestDamaged: no cut and no changed byte of a file makes a panic, and a cut file is never
// read as a shorter one.
func TestDamaged(t *testing.T) {
	for _, name := range []string{"arc", "mixed", "mixed-v2", "arc-v2-gzip"} {
		data := read(t, name+".parquet")
		for cut := 0; cut < len(data); cut += 1 + len(data)/300 {
			if _, err := Rows(data[:cut]); err == nil {
				t.Errorf("%s: the first %d of %d bytes are read", name, cut, len(data))
			}
		}
		for at := 4; at < len(data); at += 1 + len(data)/500 {
			bad := bytes.Clone(data)
			bad[at] ^= 0xa5
			Rows(bad)
		}
	}
}

func FuzzRows(f *testing.F) {
	for _, name := range []string{"arc", "mixed", "mixed-v2", "arc-v2-gzip", "same", "refused-delta", "refused-structs"} {
		f.Add(read(f, name+".parquet"))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := JSONLines(data); err != nil && !strings.HasPrefix(err.Error(), "parquet: ") {
			t.Errorf("%v", err)
		}
	})
}

func TestSnappy(t *testing.T) {
	for _, c := range []struct {
		src  string
		size int
		want string // or part of the error
	}{
		{"\x05\x10hello", 5, "hello"},
		{"\x0a\x04ab\x11\x02", 10, "ababababab"}, // length 4+4 of 1-byte copies
		{"\x06\x08abc\x0a\x03\x00", 6, "abcabc"},
		{"\x06\x08abc\x0b\x03\x00\x00\x00", 6, "abcabc"},
		{"\x05\xf0\x04hello", 5, "hello"},
		{"\x05\x10hell", 5, "ends too early"},
		{"\x05\x10hello", 6, "the block says 5 bytes, the page 6"},
		{"\x06\x08abc\x0a\x04\x00", 6, "a copy from 4 bytes before byte 3"},
		{"\x04\x08abc\x0a\x03\x00", 4, "more than the 4 bytes"},
		{"\x04\x08abc", 4, "ends too early"},
		{"", 0, "the block says"},
	} {
		got, err := unsnappy([]byte(c.src), c.size)
		if string(got) != c.want && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%q: %q, %v, want %q", c.src, got, err, c.want)
		}
	}
}
