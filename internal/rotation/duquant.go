package rotation

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/mat"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// DuQuant returns the transform of DuQuant (Lin et al. 2024, arXiv:2406.01721) for
// inputs like x [M,K]: a rotation that is the same in each block of channels, a
// permutation that deals channels to blocks, and a second rotation. Each rotation
// is found by at most steps greedy steps. K must be a multiple of block. x is
// overwritten.
//
// A step turns the channel of the largest entry to a uniform vector. So the paper
// says; the published code (at commit 62c5844) takes the index of its token in
// place of its channel, modulo block.
func DuQuant(x gemm.Matrix, block, steps int, seed uint64) (Chain, error) {
	draw := rand.New(rand.NewPCG(seed, 0xd0))
	var chain Chain
	for half := range 2 {
		spread := Spread(block, orthogonal(block-1, draw))
		r, err := NewStored(Greedy(x, spread, steps, false), x.Cols/block)
		if err != nil {
			return nil, err
		}
		r.Inputs(x)
		chain = append(chain, r)
		if half == 0 {
			p := Zigzag(columnMax(x), block)
			p.Inputs(x)
			chain = append(chain, p)
		}
	}
	return chain, nil
}

// Matrices returns what a DuQuant chain stores: two matrices of a block, and between
// them the permutation as a row.
func (c Chain) Matrices() (list []gemm.Matrix) {
	for _, t := range c {
		switch t := t.(type) {
		case *Dense:
			list = append(list, t.inputs)
		case Permutation:
			row := gemm.NewMatrix(1, len(t))
			for i, j := range t {
				row.Data[i] = float32(j)
			}
			list = append(list, row)
		}
	}
	return list
}

// ReadDuQuant returns the chain of k channels that Matrices listed.
func ReadDuQuant(list []gemm.Matrix, k int) (Chain, error) {
	var chain Chain
	for i, m := range list {
		if i == 1 {
			p := make(Permutation, len(m.Data))
			seen := make([]bool, len(p))
			for j, v := range m.Data {
				if v < 0 || int(v) >= len(p) || seen[int(v)] {
					return nil, fmt.Errorf("rotation: channel %g at %d of a permutation of %d", v, j, len(p))
				}
				p[j], seen[int(v)] = int(v), true
			}
			chain = append(chain, p)
			continue
		}
		q := mat.NewDense(m.Rows, m.Cols, nil)
		for a := range m.Rows {
			for b, v := range m.Row(a) {
				q.Set(a, b, float64(v))
			}
		}
		r, err := NewStored(q, k/m.Rows)
		if err != nil {
			return nil, err
		}
		chain = append(chain, r)
	}
	if len(chain) != 3 || chain[0].Dim() != k || chain[1].Dim() != k || chain[2].Dim() != k {
		return nil, fmt.Errorf("rotation: %d matrices of DuQuant for %d channels", len(list), k)
	}
	return chain, nil
}

func columnMax(x gemm.Matrix) []float32 {
	top := make([]float32, x.Cols)
	for i := range x.Rows {
		for j, v := range x.Row(i) {
			top[j] = max(top[j], v, -v)
		}
	}
	return top
}

// Zigzag returns DuQuant's permutation: channels by falling peak are dealt to the
// blocks back and forth, and sorted within each.
func Zigzag(peaks []float32, block int) Permutation {
	order := make([]int, len(peaks))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case peaks[a] > peaks[b]:
			return -1
		case peaks[a] < peaks[b]:
			return 1
		}
		return 0
	})
	blocks := make([][]int, len(peaks)/block)
	at, step := 0, 1
	for _, j := range order {
		blocks[at] = append(blocks[at], j)
		if at += step; at < 0 || at == len(blocks) {
			at, step = at-step, -step
		}
	}
	return slices.Concat(blocks...)
}

// Spread returns the orthogonal matrix [n,n] whose first row is 1/√n throughout, a
// product of Givens rotations, times 1 and q [n-1,n-1] as blocks.
func Spread(n int, q *mat.Dense) *mat.Dense {
	r := mat.NewDense(n, n, nil)
	for i := range n {
		r.Set(i, i, 1)
	}
	for i := range n - 1 {
		sin, cos := math.Sqrt(float64(i+1)/float64(i+2)), math.Sqrt(1/float64(i+2))
		for j := range n {
			a, b := r.At(i, j), r.At(i+1, j)
			r.Set(i, j, cos*a-sin*b)
			r.Set(i+1, j, sin*a+cos*b)
		}
	}
	r = exchanged(r, 0, n-1)
	turn := mat.NewDense(n, n, nil)
	turn.Set(0, 0, 1)
	for i := 1; i < n; i++ {
		for j := 1; j < n; j++ {
			turn.Set(i, j, q.At(i-1, j-1))
		}
	}
	var out mat.Dense
	out.Mul(r, turn)
	return &out
}

// exchanged swaps the rows and the columns a and b of m.
func exchanged(m *mat.Dense, a, b int) *mat.Dense {
	n, _ := m.Dims()
	out := mat.DenseCopyOf(m)
	for j := range n {
		out.Set(a, j, m.At(b, j))
		out.Set(b, j, m.At(a, j))
	}
	swapped := mat.DenseCopyOf(out)
	for i := range n {
		swapped.Set(i, a, out.At(i, b))
		swapped.Set(i, b, out.At(i, a))
	}
	return swapped
}

// Greedy returns the rotation [n,n] of DuQuant for rows of blocks like x, found from
// spread [n,n]: each step takes the entry that is largest in magnitude and turns its
// channel to a uniform vector; of all steps those are kept after which the range of
// values is least. With rows set a step takes the index of the row of blocks, modulo
// n, in place of the channel, as the published code does.
func Greedy(x gemm.Matrix, spread *mat.Dense, steps int, rows bool) *mat.Dense {
	n, _ := spread.Dims()
	y := gemm.NewMatrix(x.Rows*x.Cols/n, n)
	for i := range x.Rows {
		copy(y.Data[i*x.Cols:], x.Row(i))
	}
	total := mat.NewDense(n, n, nil)
	for i := range n {
		total.Set(i, i, 1)
	}
	best, least := mat.DenseCopyOf(total), math.Inf(1)
	out := gemm.NewMatrix(y.Rows, n)
	for step := 0; ; step++ {
		at, span := peak(y.Data)
		if span < least {
			least = span
			best.Copy(total)
		}
		if step == steps {
			return best
		}
		channel := at % n
		if rows {
			channel = at / n % n
		}
		r := exchanged(spread, 0, channel)
		var next mat.Dense
		next.Mul(total, r)
		total.Copy(&next)
		gemm.Gemm(false, false, 1, y, float32Of(r), 0, out)
		y, out = out, y
	}
}

func float32Of(m *mat.Dense) gemm.Matrix {
	rows, cols := m.Dims()
	out := gemm.NewMatrix(rows, cols)
	for i := range rows {
		for j := range cols {
			out.Row(i)[j] = float32(m.At(i, j))
		}
	}
	return out
}

// peak returns where the entry of largest magnitude is, the first of equal ones of
// its sign, and the largest less the smallest.
func peak(v []float32) (at int, span float64) {
	low, high := 0, 0
	for i, x := range v {
		if x > v[high] {
			high = i
		}
		if x < v[low] {
			low = i
		}
	}
	at = low
	if v[high] > -v[low] {
		at = high
	}
	return at, float64(v[high]) - float64(v[low])
}
