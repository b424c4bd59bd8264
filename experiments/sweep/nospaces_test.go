package sweep

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/testmodel"
)

// TestTextWithoutSpaces evaluates a text of one line in Chinese characters, whose
// perplexity per word is beyond the largest number.
func TestTextWithoutSpaces(t *testing.T) {
	text := filepath.Join(t.TempDir(), "zh.txt")
	if err := os.WriteFile(text, []byte(strings.Repeat("量化模型的权重", 200)), 0o644); err != nil {
		t.Fatal(err)
	}
	sw := parse(t, "name: zh\nmodel: "+testmodel.Dir(t)+"\nprotocol: {text: "+text+`, context: 64, stride: 64, bos: true, tokens: 256}
calibration: {text: builtin:calibration, tokens: 256, seed: 1}
methods: [{method: none}, {method: rtn, group: 64}]
`)
	dir := t.TempDir()
	res, err := Run(t.Context(), newLab(t), sw, Options{Dir: dir})
	if err != nil || res.Ran != 2 || res.Failed != 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	for _, r := range rows(t, dir) {
		value(t, r, row.PPLToken)
		if v, ok := r.Value(row.PPLWord); ok {
			t.Errorf("%s: perplexity per word %v", r.Label, v.Value)
		}
		if !strings.Contains(strings.Join(r.Warnings, "\n"), row.PPLWord+" is missing") {
			t.Errorf("%s: warnings %q", r.Label, r.Warnings)
		}
	}
}
