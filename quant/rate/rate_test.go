package rate

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*math.Max(math.Abs(a), math.Abs(b)) }

// matrix returns a matrix whose rows have the given variances about zero.
func matrix(k int, variances ...float64) quant.Matrix {
	w := gemm.NewMatrix(len(variances), k)
	for i, v := range variances {
		for j := range k {
			w.Row(i)[j] = float32(math.Sqrt(v)) * float32(1-2*(j%2))
		}
	}
	return w
}

// TestClosedForm: D = N·K·λσ²·4^-R for equal components, and what water-filling gives by
// hand for two of them.
func TestClosedForm(t *testing.T) {
	s, err := New(matrix(4, 9, 9), []float64{2, 2, 2, 2})
	if err != nil {
		t.Fatal(err)
	}
	for _, bits := range []float64{0, 0.5, 1, 4, 8} {
		if got, want := s.Distortion(bits), 8*18*math.Pow(4, -bits); !near(got, want) {
			t.Errorf("%g bits: %g, want %g", bits, got, want)
		}
	}
	s, err = New(matrix(2, 1), []float64{1, 16})
	if err != nil {
		t.Fatal(err)
	}
	// Up to 1 bit a weight (½·log₂16 = 2 bits) the large component has all of them.
	if got := s.Distortion(0.5); !near(got, 1+4) {
		t.Errorf("half a bit: %g, want 5", got)
	}
	// From there both share: the water is 4^-(2b-2)/2 for b bits a weight.
	if got := s.Distortion(3); !near(got, 2*math.Sqrt(16)*math.Pow(4, -3)) {
		t.Errorf("3 bits: %g, want %g", got, 8*math.Pow(4, -3))
	}
	if got := s.Distortion(0); !near(got, 17) {
		t.Errorf("0 bits: %g, want 17", got)
	}
}

// TestInverse: Bits undoes Distortion.
func TestInverse(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		var variances, eigenvalues []float64
		for range 1 + rng.IntN(6) {
			variances = append(variances, math.Exp(4*rng.NormFloat64()))
		}
		k := 1 + rng.IntN(20)
		for range k {
			eigenvalues = append(eigenvalues, math.Exp(4*rng.NormFloat64()))
		}
		s, err := New(matrix(k, variances...), eigenvalues)
		if err != nil {
			t.Fatal(err)
		}
		for _, bits := range []float64{0.1, 2, 4.5} {
			if got := s.Bits(s.Distortion(bits)); math.Abs(got-bits) > 1e-6 {
				t.Errorf("%g bits came back as %g", bits, got)
			}
		}
	}
}

// TestScalar: rounding normal weights to the nearest of 2^8 values loses what theory says
// of a uniform quantizer without entropy coding, and never reaches the bound.
func TestScalar(t *testing.T) {
	const n, k, tokens = 64, 64, 64 * 64
	rng := rand.New(rand.NewPCG(3, 4))
	w, x := gemm.NewMatrix(n, k), gemm.NewMatrix(tokens, k)
	for _, m := range []gemm.Matrix{w, x} {
		for i := range m.Data {
			m.Data[i] = float32(rng.NormFloat64())
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
	values, err := Eigenvalues(m, 0)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(w, values)
	if err != nil {
		t.Fatal(err)
	}
	q, err := solve.RTN{Format: quant.Format{Bits: 8}, Scale: grid.Scale{Rule: grid.AbsMax}}.Quantize(quant.Problem{Weights: w, Moments: m})
	if err != nil {
		t.Fatal(err)
	}
	lost := quant.OutputError(w, q, m)
	db := 10 * math.Log10(lost/s.Distortion(8))
	// Steps of 2.5σ·2/255 (the largest of 64 normal weights is near 2.5σ) have an error of
	// step²/12: 9.0 dB above 4^-8.
	step := 2 * 2.5 / 255.0
	if want := 10 * math.Log10(step*step/12*math.Pow(4, 8)); math.Abs(db-want) > 1 {
		t.Errorf("%.2f dB above the bound, want about %.2f", db, want)
	}
	if ScalarLoss < 1.53 || ScalarLoss > 1.54 || db < ScalarLoss {
		t.Errorf("scalar loss %.3f dB, measured %.3f", ScalarLoss, db)
	}
}

func TestRefuses(t *testing.T) {
	if _, err := New(matrix(2, 0, 0), []float64{1, 1}); err == nil {
		t.Error("weights of zero passed")
	}
	if _, err := New(matrix(2, 1), []float64{1}); err == nil {
		t.Error("too few eigenvalues passed")
	}
	_, err := Eigenvalues(&quant.Moments{K: 2, Tokens: 19, H: []float64{1, 0, 0, 1}}, 0.01)
	if err == nil || !strings.Contains(err.Error(), "from 19 tokens") {
		t.Errorf("19 tokens for 2 columns: %v", err)
	}
}
