package trial

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/foreign"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/hf"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/testmodel"
	"github.com/mosaicquant/mosaicquant/quant"
)

const importedSweep = `
name: imported
model: MODEL
protocol: {text: builtin:heldout, context: 64, stride: 64, bos: true, tokens: 256}
calibration: {text: builtin:calibration, tokens: 512, context: 64}
activations: a8
methods:
`

// importedTrials parses importedSweep with lines of methods.
func importedTrials(t *testing.T, model, methods string) []plan.Trial {
	t.Helper()
	sw, err := plan.Parse("imported.yaml", []byte(strings.Replace(importedSweep, "MODEL", model, 1)+methods))
	if err != nil {
		t.Fatal(err)
	}
	return sw.Trials
}

// TestImported: the row of a packed checkpoint has the numbers of the trial that it was
// made of, on floats and on kernels; its identity follows its content.
func TestImported(t *testing.T) {
	lab, model := testLab(t), testmodel.Dir(t)
	dir := filepath.Join(t.TempDir(), "packed")
	made := importedTrials(t, model, "- {method: rtn, group: 32}\n- {method: rtn, group: 32, format: int4a}\n")
	if _, err := lab.Quantize(t.Context(), made[0], dir); err != nil {
		t.Fatal(err)
	}
	trials := importedTrials(t, model, "- {method: rtn, group: 32}\n- {method: checkpoint, path: "+dir+"}\n")
	s, err := lab.Open(t.Context(), trials[0])
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, execution := range []string{"", "packed"} {
		trials[0].Execution, trials[1].Execution = execution, execution
		want, got := runOne(t, s, trials[0]), runOne(t, s, trials[1])
		for _, name := range []string{row.BitsPerWeight, row.ModelBytes, row.KLMean, row.NLL, row.Top1, row.OutputError} {
			a, ok := want.Value(name)
			b, there := got.Value(name)
			if !ok || !there || a.Value != b.Value {
				t.Errorf("%q: %s is %v, of the trial itself %v", execution, name, b.Value, a.Value)
			}
		}
		if !slices.Equal(got.Ledger, want.Ledger) || len(got.Layers) != len(want.Layers) {
			t.Errorf("%q: ledger %v and %d layers, want %v and %d", execution, got.Ledger, len(got.Layers), want.Ledger, len(want.Layers))
		}
		if slices.ContainsFunc(got.Warnings, func(w string) bool { return strings.Contains(w, "is made for activations") }) {
			t.Errorf("%q: %q", execution, got.Warnings)
		}
		if _, ok := got.Value(row.QuantizeTime); ok {
			t.Error("a checkpoint took time to quantize")
		}
	}
	before := s.ID(trials[1])
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := lab.Quantize(t.Context(), made[1], dir); err != nil {
		t.Fatal(err)
	}
	again, err := lab.Open(t.Context(), trials[0])
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if after := again.ID(trials[1]); after == before {
		t.Errorf("another checkpoint at the same path has the identity of the one before, %s", after)
	}
}

func runOne(t *testing.T, s *Subject, tr plan.Trial) *row.Row {
	t.Helper()
	r, err := s.Run(t.Context(), tr)
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != row.OK {
		t.Fatalf("%s: %s", tr.Label, r.Error)
	}
	return r
}

// TestImportedRefused: a checkpoint that is missing, or of another model, fails its
// trial alone, and a dry run says so.
func TestImportedRefused(t *testing.T) {
	lab, model := testLab(t), testmodel.Dir(t)
	other := filepath.Join("..", "..", "internal", "foreign", "testdata", "gptq-v1")
	trials := importedTrials(t, model, "- {method: checkpoint, path: ["+t.TempDir()+"/none, "+other+"]}\n")
	s, err := lab.Open(t.Context(), trials[0])
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i, want := range []string{"no such file", "vocab_size is 48, the model's 4096: it is of another model"} {
		r, err := s.Run(t.Context(), trials[i])
		if err != nil {
			t.Fatal(err)
		}
		if r.Status != row.Failed || !strings.Contains(r.Error, want) {
			t.Errorf("%s: %s %q, want %q", trials[i].Label, r.Status, r.Error, want)
		}
		if err := s.CheckShapes(trials[i]); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: dry run: %v, want %q", trials[i].Label, err, want)
		}
	}
	trials[1].Basis = "folded"
	folded, err := lab.Open(t.Context(), trials[1])
	if err != nil {
		t.Fatal(err)
	}
	defer folded.Close()
	if r, err := folded.Run(t.Context(), trials[1]); err != nil || !strings.Contains(r.Error, "weights of the model as stored") {
		t.Errorf("basis folded: %v, %v", r, err)
	}
}

// TestImportedKernels: layers that another program quantized run on the kernels as they
// are. Symmetric codes of compressed-tensors use all 16 values, ours 15.
func TestImportedKernels(t *testing.T) {
	for _, name := range []string{"ct-w4a16-g32", "gptq-v1"} {
		c, err := foreign.Open(hf.Dir(filepath.Join("..", "..", "internal", "foreign", "testdata", name)))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, layer := range []string{"model.layers.0.mlp.up_proj", "model.layers.0.self_attn.q_proj"} {
			l := c.Layer(layer)
			if l.Quantized == nil {
				t.Fatalf("%s: %s has no form of this program", name, layer)
			}
			lowest := false
			for _, b := range l.Quantized.Base.Codes {
				lowest = lowest || b&15 == 0 || b>>4 == 0
			}
			if !lowest && name == "ct-w4a16-g32" {
				t.Errorf("%s: no code of %s is -8: the test shows nothing", name, layer)
			}
			n, k := l.Dims()
			x := gemm.NewMatrix(5, k)
			for i := range x.Data {
				x.Data[i] = float32(i*i%37-18) / 7
			}
			for _, a := range []string{"a16", "a8"} {
				p, err := packAll(l.Quantized, a)
				if err != nil {
					t.Fatalf("%s [%d,%d] %s: %v", layer, n, k, a, err)
				}
				act, err := quant.ParseActivations(a)
				if err != nil {
					t.Fatal(err)
				}
				compareLayer(t, name+" "+layer+" "+a, x, act, l.Quantized, p)
			}
		}
	}
}
