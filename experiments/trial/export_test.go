package trial

import (
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/testmodel"
)

// TestExport: what is written for another program, read back as a checkpoint, has the
// row of the trial that it was made of.
func TestExport(t *testing.T) {
	lab, model := testLab(t), testmodel.Dir(t)
	for _, c := range []struct{ activations, method, format string }{
		{"a16", "{method: rtn, group: 32}", "compressed-tensors"},
		{"a8", "{method: gptq, group: 64, format: int4a}", "compressed-tensors"},
		{"a8", "{method: rtn, group: row, format: int8}", "compressed-tensors"},
		{"a16", "{method: rtn, format: mxfp4}", "compressed-tensors"},
		{"a16", "{method: gptq, group: 32}", "gptq"},
		{"a16", "{method: rtn, group: 64, format: int4a}", "gptq"},
		{"a16", "{method: rtn, group: 64, format: int4a}", "awq"},
		{"a16", "{method: rtn, group: 128}", "awq"},
		{"a16", "{method: rtn, group: 64}", "gguf"},
		{"a16", "{method: rtn, group: 32, format: int8}", "gguf"},
		{"a16", "{method: rtn, format: mxfp4}", "gguf"},
		{"a16", "{method: mosaic, group: 64, density: 10%, block: 16x16}", "16-bit"},
		{"a16", "{method: rtn, group: 64, awq: true}", "16-bit"},
		{"a16", "{method: rtn, group: 64, smoothing: 0.5}", "gptq"},
	} {
		name := c.method + " as " + c.format
		dir := filepath.Join(t.TempDir(), "out")
		made := importedTrials(t, model, "- "+c.method+"\n")[0]
		made.Activations = c.activations
		e, err := lab.Export(t.Context(), made, dir, c.format)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		path := dir
		if c.format == "gguf" {
			path = filepath.Join(dir, e.Weights)
		}
		read := importedTrials(t, model, "- {method: checkpoint, path: "+path+"}\n")[0]
		read.Activations = c.activations
		s, err := lab.Open(t.Context(), made)
		if err != nil {
			t.Fatal(err)
		}
		want, got := runOne(t, s, made), runOne(t, s, read)
		for _, v := range []string{row.KLMean, row.NLL} {
			a, _ := want.Value(v)
			b, ok := got.Value(v)
			tolerance := 0.0
			if c.format == "16-bit" {
				tolerance = 1e-2 * a.Value
			}
			if !ok || !(math.Abs(a.Value-b.Value) <= tolerance) {
				t.Errorf("%s: %s is %v, of the trial itself %v", name, v, b.Value, a.Value)
			}
		}
		if b, _ := got.Value(row.BitsPerWeight); b.Value != e.BitsPerWeight {
			t.Errorf("%s: %v bits per weight, the export says %v", name, b.Value, e.BitsPerWeight)
		}
		for _, w := range got.Warnings {
			if strings.Contains(w, "is made for activations") && c.format != "16-bit" {
				t.Errorf("%s: %s", name, w)
			}
		}
		s.Close()
	}
}

// TestExportBasis: a model in another basis is written as one of its own, which computes
// what it does.
func TestExportBasis(t *testing.T) {
	lab, model := testLab(t), testmodel.Dir(t)
	for _, c := range []struct{ basis, method, format string }{
		{"folded", "{method: none}", "16-bit"},
		{"rotated", "{method: none}", "16-bit"},
		{"folded", "{method: gptq, group: 32}", "compressed-tensors"},
		{"rotated", "{method: rtn, group: 32}", "gguf"},
		{"folded", "{method: rtn, group: 32, ignore: [\"*.o_proj\"]}", "16-bit"},
	} {
		if testing.Short() && c.basis == "folded" && c.format != "16-bit" {
			continue
		}
		name := c.basis + " " + c.method + " as " + c.format
		dir := filepath.Join(t.TempDir(), "out")
		made := importedTrials(t, model, "- "+c.method+"\n")[0]
		made.Activations, made.Basis, made.BasisSeed = "a16", c.basis, 1
		e, err := lab.Export(t.Context(), made, dir, c.format)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		path := dir
		if c.format == "gguf" {
			path = filepath.Join(dir, e.Weights)
		}
		read := importedTrials(t, model, "- {method: checkpoint, path: "+path+"}\n")[0]
		read.Activations = "a16"
		plain, err := lab.Open(t.Context(), read)
		if err != nil {
			t.Fatal(err)
		}
		changed, err := lab.Open(t.Context(), made)
		if err != nil {
			t.Fatal(err)
		}
		got, want := runOne(t, plain, read), runOne(t, changed, made)
		for _, v := range []string{row.KLMean, row.NLL} {
			a, _ := want.Value(v)
			b, ok := got.Value(v)
			if !ok || !(math.Abs(a.Value-b.Value) <= 2e-3*a.Value+1e-5) {
				t.Errorf("%s: %s is %v, of the trial itself %v", name, v, b.Value, a.Value)
			}
		}
		plain.Close()
		changed.Close()
	}
}

// TestExportRefused: what a format cannot hold is refused with the reason.
func TestExportRefused(t *testing.T) {
	lab, model := testLab(t), testmodel.Dir(t)
	for _, c := range []struct{ method, format, want string }{
		{"{method: mosaic, group: 64, density: 10%, block: 16x16}", "compressed-tensors", "holds no residual; 16-bit holds what it adds up to"},
		{"{method: spqr, outliers: 1%}", "gptq", "holds no outliers"},
		{"{method: rtn, group: 64, awq: true}", "awq", "holds no channel scales of one layer"},
		{"{method: rtn, format: nf4}", "gptq", "holds integers, not nf4 g128"},
		{"{method: rtn, group: 48}", "awq", "has no shorter last group: K=128, groups of 48"},
		{"{method: rtn, group: 64, format: int4a}", "gguf", "Q4_1 rounds a minimum"},
		{"{method: rtn, group: 16}", "gguf", "groups of 16 and K=128 are no multiples"},
		{"{method: rtn, format: int3}", "gptq", "codes of 3 bits"},
		{"{method: rtn, format: int8}", "awq", "has codes of 4 bits, not 8"},
		{"{method: rtn}", "onnx", `format "onnx" is not packed, compressed-tensors, gptq, awq, gguf, 16-bit`},
	} {
		tr := importedTrials(t, model, "- "+c.method+"\n")[0]
		tr.Activations = "a16"
		refused(t, lab, tr, c.format, c.want)
	}
	tr := importedTrials(t, model, "- {method: rtn}\n")[0]
	for format, want := range map[string]string{"gptq": "holds no inputs of 8 bits", "gguf": "holds no inputs of 8 bits"} {
		refused(t, lab, tr, format, want)
	}
	tr.Activations, tr.Transform = "a16", "quarot"
	refused(t, lab, tr, "gptq", "no transform goes with it")
}

func refused(t *testing.T, lab *Lab, tr plan.Trial, format, want string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "out")
	if _, err := lab.Export(t.Context(), tr, dir, format); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s as %s: error %v, want %q", tr.Label, format, err, want)
	}
	if found, err := filepath.Glob(filepath.Join(filepath.Dir(dir), "*")); err != nil || len(found) > 0 {
		t.Errorf("%s as %s: left %v", tr.Label, format, found)
	}
}
