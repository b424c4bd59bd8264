package quant

import (
	"fmt"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/half"
)

// Matrix is a row-major float32 matrix.
type Matrix = gemm.Matrix

// Problem is one linear layer to quantize. It is read, never modified.
type Problem struct {
	Name    string
	Weights Matrix   // W [N,K]
	Moments *Moments // of the inputs of this layer; nil where a method needs none
	HeldOut *Moments // of other inputs, for the criterion oracle; nil without
	Seed    uint64   // for methods and criteria that draw random numbers
}

// Quantizer is a method: RTN, GPTQ, SpQR, MosaicQuant ...
type Quantizer interface {
	// Quantize returns Ŵ in its stored form. It reports what data can cause
	// (NaN weights, K not divisible by a fixed group, a singular H) as an error
	// that names layer and value; it never falls back to another method.
	Quantize(p Problem) (*Quantized, error)
}

// Quantized is Ŵ [N,K]: a dense base, and what a method keeps beside it. It is
// a gemm.Source, so a model can run on it as stored. Its parts apply in the
// order of the fields.
type Quantized struct {
	Base     *Packed
	Columns  *Columns  // whole channels, which the base then lacks; nil without
	LowRank  *LowRank  // added to all weights; nil without
	Residual *Residual // added to the base on its blocks; nil without
	Outliers *Outliers // replace the base at their places; nil without
	// ChannelScales [K], half precision, divide the columns of all that is above:
	// what is stored is W·diag(s), and the layer multiplies it by x/s. Nil: ones.
	ChannelScales []uint16
	// InputBits is the least width to which the inputs of this layer may be
	// rounded, whatever the activations of the model are; 0: any.
	InputBits int
	Warnings  []string
}

// Dims returns N and K.
func (q *Quantized) Dims() (n, k int) {
	if q.Columns != nil {
		return q.Columns.N, q.Columns.K
	}
	return q.Base.Dims()
}

// Load decodes a tile of Ŵ into dst.
func (q *Quantized) Load(dst Matrix, n0, k0 int) {
	if q.Columns != nil {
		q.Columns.load(dst, q.Base, n0, k0)
	} else {
		q.Base.Load(dst, n0, k0)
	}
	if q.LowRank != nil {
		q.LowRank.Add(dst, n0, k0)
	}
	if q.Residual != nil {
		q.Residual.add(dst, q.Base, n0, k0)
	}
	if q.Outliers != nil {
		q.Outliers.replace(dst, n0, k0)
	}
	if q.ChannelScales != nil {
		scales := make([]float32, dst.Cols)
		for j := range scales {
			scales[j] = half.FromF16(q.ChannelScales[k0+j])
		}
		for i := range dst.Rows {
			row := dst.Row(i)
			for j, s := range scales {
				row[j] /= s
			}
		}
	}
}

// Plain says that q is its base and nothing else.
func (q *Quantized) Plain() bool {
	return q.Columns == nil && q.LowRank == nil && q.Residual == nil && q.Outliers == nil && q.ChannelScales == nil
}

// WithoutResidual returns q less its residual; the rest is shared.
func (q *Quantized) WithoutResidual() *Quantized {
	r := *q
	r.Residual = nil
	return &r
}

// Dequantize returns Ŵ in float32.
func (q *Quantized) Dequantize() Matrix {
	w := gemm.NewMatrix(q.Dims())
	q.Load(w, 0, 0)
	return w
}

// Density is the share of blocks with a residual, or of weights kept as
// outliers or in whole columns; 0 for a plain base.
func (q *Quantized) Density() float64 {
	switch {
	case q.Columns != nil:
		return float64(q.Columns.Count) / float64(q.Columns.K)
	case q.Residual != nil:
		return q.Residual.Density()
	case q.Outliers != nil:
		return q.Outliers.Density()
	}
	return 0
}

// Ledger itemises the bytes of a quantized matrix as it is stored.
type Ledger []Entry

// Entry is one item of a Ledger.
type Entry struct {
	Name  string
	Bytes int64
}

// Total is the sum of all entries.
func (l Ledger) Total() int64 {
	var sum int64
	for _, e := range l {
		sum += e.Bytes
	}
	return sum
}

// Ledger returns the stored bytes by name, empty items left out: codes, scales,
// zeros, second-level scales, tables, column values and index, low-rank
// factors, channel scales, residual codes, scales and index, outlier values and
// index. It is computed from the lengths of the arrays themselves.
func (q *Quantized) Ledger() Ledger {
	var l Ledger
	add := func(name string, bytes int) {
		if bytes > 0 {
			l = append(l, Entry{name, int64(bytes)})
		}
	}
	for _, e := range q.Base.ledger() {
		add(e.Name, int(e.Bytes))
	}
	if c := q.Columns; c != nil {
		add("column values", 2*len(c.Half))
		if c.Packed != nil {
			add("column values", int(c.Packed.Bytes()))
		}
		add("column index", len(c.Index.Data))
	}
	if r := q.LowRank; r != nil {
		add("low-rank factors", 2*(len(r.Left)+len(r.Right)))
	}
	add("channel scales", 2*len(q.ChannelScales))
	if r := q.Residual; r != nil {
		add("residual codes", len(r.Codes))
		add("residual scales", 2*len(r.Scales))
		add("residual index", len(r.StoredIndex()))
	}
	if o := q.Outliers; o != nil {
		add("outlier values", 2*len(o.Values))
		add("outlier index", len(o.RowPtr.Data)+len(o.Cols.Data))
	}
	return l
}

// BitsPerWeight is the stored size, everything included, over N·K.
func (q *Quantized) BitsPerWeight() float64 {
	n, k := q.Dims()
	return 8 * float64(q.Ledger().Total()) / (float64(n) * float64(k))
}

func (p Problem) Errorf(format string, args ...any) error {
	return fmt.Errorf("quant: %s: "+format, append([]any{p.Name}, args...)...)
}

// Diag returns h of the problem, or nil without moments.
func (p Problem) Diag() []float64 {
	if p.Moments == nil {
		return nil
	}
	return p.Moments.Diag()
}
