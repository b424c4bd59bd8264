package solve

import (
	"errors"
	"fmt"
	"math"
	"sort"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/quant"
)

// ErrSingular says that the damped H is not positive definite. More calibration
// tokens or more damping help.
var ErrSingular = errors.New("H is not positive definite")

// factor is what GPTQ needs of H.
type factor struct {
	order []int     // order[i] is the column of W that comes i-th
	u     []float64 // [K,K] upper triangular: H⁻¹ = UᵀU in that order
	dead  int       // channels with h = 0
}

// settings are what a factor depends on beside H.
type settings struct {
	damping  float64
	actOrder bool
}

// factorOf returns the factor of H for the given damping and order. Layers that
// read the same activations (q, k and v; gate and up) share one: m keeps the
// last factor, 8·K² bytes beside the 8·K² of H, until another one is asked for
// or m goes. Moments that were put together by hand keep none. Safe for
// concurrent use; whoever comes second waits for the first.
func factorOf(m *quant.Moments, damping float64, actOrder bool) (*factor, error) {
	f, err := m.Derived(settings{damping, actOrder}, func() (any, error) { return keptFactor(m, damping, actOrder) })
	if err != nil {
		return nil, err
	}
	return f.(*factor), nil
}

// keptFactor is newFactor through m.Keep.
func keptFactor(m *quant.Moments, damping float64, actOrder bool) (*factor, error) {
	if m.Keep == nil {
		return newFactor(m, damping, actOrder)
	}
	var fresh *factor
	name := fmt.Sprintf("factor damping=%g act-order=%t", damping, actOrder)
	data, err := m.Keep(name, func() (data []byte, err error) {
		if fresh, err = newFactor(m, damping, actOrder); err != nil {
			return nil, err
		}
		return fresh.encode(), nil
	})
	if err != nil || fresh != nil {
		return fresh, err
	}
	f, err := decodeFactor(data, m.K)
	if err != nil { // what was kept is malformed
		return newFactor(m, damping, actOrder)
	}
	return f, nil
}

// newFactor adds damping·mean(h) to the diagonal of H and factors it with rows
// and columns in their own order, or by descending h. Dead channels (h = 0, so
// the whole row is zero) get the mean as their diagonal: no error reaches or
// leaves them.
//
// GPTQ's Algorithm 1 inverts H and factors the inverse. Factoring H from its
// last row upwards, H = R·Rᵀ with R upper triangular, gives the same U = R⁻¹ in
// half the work, without forming the inverse, and in one K x K matrix.
func newFactor(m *quant.Moments, damping float64, actOrder bool) (*factor, error) {
	k := m.K
	f := &factor{order: make([]int, k), u: make([]float64, k*k)}
	h := m.Diag()
	var mean float64
	for i := range k {
		f.order[i] = i
		if h[i] > 0 {
			mean += h[i]
		} else {
			f.dead++
		}
	}
	if live := k - f.dead; live > 0 {
		mean /= float64(live)
	}
	if actOrder {
		sort.SliceStable(f.order, func(a, b int) bool { return h[f.order[a]] > h[f.order[b]] })
	}
	// A mean near 1, by an exact power of 4, keeps float32 products in range.
	_, exp := math.Frexp(mean)
	exp /= 2
	unit := math.Ldexp(1, -2*exp)
	parallel.For(k, func(i int) error {
		src, dst := m.H[f.order[i]*k:(f.order[i]+1)*k], f.u[i*k:(i+1)*k]
		for j := i; j < k; j++ {
			dst[j] = src[f.order[j]] * unit
		}
		if dst[i] == 0 {
			dst[i] = mean * unit
		}
		dst[i] += damping * mean * unit
		return nil
	})
	t := triangle{k, f.u}
	if !t.cholesky() || !t.invert() {
		return nil, fmt.Errorf("%w (K=%d, %d tokens, damping %g)", ErrSingular, k, m.Tokens, damping)
	}
	for i := range f.u { // to the precision that factors are kept in
		f.u[i] = float64(float32(math.Ldexp(f.u[i], -exp)))
	}
	return f, nil
}

// triangle is the upper triangle of a [k,k] matrix; what lies below is neither
// read nor written.
//
// Its algorithms are blocked. The blocks of columnBlock columns along the
// diagonal, and what they are multiplied by, are float64. The products that
// make up nearly all the work, of one block with all others, are float32 over
// at most one block and are summed in float64. That is what calibration does to
// H, and by Cauchy-Schwarz the error is of the same kind: cholesky returns the
// exact factor of some H + D with |D_ij| of the order of 2^-24·√(h_i·h_j).
type triangle struct {
	k int
	a []float64
}

const columnBlock = 128

func (t triangle) row(i int) []float64 { return t.a[i*t.k : (i+1)*t.k] }

