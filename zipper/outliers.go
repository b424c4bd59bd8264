package zipper

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
)

// outliers is a sparse half-precision matrix in compressed sparse rows, as
// quant.Outliers, with indices of a width that kernels read: 4 bytes for an
// outlier, 4 for a row.
//
// A base without a level of zero keeps its weights in their places, and what is added
// is the difference. It takes two entries, which together have 22 bits.
type outliers struct {
	ptr        []uint32 // [N+1]
	cols, vals []uint16
	ptrWidth   int // of the index in quant's form
	colsWidth  int
	// unit is what values are multiplied by, through the activations: a power of two,
	// so that the second entry of a difference is no subnormal number. 0 for none.
	unit float32
}

func newOutliers(o *quant.Outliers) *outliers {
	s := &outliers{ptrWidth: o.RowPtr.Width, colsWidth: o.Cols.Width}
	for i := range o.RowPtr.Len() {
		s.ptr = append(s.ptr, uint32(o.RowPtr.At(i)))
	}
	s.cols, s.vals = make([]uint16, o.Count(), o.Count()+1), make([]uint16, o.Count(), o.Count()+1)
	for i := range s.cols {
		s.cols[i], s.vals[i] = uint16(o.Cols.At(i)), o.Values[i]
	}
	return s
}

// newDifferences returns what o adds to the weights of base in its places. It reports
// values that have no difference in float32.
func newDifferences(o *quant.Outliers, base *quant.Packed) (*outliers, error) {
	s := &outliers{ptrWidth: o.RowPtr.Width, colsWidth: o.Cols.Width, ptr: []uint32{0}}
	row := gemm.NewMatrix(1, base.K)
	var differences []float64
	var largest float64
	for n := range base.N {
		base.Load(row, n, 0)
		for i := o.RowPtr.At(n); i < o.RowPtr.At(n+1); i++ {
			k := o.Cols.At(i)
			d := float64(half.FromF16(o.Values[i])) - float64(row.Data[k])
			if d-d != 0 {
				return nil, fmt.Errorf("zipper: outlier %g in place of the weight %g at row %d, column %d",
					half.FromF16(o.Values[i]), row.Data[k], n, k)
			}
			differences, largest = append(differences, d), max(largest, math.Abs(d))
			s.cols = append(s.cols, uint16(k), uint16(k))
		}
		s.ptr = append(s.ptr, uint32(len(s.cols)))
	}
	_, exponent := math.Frexp(largest) // largest < 2^exponent
	s.unit = float32(math.Ldexp(1, exponent-15))
	s.vals = make([]uint16, 0, len(s.cols)+1)
	for _, d := range differences {
		d /= float64(s.unit)
		first := half.ToF16(float32(d))
		s.vals = append(s.vals, first, half.ToF16(float32(d-float64(half.FromF16(first)))))
	}
	s.cols = append(s.cols, 0)[:len(s.cols)] // kernels may read one more
	return s, nil
}

func (s *outliers) bytes() int64 { return int64(4*len(s.ptr) + 4*len(s.cols)) }

// withoutCodes returns b with the code of zero where outliers replace others.
func withoutCodes(b *quant.Packed, o *quant.Outliers, zero byte) *quant.Packed {
	c := *b
	c.Codes = slices.Clone(b.Codes)
	bits := b.Format.Bits
	rowLen := (b.K*bits + 7) / 8
	for n := range b.N {
		row := c.Codes[n*rowLen : (n+1)*rowLen]
		for i := o.RowPtr.At(n); i < o.RowPtr.At(n+1); i++ {
			k := o.Cols.At(i)
			flip(row, k, bits, codeAt(row, k, bits)^zero)
		}
	}
	return &c
}

// unpack returns the outliers in place of weights of base.
func (s *outliers) unpack(base *quant.Packed) *quant.Outliers {
	n, k := base.Dims()
	if s.unit != 0 {
		return s.unpackDifferences(base)
	}
	o := &quant.Outliers{N: n, K: k, RowPtr: quant.Ints{Width: s.ptrWidth}, Cols: quant.Ints{Width: s.colsWidth},
		Values: slices.Clone(s.vals)}
	for _, v := range s.ptr {
		o.RowPtr.Data = append(o.RowPtr.Data, binary.LittleEndian.AppendUint32(nil, v)[:s.ptrWidth]...)
	}
	for _, v := range s.cols {
		o.Cols.Data = append(o.Cols.Data, binary.LittleEndian.AppendUint32(nil, uint32(v))[:s.colsWidth]...)
	}
	return o
}

func (s *outliers) unpackDifferences(base *quant.Packed) *quant.Outliers {
	whole := &outliers{ptrWidth: s.ptrWidth, colsWidth: s.colsWidth, ptr: []uint32{0}, vals: []uint16{}}
	row := gemm.NewMatrix(1, base.K)
	for n := range base.N {
		base.Load(row, n, 0)
		for i := s.ptr[n]; i < s.ptr[n+1]; i += 2 {
			d := float64(s.unit) * (float64(half.FromF16(s.vals[i])) + float64(half.FromF16(s.vals[i+1])))
			whole.cols = append(whole.cols, s.cols[i])
			whole.vals = append(whole.vals, half.ToF16(float32(d+float64(row.Data[s.cols[i]]))))
		}
		whole.ptr = append(whole.ptr, s.ptr[n+1]/2)
	}
	return whole.unpack(base)
}

var floatBuffers = sync.Pool{New: func() any { return new([]float32) }}

// add adds the products of s with the tokens of a, as they were rounded, to y.
// One token gathers its activations. Several lie side by side, column by
// column, and one load serves them all.
func (s *outliers) add(k *kernel, w *Weights, y gemm.Matrix, a *activations) {
	width := 1
	if y.Rows > 1 {
		width = k.sparseWidth
	}
	buffer := floatBuffers.Get().(*[]float32)
	defer floatBuffers.Put(buffer)
	*buffer = slices.Grow((*buffer)[:0], w.k*(width+1))[:w.k*(width+1)]
	x, token := (*buffer)[:w.k*width], (*buffer)[w.k*width:]
	const rowsTask = 512
	p := workers()
	if len(s.cols)*y.Rows < serialOutliers {
		p = 1
	}
	for t := 0; t < y.Rows; t += width {
		n := min(width, y.Rows-t)
		if width == 1 {
			w.decode(a, t, x)
			s.scale(x)
		} else {
			clear(x)
			for i := range n {
				w.decode(a, t+i, token)
				s.scale(token)
				for c, v := range token {
					x[c*width+i] = v
				}
			}
		}
		parallel(p, ceilDiv(w.n, rowsTask), func(task int) {
			first := task * rowsTask
			rows := min(rowsTask, w.n-first)
			if width == 1 {
				k.sparse(s.ptr[first:first+rows+1], s.cols, s.vals, x, y.Row(t)[first:first+rows])
				return
			}
			out := make([]float32, rows*width)
			k.sparseLanes(s.ptr[first:first+rows+1], s.cols, s.vals, x, out)
			for i := range n {
				for j := range rows {
					y.Row(t + i)[first+j] += out[j*width+i]
				}
			}
		})
	}
}

// scale multiplies activations by the unit of the values.
func (s *outliers) scale(x []float32) {
	if s.unit == 0 {
		return
	}
	for i := range x {
		x[i] *= s.unit
	}
}

// serialOutliers is the number of outliers, times tokens, below which a second
// core costs more than it gains.
const serialOutliers = 16 << 10
