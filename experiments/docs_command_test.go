package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDocsCurrent fails where a number in the documents is not that of the committed
// rows.
func TestDocsCurrent(t *testing.T) {
	root, err := repository(".")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, f := range filledFiles {
		files = append(files, filepath.Join(root, filepath.FromSlash(f)))
	}
	var out bytes.Buffer
	if err := fillDocuments(&out, root, files, true); err != nil {
		t.Error(err)
	}
	if strings.Contains(out.String(), ": 0 regions") {
		t.Errorf("a document has no region: %s", out.String())
	}
}

// TestDocsStale changes a number by hand: a check fails and names the line, and
// filling takes the change back.
func TestDocsStale(t *testing.T) {
	root, err := repository(".")
	if err != nil {
		t.Fatal(err)
	}
	const want = "one\n\n<!-- rows {count: windows, folder: results/reference/default} -->115<!-- /rows --> windows\n"
	file := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(file, []byte(strings.Replace(want, "115", "116", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := fillDocuments(&out, root, []string{file}, true); err == nil || !strings.Contains(err.Error(), file+":3: go run ./experiments docs") {
		t.Errorf("a stale number: %v", err)
	}
	if err := fillDocuments(&out, root, []string{file}, false); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != want {
		t.Errorf("filled: %q, %v", got, err)
	}
	if err := fillDocuments(&out, root, []string{file}, true); err != nil {
		t.Error(err)
	}
	for _, folder := range []string{"results/reference/nowhere", "../x", "/etc"} {
		if err := os.WriteFile(file, []byte("<!-- rows {count: trials, folder: "+folder+"} --><!-- /rows -->"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := fillDocuments(&out, root, []string{file}, false); err == nil || !strings.Contains(err.Error(), folder) {
			t.Errorf("folder %s: %v", folder, err)
		}
	}
}
