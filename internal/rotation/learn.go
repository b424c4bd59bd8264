package rotation

import (
	"errors"
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/mat"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// Uniform is the kurtosis of the uniform distribution, which a grid of equal steps
// suits best.
const Uniform = 1.8

// Kurtosis returns the mean over the rows of x [M,n] of n·Σx⁴/(Σx²)².
func Kurtosis(x gemm.Matrix) float64 {
	var sum float64
	for i := range x.Rows {
		k, _ := kurtosis(x.Row(i))
		sum += k
	}
	return sum / float64(x.Rows)
}

// kurtosis is that of a row about zero, and its mean square; a row of zeros has 0.
func kurtosis(row []float32) (k, square float64) {
	var second, fourth float64
	for _, v := range row {
		s := float64(v) * float64(v)
		second += s
		fourth += s * s
	}
	if second == 0 {
		return 0, 0
	}
	n := float64(len(row))
	return n * fourth / (second * second), second / n
}

// KurTail learns an orthogonal matrix [n,n] that brings the mean kurtosis of the
// rows x·R of every sample [M,n] near that of the uniform distribution (Akhondzadeh
// et al. 2025, arXiv:2503.01483): it lowers the mean of |kurtosis - 1.8| over the
// samples by steps of the Cayley transform from the matrix start. Of all steps the
// best is kept. The paper's schedule could not be read; the rate falls from 1.5 to
// 0 as a cosine, as SpinQuant's.
func KurTail(samples []gemm.Matrix, start gemm.Matrix, steps int) gemm.Matrix {
	r, best, least := start.Clone(), start, math.Inf(1)
	for step := 0; ; step++ {
		loss, g := kurtosisLoss(samples, r)
		if loss < least {
			best, least = r, loss
		}
		if step == steps {
			return Orthonormal(best)
		}
		r = Cayley(r, g, 1.5*(1+math.Cos(math.Pi*float64(step)/float64(steps)))/2)
	}
}

// kurtosisLoss returns the mean of |kurtosis(x·R) - 1.8| over the samples, and its
// gradient by R.
func kurtosisLoss(samples []gemm.Matrix, r gemm.Matrix) (loss float64, g gemm.Matrix) {
	g = gemm.NewMatrix(r.Rows, r.Cols)
	n := float64(r.Cols)
	for _, x := range samples {
		y := gemm.NewMatrix(x.Rows, r.Cols)
		gemm.Gemm(false, false, 1, x, r, 0, y)
		off := Kurtosis(y) - Uniform
		loss += math.Abs(off) / float64(len(samples))
		weight := math.Copysign(1, off) / float64(len(samples)*x.Rows)
		for i := range y.Rows {
			row := y.Row(i)
			k, v := kurtosis(row)
			if v == 0 {
				continue
			}
			for j, u := range row {
				d := 4 * (float64(u)*float64(u)*float64(u)/(n*v*v) - k*float64(u)/(n*v))
				row[j] = float32(weight * d)
			}
		}
		gemm.Gemm(true, false, 1, x, y, 1, g)
	}
	return loss, g
}

// Cayley returns the orthogonal matrix [n,n] that a step down the gradient g along
// the Stiefel manifold makes of r: five rounds of the fixed-point iteration of the
// Cayley transform (Li et al. 2020, arXiv:2002.01113), without momentum, with a step
// of rate or what makes the iteration contract.
func Cayley(r, g gemm.Matrix, rate float64) gemm.Matrix {
	n := r.Rows
	product := func(transA, transB bool, a, b gemm.Matrix) gemm.Matrix {
		c := gemm.NewMatrix(n, n)
		gemm.Gemm(transA, transB, 1, a, b, 0, c)
		return c
	}
	b := product(true, false, g, r) // Gᵀ·R
	projected := product(false, false, product(true, false, r, r), b)
	a := gemm.NewMatrix(n, n)
	for i := range n {
		for j := range n {
			// B = -GᵀR + RᵀR·GᵀR/2, A = B - Bᵀ
			a.Row(i)[j] = -b.Row(i)[j] + projected.Row(i)[j]/2 + b.Row(j)[i] - projected.Row(j)[i]/2
		}
	}
	step := float32(min(rate, 1/(columnSum(a)+1e-8)))
	x := transpose(r)
	y := x.Clone()
	for i := range n {
		for j := range n {
			y.Row(i)[j] -= step * g.Row(j)[i]
		}
	}
	for range 5 {
		mean := gemm.NewMatrix(n, n)
		for i := range mean.Data {
			mean.Data[i] = (x.Data[i] + y.Data[i]) / 2
		}
		next := x.Clone()
		gemm.Gemm(false, false, step, a, mean, 1, next)
		y = next
	}
	return transpose(y)
}

// columnSum is the largest sum of magnitudes in a column.
func columnSum(a gemm.Matrix) (most float64) {
	for j := range a.Cols {
		var sum float64
		for i := range a.Rows {
			sum += math.Abs(float64(a.Row(i)[j]))
		}
		most = max(most, sum)
	}
	return most
}

// Straighten returns r [n,n] after a step of Newton's iteration for the orthogonal matrix
// nearest to it, r·(3·I - rᵀ·r)/2, which squares how far it is off.
func Straighten(r gemm.Matrix) gemm.Matrix {
	n := r.Rows
	product := gemm.NewMatrix(n, n)
	gemm.Gemm(true, false, -0.5, r, r, 0, product)
	for i := range n {
		product.Row(i)[i] += 1.5
	}
	out := gemm.NewMatrix(n, n)
	gemm.Gemm(false, false, 1, r, product, 0, out)
	return out
}

// Orthonormal returns the orthogonal matrix next to r: what rounding has left of
// orthogonality is restored in float64.
func Orthonormal(r gemm.Matrix) gemm.Matrix {
	n := r.Rows
	m := mat.NewDense(n, n, nil)
	for i := range n {
		for j, v := range r.Row(i) {
			m.Set(i, j, float64(v))
		}
	}
	return float32Of(positiveQ(m))
}

// Principal returns the orthogonal matrix [n,n] whose columns are the eigenvectors
// of the symmetric h [n·n], by rising eigenvalue, the first n-top and the last top of
// them turned by random orthogonal matrices of the seed, so that in either subspace
// no channel is larger than others (ResQ, Saxena et al. 2024, arXiv:2412.14363). As
// there, 1 % of the mean of the diagonal is added to it.
func Principal(h []float64, n, top int, seed uint64) (gemm.Matrix, error) {
	sym := mat.NewSymDense(n, nil)
	var trace float64
	for i := range n {
		trace += h[i*n+i]
		for j := i; j < n; j++ {
			sym.SetSym(i, j, h[i*n+j])
		}
	}
	for i := range n {
		sym.SetSym(i, i, sym.At(i, i)+0.01*trace/float64(n))
	}
	var eigen mat.EigenSym
	if !eigen.Factorize(sym, true) {
		return gemm.Matrix{}, errEigen
	}
	var u, out mat.Dense
	eigen.VectorsTo(&u)
	draw := rand.New(rand.NewPCG(seed, 0x5c))
	turn := mat.NewDense(n, n, nil)
	for _, part := range []struct{ from, n int }{{0, n - top}, {n - top, top}} {
		if part.n == 0 {
			continue
		}
		q := orthogonal(part.n, draw)
		for i := range part.n {
			for j := range part.n {
				turn.Set(part.from+i, part.from+j, q.At(i, j))
			}
		}
	}
	out.Mul(&u, turn)
	return float32Of(&out), nil
}

var errEigen = errors.New("rotation: the eigenvectors of the second moments were not found")
