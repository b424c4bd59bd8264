package quant

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// formatsGolden is what scripts/golden/formats.py wrote.
type formatsGolden struct {
	Values map[string][]float32
	E4M3   []float64
	Any4   []struct {
		Seed                uint64
		FromStart           float64 `json:"from_start"`
		Best, Median, Worst float64
	}
	AWQ   []float64
	NF4DQ []float64
}

// readFormats returns what bitsandbytes, ml_dtypes, scikit-learn and numpy made of
// matrices that tests draw anew.
func readFormats(t *testing.T) (golden formatsGolden) {
	t.Helper()
	data, err := os.ReadFile("../testdata/formats.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.E4M3) != 127 || len(golden.Any4) != 2 || len(golden.AWQ) != 20 {
		t.Fatal("the golden file lacks something")
	}
	return golden
}

// TestFormatsGolden compares with what bitsandbytes, ml_dtypes and numpy made of
// the same matrices.
func TestFormatsGolden(t *testing.T) {
	golden := readFormats(t)
	for b, want := range golden.E4M3 {
		if got := fromE4M3(uint8(b)); got != want {
			t.Errorf("E4M3 %#x is %g, want %g", b, got, want)
		}
	}

	w := gemm.NewMatrix(6, 128)
	integers(w, 7)
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
		f, err := ParseFormat(name, groups[name])
		if err != nil {
			t.Fatal(err)
		}
		got := quantize(t, RTN{f, Scale{Rule: AbsMax}}, Problem{Name: "golden", Weights: w}).Dequantize()
		bad := 0
		for i, v := range got.Data {
			// One more rounding of a product in float32 is allowed for, and that
			// bitsandbytes has four decimals of its FP4 levels on the CPU.
			tol := 1.2e-7 * math.Abs(float64(want[i]))
			if name == "bnbfp4" {
				tol = 5e-5 * float64(largestOf(w.Row(i / 128)[i%128/64*64:][:64]))
			}
			if d := float64(v - want[i]); !(math.Abs(d) <= tol) {
				if bad++; bad < 4 {
					t.Errorf("%s: weight %d, %g, is %g, want %g", name, i, w.Data[i], v, want[i])
				}
			}
		}
	}

	d := gemm.NewMatrix(16, 1536)
	integers(d, 31)
	for i := range d.Data {
		d.Data[i] *= float32(1 + i/64%13)
	}
	dq := quantize(t, RTN{Format{Bits: 4, Group: 64, Kind: NF4DQ}, Scale{Rule: AbsMax}}, Problem{Name: "golden", Weights: d}).Base
	if len(golden.NF4DQ) != len(dq.ScaleBytes) {
		t.Fatalf("%d scales, want %d", len(dq.ScaleBytes), len(golden.NF4DQ))
	}
	for i, want := range golden.NF4DQ {
		got, _ := dq.scale(i/24, i%24, 24)
		near(t, "a scale of double quantization", got, want, 1e-6)
	}
}

// TestKMeansGolden compares k-means with scikit-learn's.
func TestKMeansGolden(t *testing.T) {
	for _, c := range readFormats(t).Any4 {
		u, v, weight := gemm.NewMatrix(1, 128), gemm.NewMatrix(1, 128), gemm.NewMatrix(1, 128)
		integers(u, c.Seed)
		integers(v, c.Seed+10)
		integers(weight, c.Seed+20)
		points := make([]point, 128)
		for j := range points {
			points[j] = point{float64(u.Data[j]*64+v.Data[j]*64+256) / 512 * 15, float64(weight.Data[j]*64+129) / 256}
		}
		sorted := sortedPoints(points)
		l, centers := newLloyd(sorted), make([]float64, 16)
		for i := range centers {
			centers[i] = sorted[4+8*i].value
		}
		for l.step(centers) {
		}
		near(t, "inertia from given centres", inertia(points, centers), c.FromStart, 1e-9)
		var sum float64
		for seed := range uint64(50) {
			got := inertia(points, kmeans(points, 16, rand.New(rand.NewPCG(seed, 0))))
			if !(got > .98*c.Best && got < 1.1*c.Worst) {
				t.Errorf("any4 row %d: inertia %g, scikit-learn reaches %g to %g", c.Seed, got, c.Best, c.Worst)
			}
			sum += got / 50
		}
		near(t, "mean inertia against scikit-learn's median", sum, c.Median, .05)
	}
}

// TestAWQGolden compares the losses of AWQ's search with numpy's.
func TestAWQGolden(t *testing.T) {
	golden := readFormats(t)
	p := Problem{Name: "golden", Weights: gemm.NewMatrix(16, 128)}
	integers(p.Weights, 1)
	x := gemm.NewMatrix(512, 128)
	integers(x, 2)
	for i := range x.Rows {
		for j := 5; j < 128; j += 37 {
			x.Row(i)[j] *= 8
		}
	}
	a := NewAccumulator(128)
	if err := a.Add(x); err != nil {
		t.Fatal(err)
	}
	var err error
	if p.Moments, err = a.Finish(); err != nil {
		t.Fatal(err)
	}
	rtn := RTN{Format{Bits: 4, Affine: true, Group: 32}, Scale{Rule: AbsMax}}
	least := math.Inf(1)
	for i, want := range golden.AWQ {
		least = min(least, want)
		q, err := quantizeScaled(p, rtn, awqScales(p.Moments, float64(i)/20))
		if err != nil {
			t.Fatal(err)
		}
		near(t, "AWQ's loss", objective(p, q.Dequantize()), want, 1e-3)
	}
	near(t, "AWQ's least loss", objective(p, quantize(t, AWQ{rtn, rtn.Format}, p).Dequantize()), least, 1e-3)
}

func inertia(points []point, centers []float64) float64 {
	var sum float64
	for _, p := range points {
		least := math.Inf(1)
		for _, c := range centers {
			least = min(least, (p.value-c)*(p.value-c))
		}
		sum += p.weight * least
	}
	return sum
}

func largestOf(v []float32) (m float32) {
	for _, x := range v {
		m = max(m, x, -x)
	}
	return m
}
