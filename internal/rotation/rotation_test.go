package rotation

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// TestHadamard: every order of the models named in the table of sizes, and the
// prime powers 9, 25, 27, 49 and 343, have H·Hᵀ = n·I; odd orders have none.
func TestHadamard(t *testing.T) {
	orders := []int{1, 2, 4, 8, 12, 20, 24, 28, 36, 44, 52, 60, 68, 72, 76, 84, 100, 108, 124, 140, 148, 312, 344, 504}
	for _, n := range orders {
		h, ok := Hadamard(n)
		if !ok || len(h) != n {
			t.Errorf("no Hadamard matrix of order %d", n)
			continue
		}
		for i := range n {
			for j := range i + 1 {
				dot := 0
				for c := range n {
					if h[i][c] != 1 && h[i][c] != -1 {
						t.Fatalf("order %d: entry %d", n, h[i][c])
					}
					dot += int(h[i][c]) * int(h[j][c])
				}
				if want := map[bool]int{true: n}[i == j]; dot != want {
					t.Fatalf("order %d: rows %d and %d have product %d", n, i, j, dot)
				}
			}
		}
	}
	for _, n := range []int{3, 6, 9, 22, 92, 156} {
		if _, ok := Hadamard(n); ok {
			t.Errorf("a Hadamard matrix of order %d that Paley does not give", n)
		}
	}
}

// matrix returns T as it stands, row by row.
func matrix(t Transform) gemm.Matrix {
	m := gemm.NewMatrix(t.Dim(), t.Dim())
	for i := range m.Rows {
		m.Row(i)[i] = 1
	}
	t.Inputs(m)
	return m
}

func transforms(t *testing.T) map[string]Transform {
	t.Helper()
	stored, err := NewStored(orthogonal(16, rand.New(rand.NewPCG(1, 2))), 3)
	if err != nil {
		t.Fatal(err)
	}
	reverse := make(Permutation, 48)
	for i := range reverse {
		reverse[i] = (i*7 + 3) % 48
	}
	return map[string]Transform{
		"Hadamard": NewHadamard(576, 1), "signed": NewHadamard(48, 1).Signed(4), "blocks": NewHadamard(16, 1).Repeat(3),
		"heads": NewHadamard(12, 1).Across(8), "odd": NewHadamard(36, 1).Signed(2).Repeat(2),
		"odd heads": NewHadamard(9, 5).Across(4),
		"dense":     NewDense(Orthogonal(37, 7)), "stored": stored, "permutation": reverse,
		"chain": Chain{stored, reverse, NewHadamard(16, 1).Repeat(3)},
	}
}

// TestProduct: X·Wᵀ stays under every transform, to 1e-5 of the largest entry, and
// what turns outputs is the transpose of what turns inputs.
func TestProduct(t *testing.T) {
	draw := rand.New(rand.NewPCG(3, 4))
	for name, r := range transforms(t) {
		x, w := gemm.NewMatrix(7, r.Dim()), gemm.NewMatrix(5, r.Dim())
		for _, m := range []gemm.Matrix{x, w} {
			for i := range m.Data {
				m.Data[i] = float32(draw.NormFloat64())
			}
		}
		before, after := gemm.NewMatrix(7, 5), gemm.NewMatrix(7, 5)
		gemm.MulNT(before, x, w)
		old := x.Clone()
		r.Inputs(x)
		r.Weights(w)
		gemm.MulNT(after, x, w)
		if d := distance(before, after); !(d < 1e-5) {
			t.Errorf("%s: the product changes by %.2g", name, d)
		}
		want := gemm.NewMatrix(7, r.Dim())
		gemm.MulNT(want, old, transpose(matrix(r)))
		if d := distance(want, x); !(d < 1e-5) {
			t.Errorf("%s: rows and the matrix differ by %.2g", name, d)
		}
		back := transpose(old)
		if d := distance(transpose(want), Outputs(r, back)); !(d < 1e-5) {
			t.Errorf("%s: outputs differ by %.2g", name, d)
		}
	}
}

// distance is the largest difference over the largest entry of a.
func distance(a, b gemm.Matrix) float64 {
	var worst, largest float64
	for i, v := range a.Data {
		worst = max(worst, math.Abs(float64(v)-float64(b.Data[i])))
		largest = max(largest, math.Abs(float64(v)))
	}
	return worst / largest
}

// TestOneHot: a Hadamard transform spreads one entry over all channels alike, and a
// two-sided one a matrix of one entry.
func TestOneHot(t *testing.T) {
	for _, n := range []int{4, 12, 36, 48, 576, 768, 1536} {
		h := NewHadamard(n, 1)
		if !h.Exact() {
			t.Errorf("order %d has no Hadamard matrix", n)
		}
		x := gemm.NewMatrix(1, n)
		x.Data[n/3] = 5
		h.Inputs(x)
		for _, v := range x.Data {
			if d := math.Abs(float64(v))*math.Sqrt(float64(n)) - 5; !(math.Abs(d) < 1e-4) {
				t.Fatalf("order %d: entry %g", n, v)
			}
		}
	}
}

// TestCost: additions and bytes of transforms, by hand.
func TestCost(t *testing.T) {
	for _, c := range []struct {
		name              string
		t                 Transform
		operations, bytes int64
	}{
		{"576 = 36·16", NewHadamard(576, 1), 576*4 + 576*35, 0},
		{"12288 = 12·1024", NewHadamard(12288, 1), 12288*10 + 12288*11, 0},
		{"9 heads of 64", NewHadamard(9, 1).Across(64), 576 * 17, 4 * 81},
		{"blocks of 32", NewHadamard(32, 1).Repeat(18), 576 * 5, 0},
		{"permutation", make(Permutation, 576), 0, 720},
	} {
		if c.t.Operations() != c.operations || c.t.Bytes() != c.bytes {
			t.Errorf("%s: %d operations and %d bytes, want %d and %d", c.name,
				c.t.Operations(), c.t.Bytes(), c.operations, c.bytes)
		}
	}
	stored, err := NewStored(mat.NewDense(2, 2, []float64{1, 0, 0, -1}), 64)
	if err != nil || stored.Bytes() != 8 || stored.Operations() != 128*3 {
		t.Errorf("stored: %d bytes, %d operations, %v", stored.Bytes(), stored.Operations(), err)
	}
	if _, err := NewStored(mat.NewDense(2, 2, []float64{1, 1, 1, 1}), 1); err == nil {
		t.Error("a singular matrix is taken")
	}
}

// TestOrthogonal: Q·Qᵀ is one, and seeds differ.
func TestOrthogonal(t *testing.T) {
	for _, n := range []int{1, 2, 37} {
		q := Orthogonal(n, 7)
		qq := gemm.NewMatrix(n, n)
		gemm.MulNT(qq, q, q)
		for i := range n {
			qq.Row(i)[i]--
		}
		if d := gemm.MaxAbs(qq.Data); !(d < 1e-6) {
			t.Errorf("Q·Qᵀ of %d channels is off by %g", n, d)
		}
		if other := Orthogonal(n, 8); n > 1 && distance(q, other) == 0 {
			t.Error("two seeds give one matrix")
		}
	}
}
