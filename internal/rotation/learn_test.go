package rotation

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

func normal(rows, cols int, seed uint64) gemm.Matrix {
	draw := rand.New(rand.NewPCG(seed, 1))
	x := gemm.NewMatrix(rows, cols)
	for i := range x.Data {
		x.Data[i] = float32(draw.NormFloat64())
	}
	return x
}

// TestKurtosis: of a uniform row 1.8, a Gaussian one 3, a one-hot n, and ±a 1.
func TestKurtosis(t *testing.T) {
	const n = 1 << 16
	rows := gemm.NewMatrix(4, n)
	copy(rows.Row(1), normal(1, n, 3).Data)
	for i := range n {
		rows.Row(0)[i] = float32(i) - (n-1)/2.0
		rows.Row(3)[i] = 1 - 2*float32(i%2)
	}
	rows.Row(2)[7] = -3
	for i, want := range []float64{1.8, 3, n, 1} {
		k, _ := kurtosis(rows.Row(i))
		if !(math.Abs(k-want) < 0.05) {
			t.Errorf("row %d: kurtosis %g, want %g", i, k, want)
		}
	}
	if k, _ := kurtosis(make([]float32, 4)); k != 0 {
		t.Errorf("zeros: kurtosis %g", k)
	}
}

// TestKurtosisGradient: differences of the loss along random directions.
func TestKurtosisGradient(t *testing.T) {
	samples := []gemm.Matrix{normal(5, 8, 1), normal(7, 8, 2)}
	samples[1].Row(2)[3] = 20
	r := Orthogonal(8, 5)
	_, g := kurtosisLoss(samples, r)
	for seed := range uint64(5) {
		d := normal(8, 8, 10+seed)
		at := func(h float32) float64 {
			moved := r.Clone()
			for i, v := range d.Data {
				moved.Data[i] += h * v
			}
			loss, _ := kurtosisLoss(samples, moved)
			return loss
		}
		const h = 1e-3
		got, want := float64(gemm.Dot(g.Data, d.Data)), (at(h)-at(-h))/(2*h)
		if !(math.Abs(got-want) < 0.01*(0.05+math.Abs(want))) {
			t.Errorf("direction %d: slope %g, want %g", seed, got, want)
		}
	}
}

// TestCayley: a hundred steps leave a matrix orthogonal, and a step lowers what is
// linear in it.
func TestCayley(t *testing.T) {
	r := Orthogonal(24, 1)
	target := Orthogonal(24, 2)
	before := gemm.Dot(r.Data, target.Data)
	g := target.Clone()
	for i := range g.Data {
		g.Data[i] *= -1 // of -<R, target>
	}
	last := before
	for step := range 100 {
		r = Cayley(r, g, 0.2)
		if now := gemm.Dot(r.Data, target.Data); step < 5 && !(now > last) {
			t.Errorf("step %d: %g after %g", step, now, last)
		} else {
			last = now
		}
	}
	rr := gemm.NewMatrix(24, 24)
	gemm.Gemm(true, false, 1, r, r, 0, rr)
	for i := range 24 {
		rr.Row(i)[i]--
	}
	if d := gemm.MaxAbs(rr.Data); !(d < 1e-4) {
		t.Errorf("Rᵀ·R is off by %g", d)
	}
	if !(last > before+5) {
		t.Errorf("from %g to %g", before, last)
	}
}

// TestKurTail: rows with outliers get flatter than a Hadamard transform makes them,
// and the result is orthogonal.
func TestKurTail(t *testing.T) {
	x := normal(64, 32, 4)
	for i := range x.Rows {
		x.Row(i)[3] *= 20
		x.Row(i)[17] *= 10
	}
	start := matrix(NewHadamard(32, 0).Signed(7))
	r := KurTail([]gemm.Matrix{x}, start, 60)
	before, _ := kurtosisLoss([]gemm.Matrix{x}, start)
	after, _ := kurtosisLoss([]gemm.Matrix{x}, r)
	if !(after < 0.8*before) {
		t.Errorf("|kurtosis - 1.8| is %g after %g", after, before)
	}
	rr := gemm.NewMatrix(32, 32)
	gemm.Gemm(true, false, 1, r, r, 0, rr)
	for i := range 32 {
		rr.Row(i)[i]--
	}
	if d := gemm.MaxAbs(rr.Data); !(d < 1e-6) {
		t.Errorf("Rᵀ·R is off by %g", d)
	}
}

// TestPrincipal: the last channels hold the largest share that any subspace of
// their number can, spread over them, and the moments keep their trace.
func TestPrincipal(t *testing.T) {
	const n, top = 16, 2
	x := normal(200, n, 6)
	for i := range x.Rows {
		for j := range n {
			x.Row(i)[j] += 3 * x.Row(i)[0]
		}
	}
	h := make([]float64, n*n)
	gemm.Syrk(h, x)
	for i := range n {
		for j := range i {
			h[i*n+j] = h[j*n+i]
		}
	}
	r, err := Principal(h, n, top, 3)
	if err != nil {
		t.Fatal(err)
	}
	y := gemm.NewMatrix(x.Rows, n)
	gemm.Gemm(false, false, 1, x, r, 0, y)
	energy := make([]float64, n)
	for i := range y.Rows {
		for j, v := range y.Row(i) {
			energy[j] += float64(v) * float64(v)
		}
	}
	var eigen mat.EigenSym
	eigen.Factorize(mat.NewSymDense(n, h), false)
	values := eigen.Values(nil)
	var trace, sum float64
	for j := range n {
		trace += h[j*n+j]
		sum += energy[j]
	}
	if got, want := energy[n-1]+energy[n-2], values[n-1]+values[n-2]; !(math.Abs(got-want) < 1e-3*want) {
		t.Errorf("the last channels hold %g, want %g", got, want)
	}
	if !(math.Abs(sum-trace) < 1e-4*trace) {
		t.Errorf("the trace is %g, was %g", sum, trace)
	}
	if a, b := energy[n-1], energy[n-2]; a < b/50 || b < a/50 {
		t.Errorf("the subspace is not turned: %g and %g", a, b)
	}
}
