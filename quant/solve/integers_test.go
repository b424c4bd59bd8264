package solve_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// TestGoldenIntegers: formats of integers make of a matrix what scripts/golden/integers.py
// says.
func TestGoldenIntegers(t *testing.T) {
	const n, k = 4, 64
	data, err := os.ReadFile("../testdata/integers.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden map[string][]float64
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden) != 19 {
		t.Fatalf("%d formats", len(golden))
	}
	w := gemm.NewMatrix(n, k)
	seed := uint64(21)
	for i := range w.Data {
		seed = 6364136223846793005*seed + 1442695040888963407
		w.Data[i] = float32(int(seed>>56)-128) / 1024
	}
	for i := range n {
		w.Row(i)[3] *= 6
	}
	clear(w.Row(2)[16:32])
	for name, want := range golden {
		kind, rule, _ := strings.Cut(name, " ")
		group := 32
		if kind == "nvint4" || kind == "if4" {
			group = 16
		}
		f, err := quant.ParseFormat(kind, group)
		if err != nil {
			t.Fatal(err)
		}
		rtn := solve.RTN{Format: f, Scale: grid.Scale{Rule: grid.ScaleRule(rule)}}
		if rule == "mse" {
			rtn.Scale.Norm = 2
		}
		q, err := rtn.Quantize(quant.Problem{Name: name, Weights: w})
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range q.Dequantize().Data {
			if d := math.Abs(float64(v) - want[i]); !(d <= 1e-6*math.Abs(want[i])) {
				t.Fatalf("%s: weight [%d,%d] of %g is %g, want %g", name, i/k, i%k, w.Data[i], v, want[i])
			}
		}
	}
}

// TestIntegerYardsticks: normal weights are stored with the signal-to-noise ratios, in
// dB, that independent simulations give.
func TestIntegerYardsticks(t *testing.T) {
	draw := rand.New(rand.NewPCG(7, 8))
	w := gemm.NewMatrix(64, 4096)
	var energy float64
	for i := range w.Data {
		w.Data[i] = float32(draw.NormFloat64())
		energy += float64(w.Data[i]) * float64(w.Data[i])
	}
	for _, c := range []struct {
		kind  string
		group int
		rule  grid.ScaleRule
		want  float64
	}{
		{"mxint4", 32, grid.AbsMax, 17.55}, {"mxint4", 32, grid.Ceil, 16.82}, {"nvint4", 16, grid.AbsMax, 21.27},
		{"seq4", 128, grid.AbsMax, 19.67}, {"seq4", 0, grid.AbsMax, 17.17},
		{"mxint8", 32, grid.AbsMax, 41.7}, {"mxfp8", 32, grid.AbsMax, 30.6}, {"mxfp8", 32, grid.Ceil, 31.5},
		{"any4", 128, grid.SearchMSE, 21.07}, {"any3", 128, grid.SearchMSE, 14.97}, {"any2", 128, grid.SearchMSE, 9.23},
		{"sdr4", 16, grid.AbsMax, 18.6}, {"mxfp6", 32, grid.AbsMax, 25.4}, {"mxfp6e2m3", 32, grid.AbsMax, 30.9},
		{"mxfp6", 32, grid.Ceil, 25.5}, {"fp8e5m2", 0, grid.AbsMax, 25.57},
		{"fp8", 0, grid.AbsMax, 31.55}, {"fp6", 0, grid.AbsMax, 25.6}, {"fp6e2m3", 0, grid.AbsMax, 30.9},
	} {
		f, err := quant.ParseFormat(c.kind, c.group)
		if err != nil {
			t.Fatal(err)
		}
		scale := grid.Scale{Rule: c.rule}
		if c.rule == grid.SearchMSE {
			scale.Norm = 2
		}
		q, err := solve.RTN{Format: f, Scale: scale}.Quantize(quant.Problem{Name: c.kind, Weights: w})
		if err != nil {
			t.Fatal(err)
		}
		lost, _ := quant.WeightError(w, q)
		if snr := 10 * math.Log10(energy/lost); !(math.Abs(snr-c.want) < 0.15) {
			t.Errorf("%s %s: %.2f dB, want %g", f, c.rule, snr, c.want)
		}
	}
}

// TestIntegerBits: formats take the bits that they say, to the byte.
func TestIntegerBits(t *testing.T) {
	const n, k = 16, 512
	p := quanttest.Problem(t, n, k, 3)
	for _, c := range []struct {
		name  string
		group int
		bytes int // beside codes
		bits  int
	}{
		{"any3", 128, n*4*4 + n*8*2, 3}, {"any2", 64, n*8*4 + n*4*2, 2}, {"power4", 64, n*8*2 + 4, 4},
		{"fireq4", 128, n*4 + 4, 4}, {"sdr4", 16, n*32/2 + n*2, 4}, {"hqq4", 64, n * 8 * 4, 4},
		{"if4", 16, n*32 + 4, 4}, {"mxfp6", 32, n * 16, 6}, {"fp8e5m2", 0, n * 2, 8},
	} {
		f, err := quant.ParseFormat(c.name, c.group)
		if err != nil {
			t.Fatal(err)
		}
		q, err := solve.RTN{Format: f, Scale: grid.Scale{Rule: grid.AbsMax}}.Quantize(p)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := q.Ledger().Total(), int64(n*k*c.bits/8+c.bytes); got != want {
			t.Errorf("%s: %d bytes, want %d", c.name, got, want)
		}
	}
}

