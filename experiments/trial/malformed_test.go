package trial

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/method"
	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/store"
	"github.com/mosaicquant/mosaicquant/internal/testmodel"
)

// reseal gives every value of the store in dir another payload under a valid
// checksum, and tells how many there are.
func reseal(t *testing.T, dir string, change func([]byte) []byte) (count int) {
	t.Helper()
	const header, footer = 8 + 32, 12
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		payload := change(bytes.Clone(data[header : len(data)-footer]))
		data = append(data[:header:header], payload...)
		data = binary.LittleEndian.AppendUint64(data, uint64(len(payload)))
		data = binary.LittleEndian.AppendUint32(data, crc32.Checksum(payload, crc32.MakeTable(crc32.Castagnoli)))
		count++
		return os.WriteFile(path, data, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	return count
}

// TestMalformedCache runs a trial on caches whose values are all malformed under
// valid checksums: it computes what they should have been.
func TestMalformedCache(t *testing.T) {
	defer func(a, b time.Duration, c int) { checkpointAfter, keepLayer, keepFactors = a, b, c }(checkpointAfter, keepLayer, keepFactors)
	checkpointAfter, keepLayer, keepFactors = 0, 0, 1
	trial := plan.Trial{Model: testmodel.Dir(t), Activations: "a16",
		Protocol:    plan.Protocol{Text: "builtin:heldout", Context: 64, Stride: 64, BOS: true, Tokens: 128},
		Calibration: plan.Calibration{Text: "builtin:calibration", Tokens: 256, Context: 64},
		Method:      method.New("gptq", "format", "int4", "group", 64, "scale", "absmax", "order", "act", "groups", "static", "damp", .01, "smoothing", .5, "smoothing_sites", "all")}
	dir := t.TempDir()
	var warnings []string
	run := func() *row.Row {
		t.Helper()
		st, err := store.Open(dir, func(w string) { warnings = append(warnings, w) })
		if err != nil {
			t.Fatal(err)
		}
		s, err := (&Lab{Store: st, Progress: io.Discard}).Open(t.Context(), trial)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var seen int
		_, err = s.quantize(t.Context(), trial, &row.Row{}) // leaves its layers in the store
		if err != nil {
			t.Fatal(err)
		}
		items, err := st.List()
		for _, i := range items {
			if i.Kind == "layer" {
				seen++
			}
		}
		if err != nil || seen != len(s.source.linears) {
			t.Fatalf("%d layers stored, %v", seen, err)
		}
		r, err := s.Run(t.Context(), trial)
		if err != nil || r.Status != row.OK {
			t.Fatal(err, r)
		}
		if _, err := s.quantize(t.Context(), trial, &row.Row{}); err != nil {
			t.Fatal(err)
		}
		return r
	}
	want := run()
	for name, change := range map[string]func([]byte) []byte{
		"empty":       func([]byte) []byte { return nil },
		"cut":         func(p []byte) []byte { return p[:len(p)/2] },
		"longer":      func(p []byte) []byte { return append(p, make([]byte, 64)...) },
		"zeros":       func(p []byte) []byte { return make([]byte, len(p)) },
		"large sizes": func(p []byte) []byte { return bytes.Repeat([]byte{0, 0, 0, 0x80, 0, 0, 0, 0}, 2) },
		"an object":   func([]byte) []byte { return []byte("{}") },
		"other shape": func([]byte) []byte { return append([]byte{1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}, 0, 0, 0, 0) },
	} {
		warnings = nil
		if n := reseal(t, dir, change); n < 10 {
			t.Fatalf("%d values", n)
		}
		got := run()
		for _, v := range want.Values {
			if g, ok := got.Value(v.Name); v.Unit != "s" && (!ok || g.Value != v.Value) {
				t.Errorf("%s: %s is %v, with a good cache %v", name, v.Name, g.Value, v.Value)
			}
		}
		if len(warnings) != 1 || !strings.Contains(warnings[0], "computed again") {
			t.Errorf("%s: warnings %q", name, warnings)
		}
	}
}
