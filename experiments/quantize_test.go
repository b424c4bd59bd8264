package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/hf"
	"github.com/mosaicquant/mosaicquant/internal/row"
)

// TestQuantizeCommand packs a trial and evaluates the result: perplexity is
// that of the sweep's row, to the last digit, and the file is as large as its
// ledger and the other tensors say.
func TestQuantizeCommand(t *testing.T) {
	dir := t.TempDir()
	cache, packed := filepath.Join(dir, "cache"), filepath.Join(dir, "packed")
	config := filepath.Join(dir, "one.yaml")
	const text = `name: one
model: builtin:tiny-llama3
protocol: {text: builtin:heldout, context: 64, stride: 64, bos: true, tokens: 512}
calibration: {text: builtin:calibration, tokens: 1024, seed: 1}
activations: a8
methods:
  - {method: mosaic, base: gptq, density: 10%, block: 1x32, criterion: delta, joint: true, smoothing: 0.5}
`
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	printed, err := execute(t, "quantize", "-c", config, "--cache", cache, "-o", packed)
	if err != nil {
		t.Fatal(err)
	}
	out, err := execute(t, "eval", "-m", packed, "--cache", cache, "--text", "builtin:heldout", "--context", "64", "--tokens", "512", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var rep evalReport
	if err := json.Unmarshal([]byte(out), &rep); err != nil {
		t.Fatal(err)
	}
	if rep.Activations != "a8" || !strings.Contains(rep.Method, `"joint":true`) {
		t.Errorf("activations %s, method %s", rep.Activations, rep.Method)
	}
	results := filepath.Join(dir, "results")
	if _, err := execute(t, "sweep", "-c", config, "--cache", cache, "-o", results); err != nil {
		t.Fatal(err)
	}
	rows, _, err := row.ReadFile(filepath.Join(results, row.File))
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d rows: %v", len(rows), err)
	}
	want, _ := rows[0].Value(row.NLL)
	for _, v := range rep.Text.Values {
		if v.Name == row.NLL && v.Value != want.Value {
			t.Errorf("NLL %v of the checkpoint, %v of the sweep", v.Value, want.Value)
		}
	}
	var total int64
	words := strings.Fields(printed)
	for _, item := range rows[0].Ledger {
		total += item.Bytes
		if !slices.Contains(words, fmt.Sprint(item.Bytes)) || !strings.Contains(printed, item.Name) {
			t.Errorf("%s, %d bytes, is not printed:\n%s", item.Name, item.Bytes, printed)
		}
	}
	if total == 0 || !slices.Contains(words, fmt.Sprint(total)) {
		t.Errorf("the sum %d is not printed:\n%s", total, printed)
	}
	modelBytes, _ := rows[0].Value(row.ModelBytes)
	info, err := os.Stat(filepath.Join(packed, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	// The header, and per layer at most 16 fields of eight bytes.
	if more := info.Size() - int64(modelBytes.Value); more < 0 || more > 25_000+42*16*8 {
		t.Errorf("the file has %d bytes, the ledger and other tensors %.0f", info.Size(), modelBytes.Value)
	}

	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"quantize", "-c", config, "--cache", cache, "-o", packed}, "exists already"},
		{[]string{"quantize", "-c", "../configs/smoke.yaml", "--cache", cache, "-o", filepath.Join(dir, "x")}, "choose one with --trial"},
		{[]string{"quantize", "-c", "../configs/smoke.yaml", "--trial", "0123", "--cache", cache, "-o", filepath.Join(dir, "x")}, "0123"},
		{[]string{"quantize", "-c", config, "-m", packed, "--cache", cache, "-o", filepath.Join(dir, "x")}, "is quantized already"},
		{[]string{"quantize", "-c", config, "--cache", cache}, "--output"},
	} {
		if _, err := execute(t, c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want it to say %q", c.args, err, c.want)
		}
	}

	// A flipped bit is noticed, whatever it would have done.
	path := filepath.Join(packed, "model.safetensors")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	checkpoint, err := hf.OpenCheckpoint(hf.Dir(packed))
	if err != nil {
		t.Fatal(err)
	}
	tensor, err := checkpoint.Raw("model.layers.3.mlp.up_proj.weight_packed")
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(data, tensor.Data)
	data[at+200] ^= 1 // a code
	if err := checkpoint.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := execute(t, "eval", "-m", packed, "--cache", cache, "--text", "builtin:heldout"); err == nil || !strings.Contains(err.Error(), "model.layers.3.mlp.up_proj.weight_packed has SHA-256") {
		t.Errorf("a flipped bit: %v", err)
	}
}
