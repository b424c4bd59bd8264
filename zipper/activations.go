package zipper

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"
	"unsafe"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/quant"
)

// scheme is what kernels have to multiply.
type scheme int

const (
	schemeA8   scheme = iota // int4 by int8, one scale per token
	schemeA4                 // the same, activations with scales of their own beside the sums
	schemeA16                // int4 by float32
	schemeBF16               // bfloat16 by float32
	schemes
)

func (s scheme) String() string { return [...]string{"a8", "a4", "a16", "bf16"}[s] }

// float reports whether activations stay float32.
func (s scheme) float() bool { return s == schemeA16 || s == schemeBF16 }

func schemeOf(a quant.Activations) scheme {
	switch a {
	case quant.A8:
		return schemeA8
	case quant.A4:
		return schemeA4
	case quant.A16:
		return schemeA16
	}
	panic(fmt.Sprintf("zipper: no scheme for activations %s", a))
}

// activations are tokens in the positions of a grid, one token after another.
//
// Quantized ones are bytes like the codes of quant.A8 or quant.A4. After them
// come 8 bytes for every cell, so that one offset leads from a cell to its sum:
// the sum of all codes before the cell, times 8 because codes of W are 8 too large;
// and the scale of the cell, for quant.A4 only. Others are float32; after them
// comes -8 times the sum of each group, where weights have a zero of their own.
type activations struct {
	ld, sums int // bytes from a token to the next; from a code to the sums
	gathered int // from a code to its segment as gather writes it, if kernels read records
	data     []byte
	scales   []float32 // [tokens] NaN where a token is not finite; 1 unless they are one per token
}

var activationBuffers = sync.Pool{New: func() any { return new(activations) }}

// floatOver is how far a narrow strip may reach beyond the cells of a token.
const floatOver = 512

// newActivations prepares x [M,K] for w. Tokens from M up to a whole number of
// kernel calls stay zero. Give the result back with release.
func (w *Weights) newActivations(k *kernel, x gemm.Matrix) *activations {
	a := activationBuffers.Get().(*activations)
	cells := w.grid.cells()
	// A strip may begin in the last cell and reach beyond it, and a chunk of a
	// strip is multiplied by 64 bytes, however few it has.
	over := max(w.main.shape.stripCells, w.secondShape().stripCells)
	if w.scheme.float() {
		a.sums = ceilDiv(4*cellCols*(cells+over)+floatOver, 64) * 64
		a.ld = a.sums
		if w.codec.head.offset() {
			a.ld += ceilDiv(4*w.grid.groups(), 64) * 64
		}
	} else {
		a.sums = ceilDiv(8*(cells+over)+64, 64) * 64
		a.ld = ceilDiv(a.sums+8*(cells+over+1), 64) * 64
	}
	panels, widened := k.panelsFor(w, x.Rows)
	exact := w.main.shape.mode == cellsExact && !widened
	a.gathered = 0
	if exact {
		a.gathered = ceilDiv(a.ld, 64) * 64
		a.ld = a.gathered + a.sums + segmentCells*cellBytes
	}
	if a.ld%128 == 0 { // an odd number of lines spreads tokens over the cache's sets
		a.ld += 64
	}
	if n := panels.padded(x.Rows)*a.ld + 64; cap(a.data) < n {
		a.data = alignedTo(n, cacheLine)
	} else {
		a.data = a.data[:n]
		clear(a.data)
	}
	a.scales = append(a.scales[:0], make([]float32, x.Rows)...)
	parallel(min(workers(), ceilDiv(x.Rows, 8)), x.Rows, func(t int) {
		row := a.data[t*a.ld : (t+1)*a.ld]
		a.scales[t] = 1
		switch w.scheme {
		case schemeA8:
			a.scales[t] = k.quantizeToken(row, x.Row(t), w.grid)
			writeSums(row, row[a.sums:], cells+over)
		case schemeA4:
			k.quantizeGroups(row, row[a.sums:], x.Row(t), w.grid, cells+over)
			writeSums(row, row[a.sums:], cells+over)
		default:
			w.floatToken(asFloats(row), x.Row(t))
			if w.codec.head.offset() {
				w.grid.groupSums(asFloats(row[a.sums:]), asFloats(row))
			}
		}
		if exact && w.scheme.float() {
			gatherFloats(asFloats(row[a.gathered:]), asFloats(row), cells)
		} else if exact {
			gather(row[a.gathered:], row, cells)
		}
	})
	return a
}

// floatToken writes x, rounded to w's activations, to the positions of the grid.
func (w *Weights) floatToken(dst, x []float32) {
	if w.activations.Bits > 0 {
		buffer := floatBuffers.Get().(*[]float32)
		defer floatBuffers.Put(buffer)
		*buffer = append((*buffer)[:0], x...)
		x = *buffer
		w.activations.Apply(gemm.Matrix{Rows: 1, Cols: len(x), Stride: len(x), Data: x})
	}
	w.grid.copyFloats(dst, x)
}

