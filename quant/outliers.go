package quant

import (
	"github.com/mosaicquant/mosaicquant/internal/half"
)

// Outliers is a sparse half-precision matrix [N,K] in compressed sparse rows
// (CSR), whose values replace those of the dense base.
type Outliers struct {
	N, K   int
	RowPtr Ints // [N+1]: the outliers of row n are RowPtr[n] up to RowPtr[n+1]
	Cols   Ints // [count], ascending within a row
	Values []uint16
}

// Count returns the number of outliers.
func (o *Outliers) Count() int { return len(o.Values) }

// Density is the share of weights that are outliers.
func (o *Outliers) Density() float64 {
	return float64(o.Count()) / (float64(o.N) * float64(o.K))
}

// replace overwrites the tile at (n0,k0) in dst where o has values.
func (o *Outliers) replace(dst Matrix, n0, k0 int) {
	for i := range dst.Rows {
		out := dst.Row(i)
		for p := o.RowPtr.At(n0 + i); p < o.RowPtr.At(n0+i+1); p++ {
			if k := o.Cols.At(p) - k0; k >= 0 && k < len(out) {
				out[k] = half.FromF16(o.Values[p])
			}
		}
	}
}

// NewOutliers gathers the values [N*K] that keep marks.
func NewOutliers(n, k int, keep []bool, values []uint16) *Outliers {
	o := &Outliers{N: n, K: k}
	ptr := make([]int, 1, n+1)
	var cols []int
	for i := range n {
		for j := range k {
			if keep[i*k+j] {
				cols = append(cols, j)
				o.Values = append(o.Values, values[i*k+j])
			}
		}
		ptr = append(ptr, len(cols))
	}
	o.RowPtr, o.Cols = NewInts(ptr, len(cols)), NewInts(cols, k-1)
	return o
}
