package trial

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/method"
	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/zipper"
	"github.com/mosaicquant/mosaicquant/zipper/cuda"
)

// TestExecutable runs every method with every format on every backend. What a
// method stores has the form that Form says beforehand. What a backend takes, it
// executes as the float32 product of what is stored says; what it refuses, it
// refuses at the time of packing as well.
func TestExecutable(t *testing.T) {
	const n, k = 48, 256
	rng := rand.New(rand.NewPCG(3, 5))
	w, x := gemm.NewMatrix(n, k), gemm.NewMatrix(5, k)
	for _, m := range []gemm.Matrix{w, x} {
		for i := range m.Data {
			m.Data[i] = float32(rng.NormFloat64())
		}
	}
	samples := gemm.NewMatrix(4*k, k)
	for i := range samples.Data {
		samples.Data[i] = float32(rng.NormFloat64())
		if i%k%8 == 0 { // channels that AWQ scales and LLM.int8() keeps in 16 bits
			samples.Data[i] *= 20
		}
	}
	sums := quant.NewAccumulator(k)
	if err := sums.Add(samples); err != nil {
		t.Fatal(err)
	}
	moments, err := sums.Finish()
	if err != nil {
		t.Fatal(err)
	}

	taken := map[string]int{}
	for _, m := range everyForm(t) {
		built, err := m.Quantizer()
		if err != nil {
			t.Fatalf("%s: %v", m, err)
		}
		q, err := built.Quantize(quant.Problem{Name: "layers.0.q_proj", Weights: w, Moments: moments, Seed: 1})
		if err != nil {
			t.Fatalf("%s: %v", m, err)
		}
		checkForm(t, m, q)
		for _, a := range testedActivations {
			name := fmt.Sprint(m, " ", a)
			act, err := quant.ParseActivations(a)
			if err != nil {
				t.Fatal(err)
			}
			refused := Executable(plan.Trial{Method: m, Activations: a})
			p, err := packAll(q, a)
			if (refused == nil) != (err == nil) {
				t.Errorf("%s: Executable says %v, packing %v", name, refused, err)
			}
			if err == nil {
				taken["cpu "+m.Name()]++
				stored := q
				rides := p.(*zipper.Weights).Rides()
				if r := q.Residual; r != nil && r.HalfSteps && a != "a16" && !rides {
					t.Errorf("%s: a residual in half steps does not ride", name)
				}
				if !rides {
					if stored, err = asExecuted(q); err != nil {
						t.Fatal(err)
					}
				}
				compareLayer(t, name, x, q.Inputs(act), stored, p)
			}
		}
		for _, s := range []cuda.Scheme{cuda.W4A16Half, cuda.W4A16BF16, cuda.W4A8, cuda.W4A4} {
			name := fmt.Sprint(m, " ", s)
			refused := cuda.Takes(q.Form(), s)
			layout, err := cuda.NewLayout(q, s)
			if (refused == nil) != (err == nil) {
				t.Errorf("%s: Takes says %v, layout %v", name, refused, err)
			}
			if err != nil {
				continue
			}
			taken["cuda "+m.Name()]++
			stored := q
			if !layout.Rides() {
				if stored, err = asExecuted(q); err != nil {
					t.Fatal(err)
				}
			}
			if got, want := layout.Unpack().Dequantize(), stored.Dequantize(); !slices.Equal(got.Data, want.Data) {
				t.Errorf("%s: the layout does not hold what is stored", name)
			}
		}
	}
	for _, who := range []string{"cpu rtn", "cpu gptq", "cpu spqr", "cpu mosaic", "cpu trellis", "cuda rtn", "cuda gptq", "cuda spqr", "cuda mosaic"} {
		if taken[who] == 0 {
			t.Errorf("%s: nothing was executed", who)
		}
	}
}

// everyForm returns settings of every method with every format that it has, and
// with every part that changes how weights are stored.
func everyForm(t *testing.T) []plan.Method {
	text := `
name: forms
model: builtin:m
protocol: {text: builtin:t, context: 64, stride: 64, bos: true}
calibration: {text: builtin:t, tokens: 512}
methods:
  - {method: rtn, group: [row, 128, 32], awq: [false, true]}
`
	for _, f := range method.Formats {
		parsed, _ := quant.ParseFormat(f, 0)
		group := cmp.Or(parsed.Kind.FixedGroup(), 32)
		text += fmt.Sprintf("  - {method: [rtn, gptq, llmint8], group: %d, format: %s}\n", group, f)
		text += fmt.Sprintf("  - {method: spqr, outliers: 1%%, format: %s}\n", f)
		text += fmt.Sprintf("  - {method: [quik, atom], columns: 12.5%%, group: %d, format: %s}\n", group, f)
		text += fmt.Sprintf("  - {method: svdquant, rank: 4, svd_rounds: 1, format: %s}\n", f)
		text += fmt.Sprintf("  - {method: mosaic, density: 20%%, block: 16x16, residual_scale: [block, base], format: %s}\n", f)
	}
	text += "  - {method: spqr, threshold: 0.5}\n"
	text += "  - {method: trellis, trellis_bits: [2, 3, 4], trellis_length: 6, trellis_code: [mul1, 1mad, 3inst]}\n"
	text += "  - {method: vptq, vector: [1, 2], codebook_columns: [0, 32], row_scales: [true, false]}\n"
	text += "  - {method: vptq, vector: 8, vector_bits: 2, second_codebook: 8}\n"
	text += "  - {method: olive, group: [row, 32]}\n"
	text += "  - {method: adadim, base: [rtn, gptq], group: [row, 32]}\n"
	text += "  - {method: gobo, centroid_bits: [2, 3, 4]}\n"
	text += "  - {method: mosaic, density: 20%, block: [1x8, 12x16, 16x12, 16x48, 4x64, Nx8, 16x256], residual_bits: [2, 4], residual_scale: [block, row, base]}\n"
	text += "  - {method: mosaic, density: 12.5%, block: [1x8, 4x16], format: [int4, int4a, int3b, int2], group: [32, row], " +
		"residual_bits: 2, residual_scale: half, index: [rows, bitmap, exact]}\n"
	sw, err := plan.Parse("forms.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var all []plan.Method
	for _, tr := range sw.Trials {
		all = append(all, tr.Method)
	}
	return all
}

// checkForm compares what Form says with what is stored.
func checkForm(t *testing.T, m plan.Method, q *quant.Quantized) {
	t.Helper()
	want, err := m.Form()
	if err != nil {
		t.Fatal(err)
	}
	got := q.Form()
	got.N, got.K, got.InputBits = 0, 0, 0
	if r := want.Residual; r != nil && r.BlockRows == 0 && got.Residual != nil {
		got.Residual.BlockRows = 0
	}
	residual := func(f quant.Form) quant.ResidualForm {
		if f.Residual == nil {
			return quant.ResidualForm{}
		}
		return *f.Residual
	}
	if g, w := residual(got), residual(*want); g != w {
		t.Errorf("%s: residual %+v, want %+v", m, g, w)
	}
	got.Residual, want.Residual = nil, nil
	if got != *want {
		t.Errorf("%s: form %+v, want %+v", m, got, *want)
	}
}

// asExecuted returns q as the kernels execute it: a residual tied to the scales
// of the base has steps in half precision, unless it rides in the codes.
func asExecuted(q *quant.Quantized) (*quant.Quantized, error) {
	if q.Residual == nil {
		return q, nil
	}
	r, err := q.Residual.RowScaled(q.Base)
	if err != nil {
		return nil, err
	}
	out := *q
	out.Residual = r
	return &out, nil
}
