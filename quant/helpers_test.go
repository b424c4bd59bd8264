package quant

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// problem draws W [n,k] and moments of correlated inputs with a few strong
// channels, from 4k tokens.
func problem(t testing.TB, n, k int, seed uint64) Problem {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	x := gemm.NewMatrix(4*k, k)
	for i := range x.Rows {
		row, last := x.Row(i), 0.0
		for j := range row {
			last = 0.8*last + 0.6*r.NormFloat64()
			row[j] = float32(last)
			if j%37 == 5 {
				row[j] *= 8
			}
		}
	}
	a := NewAccumulator(k)
	if err := a.Add(x); err != nil {
		t.Fatal(err)
	}
	m, err := a.Finish()
	if err != nil {
		t.Fatal(err)
	}
	w := gemm.NewMatrix(n, k)
	for i := range w.Data {
		w.Data[i] = float32(r.NormFloat64())
	}
	return Problem{Name: "layer", Weights: w, Moments: m, Seed: seed}
}

func quantize(t testing.TB, m Quantizer, p Problem) *Quantized {
	t.Helper()
	q, err := m.Quantize(p)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// objective is tr(E·H·Eᵀ) in float64 by three loops.
func objective(p Problem, wq Matrix) float64 {
	var sum float64
	for i := range wq.Rows {
		a, b := p.Weights.Row(i), wq.Row(i)
		for j := range a {
			var s float64
			for l := range a {
				s += p.Moments.H[j*p.Moments.K+l] * (float64(a[l]) - float64(b[l]))
			}
			sum += s * (float64(a[j]) - float64(b[j]))
		}
	}
	return sum
}

func near(t *testing.T, what string, got, want, tol float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tol*math.Abs(want)) {
		t.Errorf("%s: got %g, want %g to %g", what, got, want, tol)
	}
}

func equal(a, b Matrix) bool {
	for i := range a.Rows {
		for j, v := range a.Row(i) {
			if v != b.Row(i)[j] {
				return false
			}
		}
	}
	return a.Rows == b.Rows && a.Cols == b.Cols
}
