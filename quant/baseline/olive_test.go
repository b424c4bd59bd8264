package baseline

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
)

// TestOliVePublished: borders, the choice of levels and weights are those of the authors'
// quant_modules.py, but for the rounding of borders to half precision.
func TestOliVePublished(t *testing.T) {
	data, err := os.ReadFile("../testdata/olive.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Cases []struct {
			Power, Outliers float64
			Mode, Chosen    string
			Alpha, Values   []float64
		}
	}
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.Cases) != 6 {
		t.Fatalf("%d cases", len(golden.Cases))
	}
	const n, k = 8, 128
	for _, c := range golden.Cases {
		w := quanttest.Drawn(n, k, 41)
		for i := range n {
			for j, v := range w.Row(i) {
				v := math.Sinh(c.Power*float64(v)) / c.Power
				if i == 2 {
					v *= .01
				}
				if j%40 == 5 {
					v *= c.Outliers
				}
				w.Row(i)[j] = float32(v)
			}
		}
		p := quant.Problem{Name: c.Mode, Weights: w}
		base, _, err := paired(p, quant.Format{Bits: 4, Kind: quant.Pairs}, c.Chosen == "flint")
		if c.Mode == "ant-int-flint" {
			base = quanttest.Quantize(t, OliVe{}, p).Base
		}
		if err != nil || (base.Tables[0] == 1) != (c.Chosen == "flint") {
			t.Fatalf("%s: levels %d, want %s: %v", c.Mode, base.Tables[0], c.Chosen, err)
		}
		top := quant.PairTop(base.Tables[0] == 1)
		for i, want := range c.Alpha {
			if got := float64(half.FromF16(base.Scales[i])) * top; !(math.Abs(got-want) < 1e-3*want) {
				t.Errorf("%s: border of row %d at %g, want %g", c.Mode, i, got, want)
			}
		}
		differ, outliers := quanttest.Differing(t, (&quant.Quantized{Base: base}).Dequantize().Data, c.Values, 1e-3), 0
		for i := range c.Values {
			if math.Abs(c.Values[i]) > 1.01*c.Alpha[i/k]/top {
				outliers++
			}
		}
		t.Logf("%s: %d of %d values differ, %d are outliers", c.Mode, differ, n*k, outliers)
		if differ > 0 || c.Outliers > 1 && outliers < n {
			t.Errorf("%s: %d of %d values differ, %d are outliers", c.Mode, differ, n*k, outliers)
		}
	}
}

// TestOliVePairs: of two outliers the first stays, a victim is 0 and says so, and every
// pair of codes decodes to what it was chosen for; the ledger is 4 bits for a weight, a
// scale for each group and two bytes.
func TestOliVePairs(t *testing.T) {
	for _, flint := range []bool{false, true} {
		l := quant.PairLevels(flint)
		w := gemm.NewMatrix(len(l.Value), 2*len(l.Value))
		base := quant.NewPacked(w.Rows, w.Cols, quant.Format{Bits: 4, Kind: quant.Pairs})
		if flint {
			base.Tables[0] = 1
		}
		border := float64(quant.PairTop(flint))
		for i, a := range l.Value {
			codes := make([]uint8, w.Cols)
			for j, b := range l.Value {
				codes[2*j], codes[2*j+1] = pairCodes(l, float32(a), float32(b), 1)
				if math.Abs(a) > border {
					b = 0
				} else if math.Abs(b) > border {
					a = 0
				}
				w.Row(i)[2*j], w.Row(i)[2*j+1] = float32(a), float32(b)
				a = l.Value[i]
			}
			quant.PackBits(base.Codes[i*w.Cols/2:(i+1)*w.Cols/2], codes, 4)
			base.Scales[i] = half.ToF16(1)
		}
		if !quanttest.Equal((&quant.Quantized{Base: base}).Dequantize(), w) {
			t.Errorf("flint %v: pairs decode to others", flint)
		}
	}
	p := quanttest.Problem(t, 6, 100, 2)
	for _, group := range []int{0, 32} {
		q := quanttest.Quantize(t, OliVe{Group: group}, p)
		groups := 1
		if group > 0 {
			groups = 4
		}
		if got, want := q.Ledger().Total(), int64(6*50+6*2*groups+2); got != want {
			t.Errorf("group %d: %d bytes, want %d", group, got, want)
		}
		bad := *q.Base
		bad.Codes = append([]byte{0x88}, bad.Codes[1:]...)
		data, _ := (&quant.Quantized{Base: &bad}).MarshalBinary()
		if err := new(quant.Quantized).UnmarshalBinary(data); err == nil {
			t.Error("a pair of two victims is read")
		}
	}
	odd := quanttest.Problem(t, 6, 99, 2)
	if _, err := (OliVe{}).Quantize(odd); err == nil {
		t.Error("a column without a partner passes")
	}
}

// TestOliVeYardstick: normal weights with a scale for each row have the signal-to-noise ratio
// of an independent simulation, 19.0 dB.
func TestOliVeYardstick(t *testing.T) {
	draw := rand.New(rand.NewPCG(7, 8))
	w := gemm.NewMatrix(16, 4096)
	var energy float64
	for i := range w.Data {
		w.Data[i] = float32(draw.NormFloat64())
		energy += float64(w.Data[i]) * float64(w.Data[i])
	}
	lost, _ := quant.WeightError(w, quanttest.Quantize(t, OliVe{}, quant.Problem{Name: "w", Weights: w}))
	if snr := 10 * math.Log10(energy/lost); !(math.Abs(snr-19.0) < .2) {
		t.Errorf("%.2f dB", snr)
	}
}
