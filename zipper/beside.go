package zipper

import (
	"fmt"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
)

// beside is what a method keeps apart from base, residual and outliers: scales of
// channels, whole channels, a low-rank branch. It takes passes of its own, in float32.
type beside struct {
	scales []float32 // [K] the input is divided by; nil: ones
	// order [K] lists the channels of the base, then the kept ones; nil: none are kept.
	// Those are rounded to wider, and multiplied by columns [N,count].
	order   []int
	wider   quant.Activations
	columns gemm.Matrix
	// left [N,rank] and right [rank,K] are the branch, whose input is the base's.
	left, right gemm.Matrix
	source      *quant.Quantized // where all of it is as it was stored
}

// newBeside returns what q keeps apart; nil if that is nothing.
func newBeside(q *quant.Quantized, a quant.Activations) *beside {
	if q.ChannelScales == nil && q.Columns == nil && q.LowRank == nil {
		return nil
	}
	b := &beside{source: q}
	if ch := q.Inputs(quant.A8).Channels; ch != nil {
		b.scales, b.order = ch.Scale, ch.Order
		if a.Bits > 0 && ch.Bits < 16 {
			b.wider = quant.Activations{Bits: max(ch.Bits, a.Bits)}
		}
	}
	if c := q.Columns; c != nil {
		b.columns = gemm.NewMatrix(c.N, c.Count)
		if c.Packed != nil {
			c.Packed.Load(b.columns, 0, 0)
		} else {
			decodeHalves(b.columns, c.Half)
		}
	}
	if l := q.LowRank; l != nil {
		b.left, b.right = gemm.NewMatrix(l.N, l.Rank), gemm.NewMatrix(l.Rank, l.K)
		decodeHalves(b.left, l.Left)
		decodeHalves(b.right, l.Right)
	}
	return b
}

func decodeHalves(dst gemm.Matrix, src []uint16) {
	for i, v := range src {
		dst.Data[i] = half.FromF16(v)
	}
}

// bytes is what a product reads of b.
func (b *beside) bytes() int64 {
	return 4 * int64(len(b.scales)+len(b.columns.Data)+len(b.left.Data)+len(b.right.Data))
}

// split returns the input of the base and that of the kept channels, rounded. x is
// not modified.
func (b *beside) split(x gemm.Matrix) (base, kept gemm.Matrix) {
	if b.scales == nil && b.order == nil {
		return x, kept
	}
	inner := x.Cols - b.columns.Cols
	base = gemm.NewMatrix(x.Rows, inner)
	if b.order != nil {
		kept = gemm.NewMatrix(x.Rows, x.Cols-inner)
	}
	parallel(min(workers(), ceilDiv(x.Rows, 8)), x.Rows, func(t int) {
		row := x.Row(t)
		at := func(j int) float32 {
			if b.scales == nil {
				return row[j]
			}
			return row[j] / b.scales[j]
		}
		for i := range inner {
			j := i
			if b.order != nil {
				j = b.order[i]
			}
			base.Row(t)[i] = at(j)
		}
		for i := range kept.Cols {
			kept.Row(t)[i] = at(b.order[inner+i])
		}
	})
	b.wider.Apply(kept)
	return base, kept
}

// add adds the products of what is kept apart with the kept channels and with the
// tokens of a, as they were rounded.
func (b *beside) add(w *Weights, y, kept gemm.Matrix, a *activations) {
	if kept.Cols > 0 {
		gemm.Gemm(false, true, 1, kept, b.columns, 1, y)
	}
	if b.left.Cols == 0 {
		return
	}
	x := gemm.NewMatrix(y.Rows, w.k)
	for t := range x.Rows {
		w.decode(a, t, x.Row(t))
	}
	inner := gemm.NewMatrix(y.Rows, b.right.Rows)
	gemm.MulNT(inner, x, b.right)
	gemm.Gemm(false, true, 1, inner, b.left, 1, y)
}

// checkBeside reports parts whose sizes do not fit the base's.
func checkBeside(q *quant.Quantized) error {
	n, k := q.Base.Dims()
	if c := q.Columns; c != nil && (c.N != n || c.K-c.Count != k) {
		return fmt.Errorf("zipper: %d channels of %dx%d apart from a base of %dx%d", c.Count, c.N, c.K, n, k)
	}
	if l := q.LowRank; l != nil && (l.N != n || l.K != k) {
		return fmt.Errorf("zipper: a branch of %dx%d on a base of %dx%d", l.N, l.K, n, k)
	}
	if s := q.ChannelScales; s != nil && q.Columns == nil && len(s) != k {
		return fmt.Errorf("zipper: %d channel scales on a base of %dx%d", len(s), n, k)
	}
	return nil
}
