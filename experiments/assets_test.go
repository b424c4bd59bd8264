package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/reports"
	"github.com/mosaicquant/mosaicquant/reports/figures"
)

// packed is an npm package of the given files.
func packed(t *testing.T, files ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, h := range files {
		body := []byte("of " + h.Name)
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(body))
		}
		h.Mode = 0o644
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write(body); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestFromPackage(t *testing.T) {
	file := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg} }
	script, err := fromPackage(bytes.NewReader(packed(t, file("package/package.json"), file("../../dist/echarts.min.js"), file("package/dist/echarts.min.js"))))
	if err != nil || string(script) != "of package/dist/echarts.min.js" {
		t.Errorf("got %q, %v", script, err)
	}
	for name, data := range map[string][]byte{
		"no file":  packed(t, file("package/dist/echarts.js"), file("/package/dist/echarts.min.js"), file("package/../package/dist/../../dist/echarts.min.js")),
		"a link":   packed(t, tar.Header{Name: "package/dist/echarts.min.js", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}),
		"no gzip":  []byte("not a package"),
		"cut":      packed(t, file("package/a"), file("package/dist/echarts.min.js"))[:40],
		"no bytes": nil,
	} {
		if script, err := fromPackage(bytes.NewReader(data)); err == nil {
			t.Errorf("%s: got %q and no error", name, script)
		}
	}
}

// fakeNPM puts an npm on the path that runs the given lines of sh.
func fakeNPM(t *testing.T, lines string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("needs a POSIX shell to stand in for npm")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "npm"), []byte("#!/bin/sh\n"+lines), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
}

func TestAssetsFromNPM(t *testing.T) {
	tgz := filepath.Join(t.TempDir(), "made.tgz")
	if err := os.WriteFile(tgz, packed(t, tar.Header{Name: "package/dist/echarts.min.js", Typeflag: tar.TypeReg}), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ npm, want string }{
		// what the fake has packed is refused for its content alone: all before went well
		{fmt.Sprintf(`[ "$*" = "pack --ignore-scripts echarts@%s" ] || exit 9; cp %s echarts.tgz`, figures.EchartsVersion, tgz), figures.EchartsSHA256},
		{`echo "code E404: no such package" >&2; exit 1`, "exit status 1: code E404: no such package"},
		{`exit 0`, "left 0 packages, want 1"},
		{`echo no package, only text > echarts.tgz`, "echarts.tgz: gzip: invalid header"},
	} {
		fakeNPM(t, c.npm)
		var in reports.Input
		if err := useAssets(context.Background(), &in, "npm"); err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "--assets npm: ") {
			t.Errorf("npm that runs %q: error %v, want it to say %q", c.npm, err, c.want)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if err := useAssets(context.Background(), &reports.Input{}, "npm"); err == nil || !strings.Contains(err.Error(), "npm is not to be found") {
		t.Errorf("without npm: %v", err)
	}
}

func TestAssetsFromFolder(t *testing.T) {
	for _, place := range scriptPlaces {
		dir := t.TempDir()
		file := filepath.Join(dir, filepath.FromSlash(place))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := readScript(dir); err == nil || !strings.Contains(err.Error(), "none of echarts.min.js, dist/echarts.min.js") {
			t.Errorf("an empty folder: %v", err)
		}
		if err := os.WriteFile(file, []byte("script"), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, from := range []string{dir, file} {
			if script, err := readScript(from); err != nil || string(script) != "script" {
				t.Errorf("%s: %q, %v", from, script, err)
			}
		}
	}
	if _, err := readScript(filepath.Join(t.TempDir(), "missing.js")); err == nil || !strings.Contains(err.Error(), "missing.js") {
		t.Errorf("a missing file: %v", err)
	}
}

// TestHomeOf names folders from the root of the repository, whatever the
// working directory.
func TestHomeOf(t *testing.T) {
	if got := homeOf("../results/reference/default"); got != "results/reference/default" {
		t.Errorf("a folder of the repository is at %q", got)
	}
	if got := homeOf(t.TempDir()); got != "" {
		t.Errorf("a folder outside is at %q", got)
	}
}
