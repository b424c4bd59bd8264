package grid

import (
	"iter"
	"math"

	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/quant"
)

// bilevel rounds scales and zeros of the fitted groups of all rows to the codes
// of their second level: each is base + step·code over 16 rows.
func bilevel(_ Fitter, p quant.Problem, w quant.Matrix, grids []Grid, _ []bool) error {
	rows := w.Rows
	count := len(grids) / rows
	return parallel.For(quant.CeilDiv(rows, quant.BilevelRows)*count, func(b int) error {
		first, g := b/count*quant.BilevelRows, b%count
		end := min(first+quant.BilevelRows, rows)
		scale, zero := make([]float64, 0, quant.BilevelRows), make([]float64, 0, quant.BilevelRows)
		for i := first; i < end; i++ {
			gr := &grids[i*count+g]
			scale = append(scale, gr.Scale)
			z := 0.0
			if gr.Scale > 0 {
				z = -gr.Offset / gr.Scale
			}
			zero = append(zero, z)
		}
		second := new([4]uint16)
		scaleCode := secondLevel(scale, second[:2])
		zeroCode := secondLevel(zero, second[2:])
		if second[0]&0x7c00 == 0x7c00 || second[1]&0x7c00 == 0x7c00 {
			return p.Errorf("rows %d to %d, group %d: scales exceed half precision", first, end-1, g)
		}
		for i := first; i < end; i++ {
			gr := &grids[i*count+g]
			gr.Second, gr.Bits, gr.OffsetBits = second, uint16(scaleCode[i-first]), uint16(zeroCode[i-first])
			gr.Scale, gr.Offset = quant.BilevelDecode(second[:], scaleCode[i-first], zeroCode[i-first])
		}
		return nil
	})
}

// Codes are the grids of all pairs of codes for scale and zero of a Bilevel group
// on its second level, but for those of scale 0; none for other kinds.
func (g Grid) Codes() iter.Seq[Grid] {
	return func(yield func(Grid) bool) {
		if g.Second == nil {
			return
		}
		for c := range 1 << (2 * quant.BilevelBits) {
			b := g
			b.Bits, b.OffsetBits = uint16(c>>quant.BilevelBits), uint16(c&(1<<quant.BilevelBits-1))
			b.Scale, b.Offset = quant.BilevelDecode(b.Second[:], uint8(b.Bits), uint8(b.OffsetBits))
			if b.Scale > 0 && !yield(b) {
				return
			}
		}
	}
}

// secondLevel quantizes v to base + step·code and stores step and base.
func secondLevel(v []float64, store []uint16) []uint8 {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, x := range v {
		lo, hi = min(lo, x), max(hi, x)
	}
	const top = 1<<quant.BilevelBits - 1
	store[0], store[1] = half.ToF16(float32((hi-lo)/top)), half.ToF16(float32(lo))
	step, base := float64(half.FromF16(store[0])), float64(half.FromF16(store[1]))
	codes := make([]uint8, len(v))
	for i, x := range v {
		if step > 0 {
			codes[i] = uint8(max(0, min(top, math.RoundToEven((x-base)/step))))
		}
	}
	return codes
}
