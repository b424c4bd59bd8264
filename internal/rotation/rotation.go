// Package rotation has changes of basis for the inputs of linear layers: fast
// Hadamard transforms, orthogonal matrices, permutations, and chains of them.
//
// A Transform T [K,K] takes inputs X [M,K] to X·T and weights W [N,K] to W·T⁻ᵀ, so
// that the product X·Wᵀ stays. Second moments become TᵀHT.
package rotation

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"

	"gonum.org/v1/gonum/mat"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// Transform is an invertible matrix T [K,K]. It is safe for concurrent use.
type Transform interface {
	// Dim returns K.
	Dim() int
	// Inputs sets x [M,K] to x·T.
	Inputs(x gemm.Matrix)
	// Weights sets w [N,K] to w·T⁻ᵀ.
	Weights(w gemm.Matrix)
	// Operations is the number of additions and multiplications that Inputs takes
	// for one row. Factors that weights can take up are not counted.
	Operations() int64
	// Bytes is what a checkpoint stores of T: nothing where a rule gives it.
	Bytes() int64
}

// Outputs returns Tᵀ·w [N,D] for an orthogonal T [N,N]: the weights of a layer
// whose outputs are turned by T.
func Outputs(t Transform, w gemm.Matrix) gemm.Matrix {
	if d, ok := t.(*Dense); ok && d.blocks == 1 {
		out := gemm.NewMatrix(w.Rows, w.Cols)
		gemm.Gemm(true, false, 1, d.inputs, w, 0, out)
		return out
	}
	turned := transpose(w)
	t.Inputs(turned)
	return transpose(turned)
}

func transpose(w gemm.Matrix) gemm.Matrix {
	out := gemm.NewMatrix(w.Cols, w.Rows)
	for i := range w.Rows {
		for j, v := range w.Row(i) {
			out.Row(j)[i] = v
		}
	}
	return out
}

// Kronecker is I ⊗ diag(signs)·(F ⊗ H) ⊗ I: each of several blocks of channels
// is turned by the product of a small factor F [k,k] and Sylvester's Hadamard
// matrix H of order 2^m, both orthogonal.
type Kronecker struct {
	blocks, inner int // identities before and after
	factor        [][]float32
	signed        bool // the factor is a Hadamard matrix, so that it takes no multiplication
	power         int  // 2^m
	signs         []float32
	stored        int64
}

// NewHadamard returns the Hadamard transform of n channels, with Hadamard's matrix
// of the smallest order k, n = k·2^m, that there is, as QuaRot's (Ashkboos et al.
// 2024, arXiv:2404.00456). Where there is none, a random orthogonal matrix of the
// seed and of the odd part of n takes its place; it is stored, in float32.
func NewHadamard(n int, seed uint64) *Kronecker {
	if n < 1 {
		panic(fmt.Sprintf("rotation: Hadamard transform of %d channels", n))
	}
	t := &Kronecker{blocks: 1, inner: 1}
	odd := n >> bits.TrailingZeros(uint(n))
	for k := odd; k <= n; k *= 2 {
		h, ok := Hadamard(k)
		if !ok {
			continue
		}
		t.signed, t.power = true, n/k
		if k > 1 {
			scale := float32(1 / math.Sqrt(float64(k)))
			for _, row := range h {
				f := make([]float32, k)
				for j, v := range row {
					f[j] = float32(v) * scale
				}
				t.factor = append(t.factor, f)
			}
		}
		return t
	}
	q := Orthogonal(odd, seed)
	t.power, t.stored = n/odd, 4*int64(odd)*int64(odd)
	for i := range odd {
		t.factor = append(t.factor, q.Row(i))
	}
	return t
}

// Exact reports whether the whole matrix is a Hadamard matrix.
func (t *Kronecker) Exact() bool { return t.signed }

// Signed returns diag(signs)·t with random signs of the seed.
func (t *Kronecker) Signed(seed uint64) *Kronecker {
	s := *t
	s.signs = make([]float32, t.size())
	draw := rand.New(rand.NewPCG(seed, 0x516))
	for i := range s.signs {
		s.signs[i] = 1 - 2*float32(draw.Uint64()&1)
	}
	return &s
}

// Repeat returns the transform of blocks·n channels that turns each block of n.
func (t *Kronecker) Repeat(blocks int) *Kronecker {
	s := *t
	s.blocks *= blocks
	return &s
}

// Across returns the transform of n·inner channels that turns the n runs of inner
// channels, such as heads, and leaves what is within them.
func (t *Kronecker) Across(inner int) *Kronecker {
	s := *t
	s.inner *= inner
	return &s
}

