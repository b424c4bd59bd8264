package solve

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/lapack/lapack64"

	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
)

// lapackFactor is U by LAPACK in float64: the lower Cholesky factor of H
// reversed in both directions, inverted.
func lapackFactor(t *testing.T, m *quant.Moments, order []int, damping float64) []float64 {
	k := m.K
	var mean float64
	for _, h := range m.Diag() {
		mean += h / float64(k)
	}
	a := make([]float64, k*k)
	for i := range k {
		for j := range i + 1 {
			a[i*k+j] = m.H[order[k-1-i]*k+order[k-1-j]]
		}
		a[i*k+i] += damping * mean
	}
	_, ok := lapack64.Potrf(blas64.Symmetric{Uplo: blas.Lower, N: k, Stride: k, Data: a})
	if !ok || !lapack64.Trtri(blas64.Triangular{Uplo: blas.Lower, Diag: blas.NonUnit, N: k, Stride: k, Data: a}) {
		t.Fatal("LAPACK finds H singular")
	}
	u := make([]float64, k*k)
	for i := range k {
		for j := i; j < k; j++ {
			u[i*k+j] = a[(k-1-i)*k+k-1-j]
		}
	}
	return u
}

// The blocked factor must be the exact one but for errors of float32 products,
// at every size around the block and whatever the scale of the activations.
func TestFactorAgainstLAPACK(t *testing.T) {
	for _, k := range []int{1, 2, 127, 128, 129, 255, 384, 515} {
		for _, exp := range []int{0, -60, 51} {
			p := quanttest.Problem(t, 1, k, uint64(k))
			for i := range p.Moments.H {
				p.Moments.H[i] = math.Ldexp(p.Moments.H[i], 2*exp)
			}
			for _, actOrder := range []bool{false, true} {
				f, err := newFactor(p.Moments, .01, actOrder)
				if err != nil {
					t.Fatal(err)
				}
				want := lapackFactor(t, p.Moments, f.order, .01)
				for i := range k {
					for j := range k {
						// A row spreads the error of column i over the others. The
						// condition number of H, of the order of 1000 here, times 2^-24.
						if d := math.Abs(f.u[i*k+j] - want[i*k+j]); j >= i && !(d <= 6e-5*want[i*k+i]) {
							t.Fatalf("K=%d, 2^%d, act=%v: U[%d,%d] = %g, want %g (diagonal %g)", k, exp, actOrder, i, j, f.u[i*k+j], want[i*k+j], want[i*k+i])
						}
					}
				}
			}
		}
	}
}

// R·Rᵀ must be H to within what calibration itself rounds, also where H is far
// from well conditioned: 2^-24·√(h_i·h_j) for each of a few roundings.
func TestCholeskyBackwardError(t *testing.T) {
	const k = 384
	p := quanttest.FactorProblem(t, 1, k, .9999)
	a := append([]float64(nil), p.Moments.H...)
	h := p.Moments.Diag()
	if !(triangle{k, a}).cholesky() {
		t.Fatal("not positive definite")
	}
	var worst float64
	for i := range k {
		for j := i; j < k; j++ {
			d := math.Abs(dot(a[i*k+j:(i+1)*k], a[j*k+j:(j+1)*k]) - p.Moments.H[i*k+j])
			worst = max(worst, d/math.Sqrt(h[i]*h[j]))
		}
	}
	t.Logf("largest error %.2f x 2^-24", worst*0x1p24)
	if !(worst < 8*0x1p-24) {
		t.Errorf("largest error of R·Rᵀ is %g, want at most 8 x 2^-24", worst)
	}
}

// Layers of one site share a factor, whichever of them comes first.
func TestFactorIsShared(t *testing.T) {
	m := quanttest.Problem(t, 1, 64, 3).Moments
	var wg sync.WaitGroup
	var got [8]*factor
	for i := range got {
		wg.Go(func() { got[i], _ = factorOf(m, .01, true) })
	}
	wg.Wait()
	for i, f := range got {
		if f == nil || f != got[0] {
			t.Fatalf("caller %d got %p, the first %p", i, f, got[0])
		}
	}
	other, _ := factorOf(m, .02, true)
	natural, _ := factorOf(m, .02, false)
	if other == got[0] || natural == other {
		t.Error("a factor of other settings was given")
	}
	copied := *m
	copied.H = append([]float64(nil), m.H...)
	if f, _ := factorOf(&copied, .02, false); f == natural {
		t.Error("a factor of another H was given")
	}
	if again, _ := factorOf(m, .01, true); fmt.Sprint(again.u) != fmt.Sprint(got[0].u) {
		t.Error("computed again, the factor differs")
	}
}

// A factor that was kept is the one that was computed, bit for bit; what does
// not hold one is an error.
func TestFactorIsKept(t *testing.T) {
	const k = 130
	kept := map[string][]byte{}
	computed := 0
	keep := func(name string, compute func() ([]byte, error)) ([]byte, error) {
		if data, ok := kept[name]; ok {
			return data, nil
		}
		computed++
		data, err := compute()
		kept[name] = data
		return data, err
	}
	p := quanttest.FactorProblem(t, 1, k, .9)
	ones := slices.Repeat([]float32{1}, k)
	var first [2]*factor
	for round := range 2 {
		for i, actOrder := range []bool{false, true} {
			m := p.Moments.Scaled(ones) // which has no factor yet
			m.Keep = keep
			f, err := factorOf(m, .01, actOrder)
			if err != nil {
				t.Fatal(err)
			}
			if round == 0 {
				first[i] = f
			}
			for r := range k {
				a, b := f.u[r*k+r:(r+1)*k], first[i].u[r*k+r:(r+1)*k]
				if !slices.Equal(a, b) || !slices.Equal(f.order, first[i].order) {
					t.Fatalf("act-order %v: row %d of the kept factor differs", actOrder, r)
				}
			}
		}
	}
	m := p.Moments.Scaled(ones)
	m.Keep = keep
	if f, err := factorOf(m, .5, true); err != nil || slices.Equal(f.u, first[1].u) {
		t.Errorf("another damping has the same factor, or none: %v", err)
	}
	if computed != 3 {
		t.Errorf("%d factors were computed, want 3", computed)
	}
	for name, data := range kept {
		for _, n := range []int{0, 7, 8, 23, 24, len(data) / 2, len(data) - 1} {
			if _, err := decodeFactor(data[:n], k); err == nil {
				t.Errorf("%s: truncation to %d bytes is not noticed", name, n)
			}
		}
		if _, err := decodeFactor(data, k+1); err == nil {
			t.Errorf("%s: taken for K=%d", name, k+1)
		}
		bad := slices.Clone(data)
		copy(bad[24:28], bad[28:32]) // a column twice
		if _, err := decodeFactor(bad, k); err == nil {
			t.Errorf("%s: a column that is there twice is not noticed", name)
		}
	}
}
