package zipper

import (
	"math"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/quant"
)

// Reference returns Y [M,N] = Q(x)·Ŵᵀ, Q the rounding of a, row by row, in float64 by three loops, from
// the canonical form: what every kernel is judged against. size [M,N] is the same
// of absolute values, to derive tolerances from. It is never optimised.
func Reference(q *quant.Quantized, x gemm.Matrix, a quant.Activations) (y, size []float64) {
	n, k := q.Dims()
	w := dequantize(q)
	xq := x.Clone()
	a.Apply(xq)
	y, size = make([]float64, x.Rows*n), make([]float64, x.Rows*n)
	for m := range x.Rows {
		for i := range n {
			for j := range k {
				v := float64(xq.Row(m)[j]) * w[i*k+j]
				y[m*n+i] += v
				size[m*n+i] += math.Abs(v)
			}
		}
	}
	return y, size
}

// dequantize returns Ŵ [N,K], base, with outliers in their places, and residual
// added in float64, where their sum is not rounded; with BaseScales it is, to
// float32.
func dequantize(q *quant.Quantized) []float64 {
	n, k := q.Dims()
	w := make([]float64, n*k)
	tied := q.Residual != nil && q.Residual.BaseScales
	base := &quant.Quantized{Base: q.Base, Outliers: q.Outliers}
	if tied {
		base = q
	}
	for i, v := range base.Dequantize().Data {
		w[i] = float64(v)
	}
	if q.Residual == nil || tied {
		return w
	}
	r := q.Residual.Widened(4)
	for row := range r.RowPtr.Len() - 1 {
		for b := r.RowPtr.At(row); b < r.RowPtr.At(row+1); b++ {
			codes, halves := r.Block(b)
			for i := range r.BlockRows {
				half := halves[0]
				if r.RowScales {
					half = halves[i]
				}
				var scale [1]float32
				gemm.DecodeF16(scale[:], []byte{byte(half), byte(half >> 8)})
				for j := range r.BlockCols {
					at, to := row*r.BlockRows+i, r.Cols.At(b)*r.BlockCols+j
					if at < n && to < k {
						w[at*k+to] += float64(int(nibble(codes, i*r.BlockCols+j))-zeroCode) * float64(scale[0])
					}
				}
			}
		}
	}
	return w
}