// size is the number of channels of a block, less the inner identity.
func (t *Kronecker) size() int { return max(1, len(t.factor)) * t.power }

// Dim implements Transform.
func (t *Kronecker) Dim() int { return t.blocks * t.size() * t.inner }

// Operations implements Transform.
func (t *Kronecker) Operations() int64 {
	per := bits.TrailingZeros(uint(t.power)) // additions for a channel
	if k := len(t.factor); k > 0 && t.signed {
		per += k - 1
	} else if k > 0 {
		per += 2*k - 1
	}
	return int64(t.Dim()) * int64(per)
}

// Bytes implements Transform.
func (t *Kronecker) Bytes() int64 { return t.stored }

// Weights implements Transform: an orthogonal matrix is its own inverse transpose.
func (t *Kronecker) Weights(w gemm.Matrix) { t.Inputs(w) }

// Inputs implements Transform.
func (t *Kronecker) Inputs(x gemm.Matrix) {
	if x.Cols != t.Dim() {
		panic(fmt.Sprintf("rotation: %d channels, want %d", x.Cols, t.Dim()))
	}
	var scratch []float32
	if len(t.factor) > 0 {
		scratch = make([]float32, t.size()*t.inner)
	}
	width := t.size() * t.inner
	for i := range x.Rows {
		for row := x.Row(i); len(row) > 0; row = row[width:] {
			t.block(row[:width], scratch)
		}
	}
}

// block turns the channels of one block.
func (t *Kronecker) block(x, scratch []float32) {
	for i, s := range t.signs {
		if s < 0 {
			for j := range x[i*t.inner : (i+1)*t.inner] {
				x[i*t.inner+j] *= -1
			}
		}
	}
	run := t.power * t.inner
	for at := 0; at < len(x); at += run {
		butterflies(x[at:at+run], t.inner)
	}
	if scale := float32(1 / math.Sqrt(float64(t.power))); scale != 1 {
		for i := range x {
			x[i] *= scale
		}
	}
	if len(t.factor) == 0 {
		return
	}
	clear(scratch)
	for a, row := range t.factor {
		from := x[a*run : (a+1)*run]
		for b, f := range row {
			gemm.Axpy(f, from, scratch[b*run:(b+1)*run])
		}
	}
	copy(x, scratch)
}

// butterflies multiplies the len(x)/inner runs of inner numbers by Sylvester's
// matrix of ±1.
func butterflies(x []float32, inner int) {
	for half := inner; half < len(x); half *= 2 {
		for at := 0; at < len(x); at += 2 * half {
			a, b := x[at:at+half], x[at+half:at+2*half]
			for i, u := range a {
				v := b[i]
				a[i], b[i] = u+v, u-v
			}
		}
	}
}

// Heads returns the transform of n runs of channels that turns each by t, which must
// be a Kronecker or a Dense.
func Heads(t Transform, n int) Transform {
	switch t := t.(type) {
	case *Kronecker:
		return t.Repeat(n)
	case *Dense:
		s := *t
		s.blocks *= n
		return &s
	}
	panic(fmt.Sprintf("rotation: heads of %T", t))
}

// Dense is a matrix [K,K], or one that is repeated for each block of channels.
type Dense struct {
	inputs, weights gemm.Matrix // T and T⁻ᵀ of a block
	blocks          int
	stored          bool
}

// NewDense returns the orthogonal matrix q [n,n], which weights take up: nothing of
// it is stored.
func NewDense(q gemm.Matrix) *Dense { return &Dense{inputs: q, weights: q, blocks: 1} }

// NewStored returns the matrix q [n,n], rounded to half precision and stored once,
// for each of blocks blocks of channels. Rounding leaves it invertible, not
// orthogonal. A singular matrix is an error.
func NewStored(q *mat.Dense, blocks int) (*Dense, error) {
	n, _ := q.Dims()
	half := mat.NewDense(n, n, nil)
	in, out := gemm.NewMatrix(n, n), gemm.NewMatrix(n, n)
	for i := range n {
		for j := range n {
			v := roundHalf(float32(q.At(i, j)))
			in.Row(i)[j] = v
			half.Set(i, j, float64(v))
		}
	}
	var inverse mat.Dense
	if err := inverse.Inverse(half); err != nil {
		return nil, fmt.Errorf("rotation: matrix of %d channels in half precision: %w", n, err)
	}
	for i := range n {
		for j := range n {
			out.Row(i)[j] = float32(inverse.At(j, i))
		}
	}
	return &Dense{inputs: in, weights: out, blocks: blocks, stored: true}, nil
}

