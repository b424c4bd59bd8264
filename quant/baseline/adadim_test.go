package baseline

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// TestAdaDimPublished: weights in groups along columns are those of the authors'
// quantizer.py, and of their gptq.py.
func TestAdaDimPublished(t *testing.T) {
	data, err := os.ReadFile("../testdata/adadim.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Cases []struct {
			Base        string
			Bits, Group int
			Values      []float64
			Objective   float64
		}
	}
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.Cases) != 4 {
		t.Fatalf("%d cases", len(golden.Cases))
	}
	p := quanttest.Correlated(t)
	for i := range p.Weights.Rows {
		for j, v := range p.Weights.Row(i) {
			switch a := float32(math.Abs(float64(v))); i % 8 {
			case 0:
				p.Weights.Row(i)[j] = a
			case 1:
				p.Weights.Row(i)[j] = -a
			}
		}
	}
	for _, c := range golden.Cases {
		q := AdaDim{Bits: c.Bits, Group: c.Group, Scale: grid.Scale{Rule: grid.AbsMax}, Damping: .01, ActOrder: true}
		columns, err := q.alongColumns(p)
		if err != nil {
			t.Fatal(err)
		}
		out := columns.out
		if c.Base == "gptq" {
			if out, err = q.loopColumns(p, columns); err != nil {
				t.Fatal(err)
			}
		}
		hat := out.Dequantize()
		differ := quanttest.Differing(t, hat.Data[:len(c.Values)], c.Values, 1e-5)
		got := quanttest.Objective(p, hat)
		t.Logf("%s of %d bits: %d of %d values differ; objective %g, %g", c.Base, c.Bits, differ, len(c.Values), got, c.Objective)
		if differ > 0 || !(math.Abs(got-c.Objective) < 1e-4*c.Objective) {
			t.Errorf("%s of %d bits: %d values differ; objective %g, want %g", c.Base, c.Bits, differ, got, c.Objective)
		}
	}
}

// TestAdaDim: strong channels take groups along columns and strong rows those along rows,
// which are GPTQ's own; the loop loses less than rounding; and the ledger is codes, scales,
// zeros and two bytes, along both, whatever is left for the last group.
func TestAdaDim(t *testing.T) {
	const n, k = 40, 100
	for _, along := range []uint16{quant.AlongRows, quant.AlongColumns} {
		p := quanttest.Problem(t, n, k, 11)
		for i := range n {
			for j := range k {
				if along == quant.AlongColumns && j%8 == 3 || along == quant.AlongRows && i%8 == 3 {
					p.Weights.Row(i)[j] *= 20
				}
			}
		}
		var last float64
		for _, loop := range []bool{false, true} {
			q := AdaDim{Bits: 4, Group: 16, Scale: grid.Scale{Rule: grid.SearchHessian}, Loop: loop, Damping: .01, ActOrder: true}
			out := quanttest.Quantize(t, q, p)
			if got := out.Base.Tables[0]; got != along {
				t.Fatalf("groups along %d, want %d", got, along)
			}
			want := n*k/2 + 2 + n*7*2 + n*4
			if along == quant.AlongColumns {
				want = n*k/2 + 2 + k*3*2 + k*2
			}
			if got := out.Ledger().Total(); got != int64(want) {
				t.Errorf("along %d: %d bytes, want %d", along, got, want)
			}
			whole, part := out.Dequantize(), gemm.NewMatrix(19, 33)
			out.Load(part, 20, 66)
			if !quanttest.Equal(part, whole.View(20, 39, 66, 99)) {
				t.Error("a part differs")
			}
			data, _ := out.MarshalBinary()
			var back quant.Quantized
			if err := back.UnmarshalBinary(data); err != nil || !quanttest.Equal(back.Dequantize(), whole) {
				t.Errorf("read back, weights are others: %v", err)
			}
			bad := *out.Base
			bad.Tables = []uint16{1 - along}
			data, _ = (&quant.Quantized{Base: &bad}).MarshalBinary()
			if err := back.UnmarshalBinary(data); err == nil {
				t.Error("groups along the other are read")
			}
			loss := quanttest.Objective(p, whole)
			if loop && !(loss < .8*last) {
				t.Errorf("along %d: objective %g, %g without the loop", along, loss, last)
			}
			last = loss
			if loop && along == quant.AlongRows {
				gptq := solve.NewGPTQ(quant.Format{Bits: 4, Affine: true, Group: 16})
				gptq.Scale.Rule = grid.SearchHessian
				if !quanttest.Equal(whole, quanttest.Quantize(t, gptq, p).Dequantize()) {
					t.Error("groups along rows are not GPTQ's")
				}
			}
		}
	}
	p := quanttest.Problem(t, n, k, 11)
	p.Weights.Row(3)[7] = float32(math.Inf(1))
	if _, err := (AdaDim{Bits: 4, Group: 16, Scale: grid.Scale{Rule: grid.AbsMax}}).Quantize(p); err == nil ||
		!strings.Contains(err.Error(), "weight [3,7]") {
		t.Errorf("error %v", err)
	}
}
