package zipper

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/quant"
)

// layout is a matrix to test with.
type layout struct {
	n, k, group int
	r, c        int // block; 0: no residual
	density     float64
	rowScales   bool
	outliers    float64 // share of the weights; 0: none
}

func (l layout) String() string {
	s := fmt.Sprintf("%dx%d g%d", l.n, l.k, l.group)
	if l.r > 0 {
		s += fmt.Sprintf(" %dx%d at %g", l.r, l.c, l.density)
		if l.rowScales {
			s += " row scales"
		}
	}
	if l.outliers > 0 {
		s += fmt.Sprintf(" %g outliers", l.outliers)
	}
	return s
}

// layouts covers groups, blocks and densities of sweeps, and awkward ones.
func layouts() []layout {
	l := []layout{
		{n: 1, k: 1}, {n: 3, k: 7}, {n: 17, k: 129}, {n: 16, k: 128, group: 128}, {n: 33, k: 1000, group: 8},
		{n: 31, k: 96, group: 32}, {n: 40, k: 15, group: 5}, {n: 15, k: 231, group: 77}, {n: 2, k: 4096, group: 1024},
		{n: 5, k: 9, r: 16, c: 16, density: 1}, {n: 37, k: 1001, r: 16, c: 16, density: 0.3},
		{n: 33, k: 90, group: 10, r: 4, c: 16, density: 0.5, rowScales: true},
		{n: 33, k: 91, group: 13, r: 1, c: 24, density: 1},
		{n: 70, k: 300, group: 100, r: 3, c: 56, density: 0.6, rowScales: true},
	}
	for _, l0 := range []layout{{n: 3, k: 5}, {n: 40, k: 200, group: 8}, {n: 520, k: 64, group: 32}, {n: 70, k: 1000, group: 125}} {
		for _, share := range []float64{0.01, 0.5} {
			l0.outliers = share
			l = append(l, l0)
		}
	}
	blocks := [][2]int{{16, 16}, {16, 64}, {1, 128}, {1, 32}, {4, 16}, {8, 8}, {2, 256}, {32, 32}, {12, 40}, {64, 128}, {1, 8}, {2, 24}, {4, 72}, {8, 1024}}
	for i, b := range blocks {
		for j, group := range []int{32, 64, 128, 0} {
			density := []float64{0, 0.1, 0.5, 1}[(i+j)%4]
			l = append(l, layout{n: 50 + 7*j - i, k: 384 + 128*(i%2), group: group, r: b[0], c: b[1], density: density, rowScales: i%2 == 1})
		}
	}
	return l
}

// random draws codes and scales directly: kernels must not care how they came
// about. Scales come from the given function.
func (l layout) random(seed uint64, scale func(*rand.Rand) uint16) *quant.Quantized {
	rng := rand.New(rand.NewPCG(seed, uint64(l.n*l.k)))
	groups := 1
	if l.group > 0 {
		groups = ceilDiv(l.k, l.group)
	}
	base := &quant.Packed{N: l.n, K: l.k, Format: quant.Int4(l.group), Codes: make([]byte, l.n*((l.k+1)/2)), Scales: make([]uint16, l.n*groups)}
	for i := range l.n {
		for k := range l.k {
			base.Codes[i*((l.k+1)/2)+k/2] |= byte(1+rng.IntN(15)) << (k % 2 * 4)
		}
	}
	for i := range base.Scales {
		base.Scales[i] = scale(rng)
	}
	q := &quant.Quantized{Base: base}
	if l.outliers > 0 {
		q.Outliers = l.randomOutliers(rng, base, scale)
	}
	if l.r == 0 {
		return q
	}
	r := &quant.Residual{N: l.n, K: l.k, BlockRows: l.r, BlockCols: l.c, Bits: 4, RowScales: l.rowScales,
		RowPtr: quant.Ints{Width: 4, Data: make([]byte, 4)}, Cols: quant.Ints{Width: 2}}
	rows, cols := r.Grid()
	count := 0
	for row := range rows {
		for col := range cols {
			if rng.Float64() >= l.density {
				continue
			}
			count++
			r.Cols.Data = append(r.Cols.Data, byte(col), byte(col>>8))
			block := make([]byte, (l.r*l.c+1)/2)
			for i := range l.r {
				inside := row*l.r+i < l.n
				for j := range l.c {
					code := byte(zeroCode)
					if inside && col*l.c+j < l.k {
						code = byte(1 + rng.IntN(15))
					}
					block[(i*l.c+j)/2] |= code << ((i*l.c + j) % 2 * 4)
				}
				if l.rowScales {
					var s uint16
					if inside {
						s = scale(rng)
					}
					r.Scales = append(r.Scales, s)
				}
			}
			if !l.rowScales {
				r.Scales = append(r.Scales, scale(rng))
			}
			r.Codes = append(r.Codes, block...)
		}
		r.RowPtr.Data = append(r.RowPtr.Data, byte(count), byte(count>>8), byte(count>>16), byte(count>>24))
	}
	q.Residual = r
	return q
}

