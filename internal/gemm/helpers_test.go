package gemm

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
)

// use makes k the active kernel until the test ends.
func use(t testing.TB, k *kernel) {
	old := active
	active = k
	t.Cleanup(func() { active = old })
}

// forKernels runs f once for every kernel of this CPU, on a copy that counts
// its calls, and fails if neither a tile nor a dot of that kernel ran.
func forKernels(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	for _, k := range kernels() {
		t.Run(k.name, func(t *testing.T) {
			counted, calls := count(k)
			use(t, counted)
			f(t)
			if calls() == 0 {
				t.Errorf("the %s kernel did not run", k.name)
			}
		})
	}
}

// randomMatrix is r x c with a stride of c+pad and NaN between the rows.
func randomMatrix(seed uint64, r, c, pad int) Matrix {
	rng := rand.New(rand.NewPCG(seed, 1))
	return fill(r, c, pad, func() float32 { return float32(rng.NormFloat64()) })
}

// integerMatrix holds whole numbers -4 ... 4: every sum of fewer than 2^20
// products is exact in float32, in any order.
func integerMatrix(seed uint64, r, c, pad int) Matrix {
	rng := rand.New(rand.NewPCG(seed, 2))
	return fill(r, c, pad, func() float32 { return float32(rng.IntN(9) - 4) })
}

func fill(r, c, pad int, value func() float32) Matrix {
	m := Matrix{Rows: r, Cols: c, Stride: c + pad, Data: make([]float32, max(0, r*(c+pad)-pad))}
	for i := range m.Data {
		m.Data[i] = nan32
	}
	for i := range r {
		row := m.Row(i)
		for j := range row {
			row[j] = value()
		}
	}
	return m
}

var nan32 = float32(math.NaN())

const sentinel = 12345.5

// guarded returns an r x c matrix of NaN with a stride of c+pad inside
// sentinels, and a function that fails if any of them has changed.
func guarded(t *testing.T, r, c, pad int) (Matrix, func()) {
	t.Helper()
	const margin = 64
	stride := c + pad
	data := make([]float32, r*stride+2*margin)
	inside := func(i int) bool {
		i -= margin
		return i >= 0 && i < r*stride && i%stride < c
	}
	for i := range data {
		if data[i] = sentinel; inside(i) {
			data[i] = nan32
		}
	}
	m := Matrix{Rows: r, Cols: c, Stride: stride, Data: data[margin : len(data)-margin]}
	return m, func() {
		t.Helper()
		for i, v := range data {
			if !inside(i) && v != sentinel {
				t.Fatalf("wrote %v at offset %d of a %dx%d matrix with stride %d", v, i-margin, r, c, stride)
			}
		}
	}
}

// reference returns alpha·op(a)·op(b) + beta·c and, for the error bound, the
// same with absolute values: three loops in float64.
func reference(transA, transB bool, alpha float64, a, b Matrix, beta float64, c Matrix) (want, size []float64) {
	at := func(m Matrix, trans bool, i, j int) float64 {
		if trans {
			i, j = j, i
		}
		return float64(m.Data[i*m.Stride+j])
	}
	depth := a.Cols
	if transA {
		depth = a.Rows
	}
	want, size = make([]float64, c.Rows*c.Cols), make([]float64, c.Rows*c.Cols)
	for i := range c.Rows {
		for j := range c.Cols {
			var s, abs float64
			for p := range depth {
				v := at(a, transA, i, p) * at(b, transB, p, j)
				s += v
				abs += math.Abs(v)
			}
			s, abs = alpha*s, math.Abs(alpha)*abs
			if beta != 0 {
				v := beta * float64(c.Data[i*c.Stride+j])
				s, abs = s+v, abs+math.Abs(v)
			}
			want[i*c.Cols+j], size[i*c.Cols+j] = s, abs
		}
	}
	return want, size
}

// compare demands |got-want| <= k·eps·size, the bound for a float32 sum of k
// terms in any order (Higham, Accuracy and Stability, eq. 3.5); k = 0 is exact.
func compare(t *testing.T, got Matrix, want, size []float64, k int) {
	t.Helper()
	for i := range got.Rows {
		for j, v := range got.Row(i) {
			w := want[i*got.Cols+j]
			if tol := float64(k) * 0x1p-24 * size[i*got.Cols+j]; !(math.Abs(float64(v)-w) <= tol) {
				t.Fatalf("element (%d,%d) of %dx%d: got %v, want %v ± %.3g", i, j, got.Rows, got.Cols, v, w, tol)
			}
		}
	}
}

// halves is a bfloat16 Source.
type halves struct {
	n, k int
	data []byte
}

// newHalves holds small whole numbers, which bfloat16 represents exactly.
func newHalves(n, k int) *halves {
	h := &halves{n: n, k: k, data: make([]byte, 2*n*k)}
	for i := range n * k {
		v := float32(i*7%9 - 4)
		binary.LittleEndian.PutUint16(h.data[2*i:], uint16(math.Float32bits(v)>>16))
	}
	return h
}

func (h *halves) Dims() (n, k int) { return h.n, h.k }

func (h *halves) Load(dst Matrix, n0, k0 int) {
	for i := range dst.Rows {
		at := 2 * ((n0+i)*h.k + k0)
		DecodeBF16(dst.Row(i), h.data[at:at+2*dst.Cols])
	}
}

// matrix returns h as float32.
func (h *halves) matrix() Matrix {
	m := NewMatrix(h.n, h.k)
	for i := range m.Data {
		m.Data[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(h.data[2*i:])) << 16)
	}
	return m
}
