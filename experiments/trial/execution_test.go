package trial

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/builtin"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/testmodel"
	"github.com/mosaicquant/mosaicquant/internal/variants"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/mosaic"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// TestPackedAgrees runs the builtin model packed and fake-quantized. On the same
// input a linear layer may differ by the rounding of float32 sums alone, of at
// most K terms with a scale each: 2^-23·(K+8)·Σ|x·w|. Over the whole model such
// a difference now and then tips an activation to the neighbouring code, which
// tips others further on. So logits agree to some percent of what quantization
// changes in the square; without activations to tip, to the rounding of sums.
func TestPackedAgrees(t *testing.T) {
	if testing.Short() {
		t.Skip("checks numbers of the builtin model")
	}
	files, err := builtin.Model("tiny-llama3")
	if err != nil {
		t.Fatal(err)
	}
	model, err := llm.Open(files)
	if err != nil {
		t.Fatal(err)
	}
	defer model.Close()
	var ids []int32
	for i := range 48 {
		ids = append(ids, int32(i*i*7%model.Config().VocabSize))
	}
	methods := map[string]quant.Quantizer{
		variants.Dense4: solve.RTN{Format: quant.Int4(64), Scale: grid.Scale{Rule: grid.AbsMax}},
		variants.Zipper: func() quant.Quantizer {
			return mosaic.Mosaic{Base: solve.RTN{Format: quant.Int4(64), Scale: grid.Scale{Rule: grid.AbsMax}},
				Blocks:    mosaic.Blocks{BlockRows: 16, BlockCols: 16, Density: 0.2, Bits: 4},
				Criterion: mosaic.CriterionError}
		}(),
	}
	for _, name := range testedActivations {
		act, err := quant.ParseActivations(name)
		if err != nil {
			t.Fatal(err)
		}
		for variant, method := range methods {
			t.Run(name+"/"+variant, func(t *testing.T) {
				fake, packed := map[string]llm.Replacement{}, map[string]llm.Replacement{}
				bySite := map[string][]string{}
				for _, l := range model.Linears() {
					w := gemm.NewMatrix(l.N, l.K)
					l.Weights.Load(w, 0, 0)
					q, err := method.Quantize(quant.Problem{Name: l.Name, Weights: w})
					if err != nil {
						t.Fatal(err)
					}
					p, err := Pack(q, Scheme(name), Variant(q.Form()))
					if err != nil {
						t.Fatal(err)
					}
					fake[l.Name] = llm.Replacement{Weights: q, Act: act}
					packed[l.Name] = llm.Replacement{Weights: q, Product: p}
					bySite[l.Site] = append(bySite[l.Site], l.Name)
				}
				compared := 0
				compare := func(site string, x gemm.Matrix) {
					for _, name := range bySite[site] {
						compareLayer(t, name, x, act, fake[name].Weights, packed[name].Product)
						compared++
					}
				}
				reference := logits(t, model, ids, nil)
				a, b := logits(t, model.With(fake), ids, nil), logits(t, model.With(packed), ids, compare)
				if compared != len(model.Linears()) {
					t.Errorf("%d of %d layers compared", compared, len(model.Linears()))
				}
				between, quantization := distance(a, b), distance(a, reference)
				t.Logf("squared distance of logits: %.3g between executions, %.3g to 16 bits", between, quantization)
				limit := 0.02
				if act == quant.A16 {
					limit = 1e-8
				}
				if !(between < limit*quantization) {
					t.Errorf("packed and fake execution differ by %.3g, quantization by %.3g", between, quantization)
				}
			})
		}
	}
}

// testedActivations are those with a kernel.
var testedActivations = []string{"a8", "a16", "a4"}

func compareLayer(t *testing.T, name string, x gemm.Matrix, act quant.Activations, w gemm.Source, p llm.Product) {
	t.Helper()
	n, k := w.Dims()
	in := x.Clone()
	act.Apply(in)
	weights := gemm.NewMatrix(n, k)
	w.Load(weights, 0, 0)
	got, want := gemm.NewMatrix(x.Rows, n), gemm.NewMatrix(x.Rows, n)
	p.MulNT(got, x)
	gemm.MulNT(want, in, weights)
	for i := range x.Rows {
		for j := range n {
			var size float64
			for c, v := range in.Row(i) {
				size += math.Abs(float64(v) * float64(weights.Row(j)[c]))
			}
			if d := math.Abs(float64(got.Row(i)[j]) - float64(want.Row(i)[j])); !(d <= float64(k+8)*0x1p-23*size) {
				t.Fatalf("%s, token %d, output %d: packed %v, fake %v, of terms that sum to %v", name, i, j, got.Row(i)[j], want.Row(i)[j], size)
			}
		}
	}
}

