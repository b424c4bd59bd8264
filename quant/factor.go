package quant

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/lapack/lapack64"
)

// ErrSingular says that the damped H is not positive definite. More calibration
// tokens or more damping help.
var ErrSingular = errors.New("H is not positive definite")

// inverseFactor returns U [K,K], upper triangular with H⁻¹ = UᵀU, for H with
// rows and columns taken in the given order and damping·mean(h) added to the
// diagonal. Dead channels (h = 0, so the whole row is zero) get the mean as
// their diagonal: no error reaches or leaves them.
//
// GPTQ's Algorithm 1 inverts H and factors the inverse. Factoring H from its
// last row upwards, H = R·Rᵀ with R upper triangular, gives the same U = R⁻¹ in
// half the work and without forming the inverse. All in float64.
func inverseFactor(m *Moments, order []int, damping float64) (u []float64, dead int, err error) {
	k := m.K
	var mean float64
	for j := range k {
		if h := m.H[j*k+j]; h > 0 {
			mean += h
		} else {
			dead++
		}
	}
	if live := k - dead; live > 0 {
		mean /= float64(live)
	}
	// Reversed in both directions, the lower Cholesky factor is R.
	a := make([]float64, k*k)
	for i := range k {
		src := m.H[order[k-1-i]*k : order[k-1-i]*k+k]
		row := a[i*k : (i+1)*k]
		for j := range i + 1 {
			row[j] = src[order[k-1-j]]
		}
		if row[i] == 0 {
			row[i] = mean
		}
		row[i] += damping * mean
	}
	sym := blas64.Symmetric{Uplo: blas.Lower, N: k, Stride: k, Data: a}
	if _, ok := lapack64.Potrf(sym); !ok {
		return nil, dead, fmt.Errorf("%w (K=%d, %d tokens, damping %g)", ErrSingular, k, m.Tokens, damping)
	}
	tri := blas64.Triangular{Uplo: blas.Lower, Diag: blas.NonUnit, N: k, Stride: k, Data: a}
	if !lapack64.Trtri(tri) {
		return nil, dead, fmt.Errorf("%w (K=%d, %d tokens, damping %g)", ErrSingular, k, m.Tokens, damping)
	}
	u = make([]float64, k*k)
	for i := range k {
		for j := i; j < k; j++ {
			u[i*k+j] = a[(k-1-i)*k+k-1-j]
			if v := u[i*k+j]; math.IsNaN(v) || math.IsInf(v, 0) {
				return nil, dead, fmt.Errorf("%w (K=%d, %d tokens, damping %g)", ErrSingular, k, m.Tokens, damping)
			}
		}
	}
	return u, dead, nil
}