// cholesky replaces H by R with H = R·Rᵀ; false if H is not positive definite.
func (t triangle) cholesky() bool {
	for end := t.k; end > 0; {
		start := (end - 1) / columnBlock * columnBlock
		for j := end - 1; j >= start; j-- { // block on the diagonal
			rj := t.row(j)
			for i := start; i <= j; i++ {
				ri := t.row(i)
				for l := j + 1; l < end; l++ {
					ri[j] -= ri[l] * rj[l]
				}
				if i < j {
					continue
				}
				if !(rj[j] > 0 && rj[j] <= math.MaxFloat64) {
					return false
				}
				rj[j] = math.Sqrt(rj[j])
			}
			for i := start; i < j; i++ {
				t.row(i)[j] /= rj[j]
			}
		}
		above := gemm.NewMatrix(start, end-start)
		parallel.For(start, func(i int) error { // block column above it
			s, out := t.row(i)[start:end], above.Row(i)
			for j := len(s) - 1; j >= 0; j-- {
				rj := t.row(start + j)[start:end]
				s[j] = (s[j] - dot(s[j+1:], rj[j+1:])) / rj[j]
				out[j] = float32(s[j])
			}
			return nil
		})
		product := gemm.NewMatrix(min(start, 2*columnBlock), start)
		for i0 := 0; i0 < start; i0 += 2 * columnBlock { // what is left
			i1 := min(i0+2*columnBlock, start)
			p := product.View(0, i1-i0, i0, start)
			gemm.MulNT(p, above.View(i0, i1, 0, end-start), above.View(i0, start, 0, end-start))
			parallel.For(i1-i0, func(i int) error {
				for j, v := range p.Row(i)[i:] {
					t.row(i0 + i)[i0+i+j] -= float64(v)
				}
				return nil
			})
		}
		end = start
	}
	return true
}

// invert replaces R by its inverse; false if that is not finite.
func (t triangle) invert() bool {
	for start := 0; start < t.k; start += columnBlock {
		end := min(start+columnBlock, t.k)
		for j := start; j < end; j++ { // block on the diagonal
			inverse := 1 / t.row(j)[j]
			for i := start; i < j; i++ {
				var sum float64
				for l := i; l < j; l++ {
					sum += t.row(i)[l] * t.row(l)[j]
				}
				t.row(i)[j] = -sum * inverse
			}
			t.row(j)[j] = inverse
			if !(inverse > 0 && inverse <= math.MaxFloat64) {
				return false
			}
		}
		// With the inverse U of all before it, the block column S above is
		// replaced by -U·S·U_block.
		var block [columnBlock][columnBlock]float64 // its transpose
		for i := start; i < end; i++ {
			for j := i; j < end; j++ {
				block[j-start][i-start] = t.row(i)[j]
			}
		}
		s := gemm.NewMatrix(end-start, start) // (S·U_block)ᵀ
		parallel.For(start, func(i int) error {
			row := t.row(i)[start:end]
			for j := len(row) - 1; j >= 0; j-- {
				s.Row(j)[i] = float32(dot(row[:j+1], block[j][:]))
			}
			clear(row)
			return nil
		})
		product := gemm.NewMatrix(end-start, start)
		for l0 := 0; l0 < start; l0 += columnBlock {
			l1 := min(l0+columnBlock, start)
			p := product.View(0, end-start, 0, l1)
			gemm.MulNT(p, s.View(0, end-start, l0, l1), window{t, l1, l0, l1})
			parallel.For(l1, func(i int) error {
				row := t.row(i)[start:end]
				for j := range row {
					row[j] -= float64(p.Row(j)[i])
				}
				return nil
			})
		}
	}
	for i := range t.k {
		for _, v := range t.row(i)[i:] {
			if v-v != 0 {
				return false
			}
		}
	}
	return true
}

// window is rows 0..rows-1 and columns c0..c1-1 of a triangle, zero below the
// diagonal, as a gemm.Source.
type window struct {
	triangle
	rows, c0, c1 int
}

func (w window) Dims() (n, k int) { return w.rows, w.c1 - w.c0 }

func (w window) Load(dst gemm.Matrix, n0, k0 int) {
	for i := range dst.Rows {
		src := w.row(n0 + i)[w.c0+k0:]
		for j := range dst.Row(i) {
			dst.Row(i)[j] = 0
			if w.c0+k0+j >= n0+i {
				dst.Row(i)[j] = float32(src[j])
			}
		}
	}
}

func dot(x, y []float64) float64 {
	var a, b, c, d float64
	for ; len(x) >= 4 && len(y) >= 4; x, y = x[4:], y[4:] {
		a += x[0] * y[0]
		b += x[1] * y[1]
		c += x[2] * y[2]
		d += x[3] * y[3]
	}
	for i, v := range x {
		a += v * y[i]
	}
	return a + b + (c + d)
}