// groupSums sets sums to -8 times the sums of the groups of x, which lies in the
// positions of the grid.
func (g grid) groupSums(sums, x []float32) {
	for group := range g.groups() {
		var sum float64
		first := group * g.groupCells() * cellCols
		for _, v := range x[first : first+min(g.group, g.k-group*g.group)] {
			sum += float64(v)
		}
		sums[group] = float32(-8 * sum)
	}
}

func (a *activations) release() { activationBuffers.Put(a) }

// writeSums sets the sums of the codes in row, cells of them and the one after.
func writeSums(row, sums []byte, cells int) {
	var sum int32
	for c := range cells {
		binary.LittleEndian.PutUint32(sums[8*c:], uint32(8*sum))
		sum += cellSum(binary.LittleEndian.Uint64(row[8*c:]))
	}
	binary.LittleEndian.PutUint32(sums[8*cells:], uint32(8*sum))
}

// quantizeToken writes the codes of x to dst and returns the scale.
func (k *kernel) quantizeToken(dst []byte, x []float32, g grid) float32 {
	scale := k.scaleOf(x, 127)
	if !(scale > 0) {
		return scale
	}
	for c := 0; c < g.k; c += g.run() {
		k.quantizeRun(dst[g.position(c):], x[c:min(c+g.run(), g.k)], scale, 127)
	}
	return scale
}

// quantizeGroups does it for groups of quant.A4, whose scales it writes to the
// sums of their cells; cells beyond the last group are given its scale.
func (k *kernel) quantizeGroups(dst, sums []byte, x []float32, g grid, cells int) {
	size := quant.A4.Group
	cell := 0
	for c := 0; c < g.k; c += size {
		part := x[c:min(c+size, g.k)]
		scale := k.scaleOf(part, 7)
		if scale > 0 {
			run := min(g.run(), len(part))
			for i := 0; i < len(part); i += run {
				k.quantizeRun(dst[g.position(c+i):], part[i:min(i+run, len(part))], scale, 7)
			}
		}
		end := cells
		if c+size < g.k {
			end = g.position(c+size) / cellCols
		}
		for ; cell < end; cell++ {
			binary.LittleEndian.PutUint32(sums[8*cell+4:], math.Float32bits(scale))
		}
	}
}

// run is how many columns lie side by side in the grid.
func (g grid) run() int {
	if g.group%cellCols == 0 {
		return g.k
	}
	return g.group
}

// scaleOf returns the scale that maps x to ±top: NaN if x is not finite, 0 if
// it is all zero, or so small that the scale underflows.
func (k *kernel) scaleOf(x []float32, top int32) float32 {
	whole := len(x) / k.lanes * k.lanes
	var m uint32
	if whole > 0 {
		m = k.maxAbs(x[:whole])
	}
	m = max(m, maxAbsGeneric(x[whole:]))
	if m >= 0x7f800000 {
		return float32(math.NaN())
	}
	return math.Float32frombits(m) / float32(top)
}

func (k *kernel) quantizeRun(dst []byte, x []float32, scale float32, top int32) {
	whole := len(x) / k.lanes * k.lanes
	if whole > 0 {
		k.quantize(dst[:whole], x[:whole], scale, top)
	}
	quantizeGeneric(dst[whole:], x[whole:], scale, top)
}

// copyFloats copies x to the positions of the grid.
func (g grid) copyFloats(dst, x []float32) {
	for c := 0; c < g.k; c += g.run() {
		copy(dst[g.position(c):], x[c:min(c+g.run(), g.k)])
	}
}

// asBytes returns the memory of v.
func asBytes(v []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), 4*len(v))
}

// asFloats returns the memory of b as float32.
func asFloats(b []byte) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(&b[0])), len(b)/4)
}

// decode writes token t as float32, column by column: what quant's Apply gives.
func (w *Weights) decode(a *activations, t int, dst []float32) {
	row := a.data[t*a.ld:]
	for c := 0; c < w.grid.k; c += w.grid.run() {
		p, n := w.grid.position(c), min(w.grid.run(), w.grid.k-c)
		switch w.scheme {
		case schemeA8:
			scale := a.scales[t]
			for i, b := range row[p : p+n] {
				dst[c+i] = float32(int8(b)) * scale
			}
		case schemeA4:
			sums := row[a.sums:]
			for i, b := range row[p : p+n] {
				scale := math.Float32frombits(binary.LittleEndian.Uint32(sums[(p+i)/cellCols*8+4:]))
				dst[c+i] = float32(int8(b)) * scale
			}
		default:
			copy(dst[c:c+n], asFloats(row)[p:])
		}
	}
}

// cellSum is the sum of 8 signed bytes: with the signs flipped they are the
// unsigned numbers b+128, whose sum a multiplication gathers in its top bytes.
func cellSum(v uint64) int32 {
	const pairs = 0x00ff00ff00ff00ff
	u := v ^ 0x8080808080808080
	u = u&pairs + u>>8&pairs
	return int32(u*0x0001000100010001>>48) - 8*128
}