// TestQoQStaysInInt8: whatever GPTQ and refinement make of codes and scales, a code times
// its multiple is within ±127, which a kernel of int8 products needs.
func TestQoQStaysInInt8(t *testing.T) {
	const n, k = 16, 128
	draw := rand.New(rand.NewPCG(9, 8))
	w, x := gemm.NewMatrix(n, k), gemm.NewMatrix(4*k, k)
	for i := range w.Data {
		w.Data[i] = float32(draw.NormFloat64() * math.Exp(2*draw.NormFloat64()))
	}
	clear(w.Row(3))
	for i := range x.Rows {
		common := 3 * draw.NormFloat64()
		for j := range k {
			x.Row(i)[j] = float32(draw.NormFloat64() + common)
		}
	}
	sums := quant.NewAccumulator(k)
	if err := sums.Add(x); err != nil {
		t.Fatal(err)
	}
	m, err := sums.Finish()
	if err != nil {
		t.Fatal(err)
	}
	f, err := quant.ParseFormat("qoq4", 16)
	if err != nil {
		t.Fatal(err)
	}
	for _, refine := range []int{0, 4} {
		g := solve.NewGPTQ(f)
		g.Refine = refine
		q, err := g.Quantize(quant.Problem{Name: "w", Weights: w, Moments: m})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := q.Ledger().Total(), int64(n*k/2+n*8+n*4+2*n); got != want {
			t.Errorf("%d bytes, want %d", got, want)
		}
		hat := q.Dequantize()
		for i := range n {
			step := math.Abs(float64(maxAbs(w.Row(i)))) / 119
			for j, v := range hat.Row(i) {
				if step == 0 && v != 0 || step > 0 && math.Abs(float64(v)) > 127.2*step {
					t.Fatalf("refine %d: weight [%d,%d] is %g, %g steps", refine, i, j, v, float64(v)/step)
				}
			}
		}
	}
}

func maxAbs(v []float32) float32 { return gemm.MaxAbs(v) }

// TestIntScale: the whole product is exact in integers; scales far apart raise the
// amplifier; and a row whose sums could exceed int32 is refused.
func TestIntScale(t *testing.T) {
	f, err := quant.ParseFormat("intscale4", 32)
	if err != nil {
		t.Fatal(err)
	}
	rtn := solve.RTN{Format: f, Scale: grid.Scale{Rule: grid.AbsMax}}
	draw := rand.New(rand.NewPCG(2, 8))
	w := gemm.NewMatrix(4, 128)
	for i := range w.Data {
		w.Data[i] = float32(.02 * draw.NormFloat64())
	}
	for j := range 32 {
		w.Row(1)[j] *= .001
	}
	q, err := rtn.Quantize(quant.Problem{Name: "w", Weights: w})
	if err != nil {
		t.Fatal(err)
	}
	search := solve.RTN{Format: f, Scale: grid.Scale{Rule: grid.SearchMSE, Norm: 2}}
	searched, err := search.Quantize(quant.Problem{Name: "w", Weights: w})
	if err != nil {
		t.Fatal(err)
	}
	a, _ := quant.WeightError(w, searched)
	if b, _ := quant.WeightError(w, q); !(a < .95*b) {
		t.Errorf("squared error %g with scales that are searched, %g without", a, b)
	}
	amplifier := 1 / float64(q.Base.Tensor[0])
	if _, e := math.Frexp(amplifier); math.Ldexp(1, e-1) != amplifier || !(amplifier > 1024) {
		t.Errorf("amplifier %g", amplifier)
	}
	hat := q.Dequantize()
	for i := range hat.Rows {
		var sum int64
		var want float64
		for j, v := range hat.Row(i) {
			x := int64(j*37%255 - 127)
			code := int64(quant.CodeAt(q.Base.Codes[i*64:(i+1)*64], j, 4)) - 8
			sum += x * code * int64(q.Base.Scales[i*4+j/32])
			want += float64(x) * float64(v)
		}
		if got := float64(sum) / amplifier; !(math.Abs(got-want) <= 1e-9+1e-6*math.Abs(want)) || sum > 1<<31-1 {
			t.Errorf("row %d: %g in integers, %g in floats", i, got, want)
		}
	}
	for j := range 32 {
		w.Row(2)[j] = 1e6
	}
	if _, err := rtn.Quantize(quant.Problem{Name: "w", Weights: w}); err == nil {
		t.Error("scales beyond int32 pass")
	}
}
