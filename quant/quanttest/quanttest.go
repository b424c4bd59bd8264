package quanttest

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/quant"
)

// FactorProblem draws W [n,k] and 4k tokens whose channels share 64 random
// factors: a part shared of each channel's variance comes from them, the rest
// is its own. One channel in a hundred is 20 times as strong.
func FactorProblem(t testing.TB, n, k int, shared float64) quant.Problem {
	t.Helper()
	r := rand.New(rand.NewPCG(19, 1))
	draw := func(rows, cols int, scale float64) quant.Matrix {
		m := gemm.NewMatrix(rows, cols)
		for i := range m.Data {
			m.Data[i] = float32(scale * r.NormFloat64())
		}
		return m
	}
	mix, own := draw(64, k, math.Sqrt(shared/64)), float32(math.Sqrt(1-shared))
	x := draw(4*k, k, 1)
	gemm.Gemm(false, false, 1, draw(4*k, 64, 1), mix, own, x)
	for i := range x.Rows {
		for j := 50; j < k; j += 100 {
			x.Row(i)[j] *= 20
		}
	}
	a := quant.NewAccumulator(k)
	if err := a.Add(x); err != nil {
		t.Fatal(err)
	}
	m, err := a.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return quant.Problem{Name: "layer", Weights: draw(n, k, 1), Moments: m}
}

func LargestOf(v []float32) (m float32) {
	for _, x := range v {
		m = max(m, x, -x)
	}
	return m
}

// Integers repeats the generator of scripts/golden/gptq.py.
func Integers(m quant.Matrix, seed uint64) {
	for i := range m.Data {
		seed = 6364136223846793005*seed + 1442695040888963407
		m.Data[i] = float32(int(seed>>56)-128) / 64
	}
}

// Problem draws W [n,k] and moments of correlated inputs with a few strong
// channels, from 4k tokens.
func Problem(t testing.TB, n, k int, seed uint64) quant.Problem {
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
	a := quant.NewAccumulator(k)
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
	return quant.Problem{Name: "layer", Weights: w, Moments: m, Seed: seed}
}

func Quantize(t testing.TB, m quant.Quantizer, p quant.Problem) *quant.Quantized {
	t.Helper()
	q, err := m.Quantize(p)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// Objective is tr(E·H·Eᵀ) in float64 by three loops.
func Objective(p quant.Problem, wq quant.Matrix) float64 {
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

func Near(t *testing.T, what string, got, want, tol float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tol*math.Abs(want)) {
		t.Errorf("%s: got %g, want %g to %g", what, got, want, tol)
	}
}

func Equal(a, b quant.Matrix) bool {
	for i := range a.Rows {
		for j, v := range a.Row(i) {
			if v != b.Row(i)[j] {
				return false
			}
		}
	}
	return a.Rows == b.Rows && a.Cols == b.Cols
}

func Drawn(n, k int, seed uint64) quant.Matrix {
	m := gemm.NewMatrix(n, k)
	Integers(m, seed)
	return m
}

func MomentsOf(t *testing.T, x quant.Matrix) *quant.Moments {
	t.Helper()
	a := quant.NewAccumulator(x.Cols)
	if err := a.Add(x); err != nil {
		t.Fatal(err)
	}
	m, err := a.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Differing counts the elements of got that are not want to a relative tol.
func Differing(t *testing.T, got []float32, want []float64, tol float64) (n int) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d values, want %d", len(got), len(want))
	}
	for i, v := range got {
		if !(math.Abs(float64(v)-want[i]) <= tol*math.Abs(want[i])) {
			n++
		}
	}
	return n
}

// Correlated repeats the problem of that name in published.py.
func Correlated(t *testing.T) quant.Problem {
	t.Helper()
	x := Drawn(768, 256, 2)
	for i := range x.Rows {
		row := x.Row(i)
		for j := 255; j > 0; j-- {
			row[j] += row[j-1] / 2
		}
		for j := 5; j < 256; j += 37 {
			row[j] *= 4
		}
	}
	return quant.Problem{Name: "golden", Weights: Drawn(16, 256, 1), Moments: MomentsOf(t, x)}
}
