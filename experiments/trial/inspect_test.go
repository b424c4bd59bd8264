package trial

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/builtin"
	"github.com/mosaicquant/mosaicquant/internal/hf"
)

// plantedModel copies the builtin model with the tensors of change scaled: a
// channel of weights and norms, [column] by factor.
func plantedModel(t *testing.T, change map[string]map[int]float32) string {
	t.Helper()
	files, err := builtin.Model("tiny-llama3")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"config.json", "tokenizer.json"} {
		blob, err := files.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), blob.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	checkpoint, err := hf.OpenCheckpoint(files)
	if err != nil {
		t.Fatal(err)
	}
	defer checkpoint.Close()
	var tensors []*hf.Tensor
	for _, name := range checkpoint.Names() {
		from, err := checkpoint.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		values := from.Float32()
		for j, factor := range change[name] {
			for i := j; i < len(values); i += from.Shape[len(from.Shape)-1] {
				values[i] *= factor
			}
		}
		var data bytes.Buffer
		if err := binary.Write(&data, binary.LittleEndian, values); err != nil {
			t.Fatal(err)
		}
		tensors = append(tensors, &hf.Tensor{Name: name, DType: "F32", Shape: from.Shape, Data: data.Bytes()})
	}
	f, err := os.Create(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	if err := hf.Write(f, tensors, nil); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestInspectPlanted plants outliers in one weight and in the input of one
// site, and finds them there and nowhere else.
func TestInspectPlanted(t *testing.T) {
	if testing.Short() {
		t.Skip("checks numbers of the builtin model")
	}
	lab := &Lab{Progress: io.Discard}
	inspect := func(model string) *Inspected {
		t.Helper()
		r, err := lab.Inspect(t.Context(), Inspection{Model: model, BOS: true,
			Calibration: plan.Calibration{Text: "builtin:calibration", Tokens: 512, Seed: 1}})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	before := inspect("builtin:tiny-llama3")
	after := inspect(plantedModel(t, map[string]map[int]float32{
		"model.layers.2.self_attn.q_proj.weight": {100: 50},
		"model.layers.5.input_layernorm.weight":  {31: 300},
	}))
	if before.Inspection.Calibration.Context != 256 || before.Tokens != 512 || len(before.Weights) != 42 || len(before.Activations) != 24 {
		t.Fatalf("%+v: %d tokens, %d weights, %d activations", before.Inspection, before.Tokens, len(before.Weights), len(before.Activations))
	}
	for i, w := range after.Weights {
		was := before.Weights[i]
		if w.Name != "model.layers.2.self_attn.q_proj" {
			if w.Kurtosis != was.Kurtosis || w.Far != was.Far {
				t.Errorf("%s changed from %+v to %+v", w.Name, was.Stats, w.Stats)
			}
			continue
		}
		if w.Top[0].Index != 100 || w.ColRMS < 25 || w.Kurtosis < 20 || !(w.Far > was.Far) {
			t.Errorf("%s: %+v", w.Name, w.Stats)
		}
	}
	for i, a := range after.Activations {
		was := before.Activations[i]
		switch layer := strings.TrimPrefix(a.Name, "model.layers."); {
		case layer == "5.attn_in":
			if a.Top[0].Index != 31 || a.ColRMS < 50 || a.Kurtosis < 10*math.Abs(was.Kurtosis) {
				t.Errorf("%s: %+v", a.Name, a.Stats)
			}
		case layer < "2.attn_out" && a.Kurtosis != was.Kurtosis:
			t.Errorf("%s lies before all changes, but changed from %+v to %+v", a.Name, was.Stats, a.Stats)
		}
		if a.Rows != 512 {
			t.Errorf("%s: %d tokens", a.Name, a.Rows)
		}
	}
}

func TestInspectErrors(t *testing.T) {
	lab := &Lab{Progress: io.Discard}
	in := Inspection{Model: "builtin:tiny-llama3", Calibration: plan.Calibration{Text: "builtin:calibration", Tokens: 1 << 30}}
	if _, err := lab.Inspect(t.Context(), in); err == nil || !strings.Contains(err.Error(), "the text has") {
		t.Errorf("too many tokens: %v", err)
	}
	in.Model = plantedModel(t, map[string]map[int]float32{"model.layers.4.mlp.up_proj.weight": {9: float32(math.Inf(1))}})
	if _, err := lab.Inspect(t.Context(), in); err == nil {
		t.Error("an infinite weight was no error")
	}
	in.Calibration.Text = ""
	if _, err := lab.Inspect(t.Context(), in); err == nil || !strings.Contains(err.Error(), "model.layers.4.mlp.up_proj.weight: element [0,9]") {
		t.Errorf("an infinite weight: %v", err)
	}
}
