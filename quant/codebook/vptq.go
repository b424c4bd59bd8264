// Package codebook quantizes matrices by codebooks: of vectors, in GPTQ's loop over
// columns (VPTQ, Liu et al. 2024, arXiv:2409.17066), and of single weights beside outliers
// (GOBO).
package codebook

import (
	"errors"
	"hash/fnv"
	"math"
	"math/rand/v2"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// VPTQ quantizes vectors of weights, consecutive rows of one column, by codebooks that
// k-means finds under the weights h_j (Liu et al. 2024, arXiv:2409.17066). GPTQ's loop then
// takes the error of each column to the later ones. A second codebook is fitted to the
// errors that this leaves, as each column had them, and the loop runs again with both.
//
// Departures: k-means starts from k-means++ on a sample, not from random vectors; it ends
// by the error and not by the shift of centres; scales are the rms of rows in half
// precision, and the error counts in units of weights, where the authors take mean and
// deviation of columns and count it in units of them; no columns have a codebook of their
// own for being outliers; every weight takes a whole number of bits; and nothing is
// fine-tuned.
type VPTQ struct {
	Bits   int // of a weight
	Vector int // weights of a vector
	// Second is how many of the Vector·Bits bits of a vector are those of the second
	// codebook, 0: there is none.
	Second    int
	Columns   int  // that share a codebook; 0: all
	RowScales bool // whether rows have scales
	Damping   float64
	ActOrder  bool // columns by descending h, as solve.GPTQ has it
}

// format is that of what is stored.
func (q VPTQ) format() quant.Format {
	return quant.Format{Bits: q.Bits, Group: q.Columns, Kind: quant.Codebook}
}

// FitsRows reports a number of rows that vectors do not divide, and sizes that do not exist.
func (q VPTQ) FitsRows(n int) error {
	c := quant.Codebooks{Vector: q.Vector, First: q.Vector*q.Bits - q.Second, Second: q.Second}
	return c.Fits(n, q.Bits)
}

// Quantize implements quant.Quantizer.
func (q VPTQ) Quantize(p quant.Problem) (*quant.Quantized, error) {
	if err := errors.Join(q.format().Validate(), q.FitsRows(p.Weights.Rows)); err != nil {
		return nil, p.Errorf("%w", err)
	}
	e, err := q.begin(p)
	if err != nil {
		return nil, err
	}
	out, err := e.quantize()
	if err != nil {
		return nil, p.Errorf("%w", err)
	}
	out.Warnings = e.pass.Warnings
	return out, nil
}

// encoding is the quantization of one matrix.
type encoding struct {
	VPTQ
	n, k   int
	pass   *solve.Pass
	h      []float64 // [K]
	scales []float64 // [N]
	stored []uint16  // scales as they are stored; nil: ones
	size   int       // columns that share a codebook
	books  [2][]*book
	codes  []uint32 // [N/v, K]
	start  func(p *points, entries int) *book
}

// begin checks p, factors H and finds the scales of rows.
func (q VPTQ) begin(p quant.Problem) (*encoding, error) {
	// The format is for the checks of p alone.
	gptq := solve.NewGPTQ(quant.Int4(0))
	gptq.Damping, gptq.ActOrder = q.Damping, q.ActOrder
	pass, err := gptq.Start(p)
	if err != nil {
		return nil, err
	}
	n, k := p.Weights.Dims()
	e := &encoding{VPTQ: q, n: n, k: k, pass: pass, h: p.Diag(), scales: make([]float64, n),
		codes: make([]uint32, n/q.Vector*k)}
	e.size, _ = q.format().Groups(k)
	name := fnv.New64a()
	name.Write([]byte(p.Name))
	draw := rand.New(rand.NewPCG(p.Seed, name.Sum64()))
	e.start = func(p *points, entries int) *book { return p.start(entries, draw) }
	for i := range e.scales {
		e.scales[i] = 1
	}
	if !q.RowScales {
		return e, nil
	}
	e.stored = make([]uint16, n)
	for i := range n {
		var sum float64
		for _, v := range p.Weights.Row(i) {
			sum += float64(v) * float64(v)
		}
		e.stored[i] = half.ToF16(float32(math.Sqrt(sum / float64(k))))
		if e.scales[i] = float64(half.FromF16(e.stored[i])); math.IsInf(e.scales[i], 0) {
			return nil, p.Errorf("row %d: scale %g exceeds half precision", i, math.Sqrt(sum/float64(k)))
		}
	}
	return e, nil
}

// quantize returns the matrix as it is stored.
func (e *encoding) quantize() (*quant.Quantized, error) {
	e.fit(0, e.pass.Problem.Weights)
	stages, left := 1, (*quant.Matrix)(nil)
	if e.Second > 0 {
		stages, left = 2, &quant.Matrix{}
		*left = gemm.NewMatrix(e.n, e.k)
	}
	if err := e.run(1, left); err != nil {
		return nil, err
	}
	if stages == 2 {
		e.fit(1, *left)
		if err := e.run(2, nil); err != nil {
			return nil, err
		}
	}
	c := quant.Codebooks{Vector: e.Vector, First: e.Vector*e.Bits - e.Second, Second: e.Second, Scales: e.stored}
	for b := range e.books[0] {
		c.Values = append(c.Values, e.books[0][b].round()...)
		if e.Second > 0 {
			c.Values = append(c.Values, e.books[1][b].round()...)
		}
	}
	base, err := quant.NewCodebook(e.n, e.k, e.format(), c, e.codes)
	return &quant.Quantized{Base: base}, err
}

// fit fits the codebooks of a stage to w [N,K].
func (e *encoding) fit(stage int, w quant.Matrix) {
	v := e.Vector
	entries := 1 << (v*e.Bits - e.Second)
	if stage == 1 {
		entries = 1 << e.Second
	}
	for k0 := 0; k0 < e.k; k0 += e.size {
		p := &points{v: v, rows: e.n / v, cols: min(e.size, e.k-k0), scales: e.scales}
		p.weights = append(p.weights, e.h[k0:k0+p.cols]...)
		var total float64
		for _, h := range p.weights {
			total += h
		}
		if total == 0 { // dead channels only
			for j := range p.weights {
				p.weights[j] = 1
			}
		}
		p.x = make([]float32, p.rows*p.cols*v)
		for i := range e.n {
			for j, x := range w.Row(i)[k0 : k0+p.cols] {
				p.x[(i/v*p.cols+j)*v+i%v] = x
			}
		}
		b := e.start(p, entries)
		p.lloyd(b)
		b.round()
		b.sort()
		e.books[stage] = append(e.books[stage], b)
	}
}

// run quantizes all columns by so many stages of codebooks. left, where not nil, becomes
// what each weight was short of when its column was taken.
func (e *encoding) run(stages int, left *quant.Matrix) error {
	return e.pass.Strips(e.Vector, func(i, col int, x, hat []float64) error {
		e.codes[i*e.k+col] = e.code(hat, x, i, col, stages)
		if left != nil {
			for r := range x {
				left.Row(i*e.Vector + r)[col] = float32(x[r] - hat[r])
			}
		}
		return nil
	})
}

// code returns the code of the vector x of row i of vectors in the column col, and sets
// hat to what it stands for.
func (e *encoding) code(hat, x []float64, i, col, stages int) (code uint32) {
	v := e.Vector
	scale := e.scales[i*v : (i+1)*v]
	clear(hat)
	var rest [quant.MaxVector]float64
	for stage := range stages {
		for r := range x {
			rest[r] = x[r] - hat[r]
		}
		b := e.books[stage][col/e.size]
		c, _ := b.nearest(rest[:v], scale, 0)
		for r, value := range b.entry(c) {
			hat[r] += scale[r] * value
		}
		code |= uint32(c) << (stage * (v*e.Bits - e.Second))
	}
	return code
}