// roundHalf rounds x, |x| <= 1, to half precision: to nearest, ties to even.
func roundHalf(x float32) float32 {
	_, e := math.Frexp(float64(x))
	unit := math.Ldexp(1, max(e-11, -24))
	return float32(math.RoundToEven(float64(x)/unit) * unit)
}

// Matrix returns T of a block, which must not be modified.
func (d *Dense) Matrix() gemm.Matrix { return d.inputs }

// Dim implements Transform.
func (d *Dense) Dim() int { return d.blocks * d.inputs.Rows }

// Operations implements Transform.
func (d *Dense) Operations() int64 { return int64(d.Dim()) * int64(2*d.inputs.Rows-1) }

// Bytes implements Transform.
func (d *Dense) Bytes() int64 {
	if !d.stored {
		return 0
	}
	return 2 * int64(len(d.inputs.Data))
}

// Inputs implements Transform.
func (d *Dense) Inputs(x gemm.Matrix) { d.multiply(x, d.inputs) }

// Weights implements Transform.
func (d *Dense) Weights(w gemm.Matrix) { d.multiply(w, d.weights) }

func (d *Dense) multiply(x, t gemm.Matrix) {
	if x.Cols != d.Dim() {
		panic(fmt.Sprintf("rotation: %d channels, want %d", x.Cols, d.Dim()))
	}
	n := t.Rows
	for b := range d.blocks {
		part := x.View(0, x.Rows, b*n, (b+1)*n)
		out := gemm.NewMatrix(x.Rows, n)
		gemm.Gemm(false, false, 1, part, t, 0, out)
		for i := range x.Rows {
			copy(part.Row(i), out.Row(i))
		}
	}
}

// Permutation takes channel Permutation[i] to position i. It is stored in
// ⌈log2 K⌉ bits for each channel.
type Permutation []int

// Dim implements Transform.
func (p Permutation) Dim() int { return len(p) }

// Operations implements Transform: a gather is none.
func (p Permutation) Operations() int64 { return 0 }

// Bytes implements Transform.
func (p Permutation) Bytes() int64 {
	return (int64(len(p))*int64(bits.Len(uint(len(p)-1))) + 7) / 8
}

// Inputs implements Transform.
func (p Permutation) Inputs(x gemm.Matrix) {
	old := make([]float32, len(p))
	for i := range x.Rows {
		row := x.Row(i)
		copy(old, row)
		for j, from := range p {
			row[j] = old[from]
		}
	}
}

// Weights implements Transform.
func (p Permutation) Weights(w gemm.Matrix) { p.Inputs(w) }

// Chain is the product of transforms of equal size, the first applied first.
type Chain []Transform

// Dim implements Transform.
func (c Chain) Dim() int { return c[0].Dim() }

// Operations implements Transform.
func (c Chain) Operations() (sum int64) {
	for _, t := range c {
		sum += t.Operations()
	}
	return sum
}

// Bytes implements Transform.
func (c Chain) Bytes() (sum int64) {
	for _, t := range c {
		sum += t.Bytes()
	}
	return sum
}

// Inputs implements Transform.
func (c Chain) Inputs(x gemm.Matrix) {
	for _, t := range c {
		t.Inputs(x)
	}
}

// Weights implements Transform.
func (c Chain) Weights(w gemm.Matrix) {
	for _, t := range c {
		t.Weights(w)
	}
}

// Orthogonal returns a random orthogonal matrix [n,n], uniform over all: the Q
// of a QR factorization of normal numbers, with the signs that make the diagonal
// of R positive (Mezzadri 2007, arXiv:math-ph/0609050).
func Orthogonal(n int, seed uint64) gemm.Matrix {
	q := orthogonal(n, rand.New(rand.NewPCG(seed, 0x0b7)))
	out := gemm.NewMatrix(n, n)
	for i := range n {
		for j := range n {
			out.Row(i)[j] = float32(q.At(i, j))
		}
	}
	return out
}

func orthogonal(n int, draw *rand.Rand) *mat.Dense {
	g := mat.NewDense(n, n, nil)
	for i := range n {
		for j := range n {
			g.Set(i, j, draw.NormFloat64())
		}
	}
	return positiveQ(g)
}

// positiveQ returns the Q of the QR factorization of g whose R has a positive
// diagonal.
func positiveQ(g *mat.Dense) *mat.Dense {
	n, _ := g.Dims()
	var qr mat.QR
	qr.Factorize(g)
	var q, r mat.Dense
	qr.QTo(&q)
	qr.RTo(&r)
	for j := range n {
		if r.At(j, j) < 0 {
			for i := range n {
				q.Set(i, j, -q.At(i, j))
			}
		}
	}
	return &q
}
