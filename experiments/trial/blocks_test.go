package trial

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/testmodel"
	"github.com/mosaicquant/mosaicquant/internal/variants"
	"github.com/mosaicquant/mosaicquant/quant"
)

// TestLlamaBlocks: kernels take what llama.cpp's Q4_0 has and our quantizers do not: all
// sixteen codes, and scales that are negative or zero.
func TestLlamaBlocks(t *testing.T) {
	const n, k, group, tokens = 48, 256, 32, 5
	rng := rand.New(rand.NewPCG(3, 4))
	p := &quant.Packed{N: n, K: k, Format: quant.Int4(group)}
	for range n * k / 2 {
		p.Codes = append(p.Codes, byte(rng.IntN(256)))
	}
	for i := range n * k / group {
		scale := float32(rng.NormFloat64() * 0.01)
		if i%17 == 0 {
			scale = 0
		}
		p.Scales = append(p.Scales, half.ToF16(scale))
	}
	q := &quant.Quantized{Base: p}
	x := gemm.NewMatrix(tokens, k)
	for i := range x.Data {
		x.Data[i] = float32(rng.NormFloat64())
	}
	for _, activations := range []string{"a16", "a8"} {
		packed, err := Pack(q, Scheme(activations), variants.Dense4)
		if err != nil {
			t.Fatal(err)
		}
		act, err := quant.ParseActivations(activations)
		if err != nil {
			t.Fatal(err)
		}
		rounded := x.Clone()
		act.Apply(rounded)
		want, got := gemm.NewMatrix(tokens, n), gemm.NewMatrix(tokens, n)
		gemm.MulNT(want, rounded, q)
		packed.MulNT(got, x)
		var lost, energy float64
		for i, v := range want.Data {
			lost += math.Pow(float64(v-got.Data[i]), 2)
			energy += float64(v) * float64(v)
		}
		if !(lost <= 1e-5*energy) {
			t.Errorf("%s: products differ by %.2g of their energy", activations, lost/energy)
		}
	}
}

// TestBlocksExecuted: layers of a GGUF file in Q4_0 run on kernels, and have a form that
// can be timed.
func TestBlocksExecuted(t *testing.T) {
	lab, model := testLab(t), testmodel.Dir(t)
	dir := filepath.Join(t.TempDir(), "out")
	made := importedTrials(t, model, "- {method: rtn, group: 32}\n")[0]
	made.Activations = "a16"
	e, err := lab.Export(t.Context(), made, dir, "gguf")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, e.Weights)
	form, err := lab.CheckpointForm(t.Context(), path)
	if err != nil || form.Base != quant.Int4(32) {
		t.Errorf("form %+v, %v", form, err)
	}
	read := importedTrials(t, model, "- {method: checkpoint, path: "+path+"}\n")[0]
	s := opened(t, lab, read)
	fake := runOne(t, s, read)
	read.Execution = "packed"
	packed := runOne(t, s, read)
	a, _ := fake.Value(row.NLL)
	if b, ok := packed.Value(row.NLL); !ok || !(math.Abs(a.Value-b.Value) <= 1e-4*a.Value) || packed.Execution == nil {
		t.Errorf("NLL %v on floats, %v on kernels (%+v)", a.Value, b.Value, packed.Execution)
	}
}
