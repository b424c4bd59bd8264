// Package testdata finds the optional folder of third-party models and texts
// that some tests compare with: ../shared/data beside the module, or
// $MOSAICQUANT_DATA.
package testdata

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// Dir returns the path of elem in the data folder and skips the test if it is
// not there.
func Dir(t testing.TB, elem ...string) string {
	t.Helper()
	root := os.Getenv("MOSAICQUANT_DATA")
	if root == "" {
		_, here, _, _ := runtime.Caller(0)
		root = filepath.Join(filepath.Dir(here), "..", "..", "..", "shared", "data")
	}
	path := filepath.Join(append([]string{root}, elem...)...)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("needs %s of the data folder (%v)", filepath.Join(elem...), err)
	}
	return path
}
