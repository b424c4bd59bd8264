package solve

import (
	"math"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
)

// TestFormatsGolden compares with what bitsandbytes, ml_dtypes and numpy made of
// the same matrices.
func TestFormatsGolden(t *testing.T) {
	golden := quanttest.ReadFormats(t)
	for b, want := range golden.E4M3 {
		if got := half.FromE4M3(uint8(b)); got != want {
			t.Errorf("E4M3 %#x is %g, want %g", b, got, want)
		}
	}

	w := gemm.NewMatrix(6, 128)
	quanttest.Integers(w, 7)
	for i := range w.Rows {
		for j := range w.Cols {
			w.Row(i)[j] *= float32(math.Exp2(float64(3 - 4*i)))
		}
	}
	clear(w.Row(1)[32:64])
	w.Row(2)[5] = 61
	groups := map[string]int{"nf4": 64, "bnbfp4": 64, "fp4": 32, "mxfp4": 32, "nvfp4": 16}
	if len(golden.Values) != len(groups) {
		t.Fatal("the golden file lacks something")
	}
	for name, want := range golden.Values {
		f, err := quant.ParseFormat(name, groups[name])
		if err != nil {
			t.Fatal(err)
		}
		got := quanttest.Quantize(t, RTN{f, grid.Scale{Rule: grid.AbsMax}}, quant.Problem{Name: "golden", Weights: w}).Dequantize()
		bad := 0
		for i, v := range got.Data {
			// One more rounding of a product in float32 is allowed for, and that
			// bitsandbytes has four decimals of its FP4 levels on the CPU.
			tol := 1.2e-7 * math.Abs(float64(want[i]))
			if name == "bnbfp4" {
				tol = 5e-5 * float64(quanttest.LargestOf(w.Row(i / 128)[i%128/64*64:][:64]))
			}
			if d := float64(v - want[i]); !(math.Abs(d) <= tol) {
				if bad++; bad < 4 {
					t.Errorf("%s: weight %d, %g, is %g, want %g", name, i, w.Data[i], v, want[i])
				}
			}
		}
	}

	d := gemm.NewMatrix(16, 1536)
	quanttest.Integers(d, 31)
	for i := range d.Data {
		d.Data[i] *= float32(1 + i/64%13)
	}
	dq := quanttest.Quantize(t, RTN{quant.Format{Bits: 4, Group: 64, Kind: quant.NF4DQ}, grid.Scale{Rule: grid.AbsMax}}, quant.Problem{Name: "golden", Weights: d}).Base
	if len(golden.NF4DQ) != len(dq.ScaleBytes) {
		t.Fatalf("%d scales, want %d", len(dq.ScaleBytes), len(golden.NF4DQ))
	}
	for i, want := range golden.NF4DQ {
		got, _ := dq.Scale(i/24, i%24, 24)
		quanttest.Near(t, "a scale of double quantization", got, want, 1e-6)
	}
}
