package zipper

import (
	"encoding/binary"
	"math"
	"sync"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// activations are tokens quantized like quant.A8, in the positions of a grid,
// one token after another: first the codes, then for every cell the sum of
// all codes before it, times 8 because codes of W are 8 too large. A sum takes 8
// bytes like a cell, so that one offset leads from a cell to its sum.
type activations struct {
	ld, sums int // bytes from a token to the next; from a code to the sums
	data     []byte
	scales   []float32 // [tokens] NaN where a token is not finite
}

var activationBuffers = sync.Pool{New: func() any { return new(activations) }}

// quantizeActivations quantizes x [M,K] for w. Tokens from M up to a whole number
// of kernel calls stay zero. Give the result back with release.
func (w *Weights) quantizeActivations(k *kernel, x gemm.Matrix) *activations {
	a := activationBuffers.Get().(*activations)
	cells := w.grid.cells()
	// A strip may begin in the last cell and reach beyond it, and a chunk of a
	// strip is multiplied by 64 bytes, however few it has.
	over := max(w.main.shape.stripCells, w.secondShape().stripCells)
	a.sums = ceilDiv(8*(cells+over)+64, 64) * 64
	a.ld = ceilDiv(a.sums+8*(cells+over+1), 64) * 64
	if a.ld%128 == 0 { // an odd number of lines spreads tokens over the cache's sets
		a.ld += 64
	}
	if n := k.padded(x.Rows)*a.ld + 64; cap(a.data) < n {
		a.data = aligned(n)
	} else {
		a.data = a.data[:n]
		clear(a.data)
	}
	a.scales = append(a.scales[:0], make([]float32, x.Rows)...)
	parallel(min(workers(), ceilDiv(x.Rows, 8)), x.Rows, func(t int) {
		row := a.data[t*a.ld : (t+1)*a.ld]
		a.scales[t] = k.quantizeToken(row, x.Row(t), w.grid)
		sums := row[a.sums:]
		var sum int32
		for c := range cells + over {
			binary.LittleEndian.PutUint32(sums[8*c:], uint32(8*sum))
			sum += cellSum(binary.LittleEndian.Uint64(row[8*c:]))
		}
		binary.LittleEndian.PutUint32(sums[8*(cells+over):], uint32(8*sum))
	})
	return a
}

func (a *activations) release() { activationBuffers.Put(a) }

// quantizeToken writes the codes of x to dst and returns the scale.
func (k *kernel) quantizeToken(dst []byte, x []float32, g grid) float32 {
	whole := len(x) / k.lanes * k.lanes
	var m uint32
	if whole > 0 {
		m = k.maxAbs(x[:whole])
	}
	m = max(m, maxAbsGeneric(x[whole:]))
	if m >= 0x7f800000 {
		return float32(math.NaN())
	}
	scale := math.Float32frombits(m) / 127
	if scale == 0 { // all zero, or so small that the scale underflows
		return 0
	}
	run := g.group
	if g.group%cellCols == 0 {
		run = g.k // no padding between groups
	}
	for c := 0; c < g.k; c += run {
		part, out := x[c:c+run], dst[g.position(c):]
		whole := run / k.lanes * k.lanes
		if whole > 0 {
			k.quantize(out[:whole], part[:whole], scale)
		}
		quantizeGeneric(out[whole:], part[whole:], scale)
	}
	return scale
}

// cellSum is the sum of 8 signed bytes: with the signs flipped they are the
// unsigned numbers b+128, whose sum a multiplication gathers in its top bytes.
func cellSum(v uint64) int32 {
	const pairs = 0x00ff00ff00ff00ff
	u := v ^ 0x8080808080808080
	u = u&pairs + u>>8&pairs
	return int32(u*0x0001000100010001>>48) - 8*128
}