// randomOutliers replaces some weights of base, whose codes become zero.
func (l layout) randomOutliers(rng *rand.Rand, base *quant.Packed, value func(*rand.Rand) uint16) *quant.Outliers {
	o := &quant.Outliers{N: l.n, K: l.k, RowPtr: quant.Ints{Width: 4, Data: make([]byte, 4)}, Cols: quant.Ints{Width: 2}, Values: []uint16{}}
	for i := range l.n {
		for k := range l.k {
			if rng.Float64() >= l.outliers {
				continue
			}
			at, shift := i*((l.k+1)/2)+k/2, k%2*4
			base.Codes[at] = base.Codes[at]&^(15<<shift) | zeroCode<<shift
			o.Cols.Data = append(o.Cols.Data, byte(k), byte(k>>8))
			o.Values = append(o.Values, value(rng)|uint16(rng.IntN(2))<<15)
		}
		n := len(o.Values)
		o.RowPtr.Data = append(o.RowPtr.Data, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
	}
	return o
}

// power is 1/2, 1 or 2: products with whole numbers stay exact.
func power(r *rand.Rand) uint16 { return []uint16{0x3800, 0x3c00, 0x4000}[r.IntN(3)] }

// anyScale is between 2^-5 and 2^-3, with all bits of the mantissa.
func anyScale(r *rand.Rand) uint16 { return uint16(0x2800 + r.IntN(0x800)) }

// integers is x [m,k] of -4..4 that a rounds to themselves: in every group that
// shares a scale one number is the largest code, so that the scale is 1.
func integers(seed uint64, m, k int, a quant.Activations) gemm.Matrix {
	rng := rand.New(rand.NewPCG(seed, 3))
	x := gemm.NewMatrix(m, k)
	for i := range m {
		row := x.Row(i)
		for j := range row {
			row[j] = float32(rng.IntN(9) - 4)
		}
		top := 1<<(max(a.Bits, 3)-1) - 1
		size := k
		if a.Group > 0 {
			size = a.Group
		}
		for c := 0; c < k; c += size {
			row[c+rng.IntN(min(size, k-c))] = float32(top - 2*top*rng.IntN(2))
		}
	}
	return x
}

// normal is x [m,k] with NaN between the rows.
func normal(seed uint64, m, k int) gemm.Matrix {
	rng := rand.New(rand.NewPCG(seed, 4))
	x := gemm.Matrix{Rows: m, Cols: k, Stride: k + 3, Data: make([]float32, m*(k+3))}
	for i := range x.Data {
		x.Data[i] = float32(math.NaN())
	}
	for i := range m {
		row := x.Row(i)
		for j := range row {
			row[j] = float32(rng.NormFloat64())
		}
	}
	return x
}

const sentinel = 12345.5

// guarded returns an r x c matrix of NaN with gaps between its rows inside
// sentinels, and a function that fails if any of them has changed.
func guarded(t testing.TB, r, c int) (gemm.Matrix, func()) {
	t.Helper()
	const margin, pad = 64, 5
	stride := c + pad
	data := make([]float32, r*stride+2*margin)
	inside := func(i int) bool {
		i -= margin
		return i >= 0 && i < r*stride && i%stride < c
	}
	for i := range data {
		if data[i] = sentinel; inside(i) {
			data[i] = float32(math.NaN())
		}
	}
	return gemm.Matrix{Rows: r, Cols: c, Stride: stride, Data: data[margin : len(data)-margin]}, func() {
		t.Helper()
		for i, v := range data {
			if !inside(i) && v != sentinel {
				t.Fatalf("wrote %v at offset %d of a %dx%d matrix", v, i-margin, r, c)
			}
		}
	}
}

// use makes k the active kernel until the test ends.
func use(t testing.TB, k *kernel) {
	old := active
	active = k
	t.Cleanup(func() { active = old })
}

// forKernels runs f once for every kernel of this CPU, on a copy that counts
// calls, and fails if one of the functions for s did not run.
func forKernels(t *testing.T, s scheme, f func(t *testing.T)) {
	t.Helper()
	for _, k := range kernels() {
		t.Run(k.name, func(t *testing.T) {
			counted := *k
			calls := make([]atomic.Int64, len(k.panels[s]))
			counted.panels[s] = nil
			for i, p := range k.panels[s] {
				counted.panels[s] = append(counted.panels[s], panelKernel{p.tokens,
					func(w, x []byte, ld int, s *shape, lanes *laneTable, out []float32) {
						calls[i].Add(1)
						p.mul(w, x, ld, s, lanes, out)
					}})
			}
			use(t, &counted)
			f(t)
			for i := range calls {
				if calls[i].Load() == 0 {
					t.Errorf("the %s kernel for %d %s tokens did not run", k.name, k.panels[s][i].tokens, s)
				}
			}
		})
	}
}

func prepack(t testing.TB, q *quant.Quantized, v Variant) *Weights {
	t.Helper()
	return prepackFor(t, q, v, quant.A8)
}

func prepackFor(t testing.TB, q *quant.Quantized, v Variant, a quant.Activations) *Weights {
	t.Helper()
	w, err := PrepackFor(q, v, a)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// variantsOf returns how q can be executed.
func variantsOf(q *quant.Quantized) []Variant {
	if q.Outliers != nil {
		return []Variant{Dense4, Outlier16}
	}
	return []Variant{Zipped, Dense4, Separate}
}

// executed returns what variant v of q computes.
func executed(q *quant.Quantized, v Variant) *quant.Quantized {
	if v == Dense4 {
		return &quant.Quantized{Base: q.Base}
	}
	return q
}

// multiply returns x·Ŵᵀ, checked for writes outside.
func multiply(t testing.TB, w *Weights, x gemm.Matrix) gemm.Matrix {
	t.Helper()
	y, check := guarded(t, x.Rows, w.n)
	w.MulNT(y, x)
	check()
	return y
}
