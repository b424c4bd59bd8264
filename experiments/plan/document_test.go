package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/method"
	"github.com/mosaicquant/mosaicquant/internal/row"
)

// TestDocument: docs/keys.md is what Document writes, and nothing in it is left
// unexplained. MOSAICQUANT_UPDATE=1 writes the page anew.
func TestDocument(t *testing.T) {
	for _, f := range method.Formats {
		if formatMeans[formatEntry(f)] == "" {
			t.Errorf("format %s is not explained", f)
		}
	}
	for _, k := range keys {
		if k.means == "" || k.kind.Form == "" {
			t.Errorf("key %s is not explained", k.axis())
		}
	}
	var b bytes.Buffer
	if err := Document(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "../../docs/keys.md", b.Bytes())
}

// TestIDs holds the identity of every trial of every committed sweep file: a
// change of this package must not make finished rows strangers. The content that
// IDs depend on is left out, so that no model has to be read.
func TestIDs(t *testing.T) {
	files, err := filepath.Glob("../../configs/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string][]string{}
	for _, f := range files {
		if strings.HasPrefix(filepath.Base(f), "kernels") {
			continue
		}
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		sw, err := Parse(f, data)
		if err != nil {
			t.Fatal(err)
		}
		for _, tr := range sw.Trials {
			ids[filepath.Base(f)] = append(ids[filepath.Base(f)], ID(tr, map[string]string{"epoch": "3"}))
		}
	}
	if len(ids) < 10 {
		t.Fatalf("%d sweep files", len(ids))
	}
	text, err := json.MarshalIndent(ids, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/ids.json", append(text, '\n'))
}

// TestCommittedRows: the resolved configuration of every committed row is read
// and written again byte for byte, so its identity is still a hash of the same text.
func TestCommittedRows(t *testing.T) {
	folders, err := filepath.Glob("../../results/reference/*")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range folders {
		if strings.HasPrefix(filepath.Base(f), "kernels") {
			continue
		}
		rows, _, err := row.ReadFile(filepath.Join(f, row.File))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			if r.Axes["bench"] != "" { // a measurement, which is no trial
				continue
			}
			var tr Trial
			if err := json.Unmarshal(r.Config, &tr); err != nil {
				t.Fatalf("%s: trial %s: %v", f, r.Trial, err)
			}
			again, err := json.Marshal(tr)
			if err != nil || !bytes.Equal(again, r.Config) {
				t.Fatalf("%s: trial %s: its configuration is now written as\n%s\nand was\n%s (%v)", f, r.Trial, again, r.Config, err)
			}
			n++
		}
	}
	if n < 900 {
		t.Errorf("%d committed rows", n)
	}
}

// golden compares got with a file.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if os.Getenv("MOSAICQUANT_UPDATE") != "" {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		sum := sha256.Sum256(got)
		t.Errorf("%s differs from what is written now (SHA-256 %s)", file, hex.EncodeToString(sum[:8]))
	}
}

// TestEveryKeyIsExplained: docs/keys.md has every key that sweep and bench files have,
// with a meaning.
func TestEveryKeyIsExplained(t *testing.T) {
	var b strings.Builder
	if err := Document(&b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	want := append(topNames(), methodNames()...)
	for _, ks := range [][]*key{keys, speedKeys, benchKeys, productKeys, generateKeys} {
		for _, k := range ks {
			if k.means == "" || strings.HasSuffix(k.means, ".") {
				t.Errorf("key %s means %q", k.axis(), k.means)
			}
			want = append(want, k.name)
		}
	}
	for _, name := range want {
		if !strings.Contains(text, "| `"+name+"` |") && !strings.Contains(text, "## Under `"+name+"`") {
			t.Errorf("%s is explained nowhere", name)
		}
	}
}