func logits(t *testing.T, m *llm.Model, ids []int32, tap func(string, gemm.Matrix)) gemm.Matrix {
	t.Helper()
	hidden, err := m.Hidden(t.Context(), [][]int32{ids}, tap)
	if err != nil {
		t.Fatal(err)
	}
	out := gemm.NewMatrix(len(ids), m.Config().VocabSize)
	if err := m.Logits(out, hidden); err != nil {
		t.Fatal(err)
	}
	return out
}

// distance is ||a - b||².
func distance(a, b gemm.Matrix) float64 {
	var s float64
	for i, v := range a.Data {
		d := float64(v) - float64(b.Data[i])
		s += d * d
	}
	return s
}

// TestPackWiderInputs: a layer that keeps its inputs wider than the model does is
// not executed as if it did not.
func TestPackWiderInputs(t *testing.T) {
	w := gemm.NewMatrix(16, 128)
	for i := range w.Data {
		w.Data[i] = float32(i%13) - 6
	}
	q, err := solve.RTN{Format: quant.Int4(128), Scale: grid.Scale{Rule: grid.AbsMax}}.Quantize(quant.Problem{Name: "w", Weights: w})
	if err != nil {
		t.Fatal(err)
	}
	q.InputBits = 8
	if _, err := packAll(q, "a4"); err == nil || !strings.Contains(err.Error(), "inputs are rounded to a8") {
		t.Errorf("error %v", err)
	}
	for _, act := range []string{"a8", "a16"} {
		if _, err := packAll(q, act); err != nil {
			t.Errorf("%s: %v", act, err)
		}
	}
}

// TestPackedTrial runs trials of a sweep on the kernels, and one that has none.
func TestPackedTrial(t *testing.T) {
	lab := testLab(t)
	sweep := fmt.Sprintf(`
name: packed
model: %s
protocol: {text: builtin:heldout, context: 64, stride: 64, bos: true, tokens: 256}
calibration: {text: builtin:calibration, tokens: 512, seed: 1}
activations: %s
execution: [fake, packed]
methods:
  - {method: none}
  - {method: mosaic, density: 10%%, block: 16x16}
  - {method: trellis, trellis_bits: 2, trellis_length: 6}
  - {method: rtn, format: fireq4}
`, testmodel.Short(t, "builtin:tiny-llama3"), testedActivations[0])
	sw, err := plan.Parse("packed.yaml", []byte(sweep))
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]*row.Row{}
	for _, tr := range sw.Trials {
		s, err := lab.Open(t.Context(), tr)
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Run(t.Context(), tr)
		s.Close()
		if err != nil {
			t.Fatal(err)
		}
		rows[tr.Method.Name()+" "+tr.Execution] = r
	}
	if len(rows) != 7 { // the 16-bit model has one execution
		t.Fatalf("%d trials", len(rows))
	}
	for _, method := range []string{"mosaic", "trellis"} {
		fake, packed := rows[method+" "], rows[method+" packed"]
		if fake.Execution != nil || packed.Execution == nil || packed.Execution.Kernel == "" {
			t.Errorf("%s: executions %+v and %+v", method, fake.Execution, packed.Execution)
		}
		for _, name := range []string{row.NLL, row.KLMean} {
			a, _ := fake.Value(name)
			b, _ := packed.Value(name)
			if a.Value == 0 || !(math.Abs(a.Value-b.Value) < 1e-2*a.Value) {
				t.Errorf("%s: %s is %v fake and %v packed", method, name, a.Value, b.Value)
			}
		}
		if a, _ := fake.Value(row.BitsPerWeight); a.Value == 0 {
			t.Errorf("%s: no bits", method)
		}
	}
	if r := rows["rtn packed"]; r.Status != row.Failed ||
		!strings.Contains(r.Error, "execution packed: model.layers.0.self_attn.q_proj: zipper: ") ||
		!strings.Contains(r.Error, "fireq4") {
		t.Errorf("fireq4 packed: %s %q", r.Status, r.Error)
	}
	if r := rows["rtn "]; r.Status != row.OK {
		t.Errorf("fireq4 fake: %s", r.Error)
	}
}
