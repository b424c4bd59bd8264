package zipper

import (
	"encoding/binary"
	"math"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// The generic kernel states what the assembly computes and runs everywhere.
var generic = &kernel{
	name: "generic",
	panels: [schemes]panelKernels{
		schemeA8:   {{1, panelGeneric(schemeA8, 1)}, {4, panelGeneric(schemeA8, 4)}},
		schemeA4:   {{1, panelGeneric(schemeA4, 1)}, {4, panelGeneric(schemeA4, 4)}},
		schemeA16:  {{1, panelGeneric(schemeA16, 1)}, {4, panelGeneric(schemeA16, 4)}},
		schemeBF16: {{1, panelBF16Generic(1)}, {4, panelBF16Generic(4)}},
	},
	lanes: 1, maxAbs: maxAbsGeneric, quantize: quantizeGeneric,
	sparse: sparseGeneric, sparseLanes: sparseLanesGeneric, sparseWidth: 4,
	sum: sumGeneric,
}

// walk is the state of the generic kernel on its way through a panel.
type walk struct {
	scheme scheme
	tokens int
	w, x   []byte // what is left of the stream; the activations of all tokens
	ld     int
	s      *shape
	acc    [4][panelRows]int32
	facc   [4][panelRows]float32 // instead of acc, for float activations
	scales [4]float32            // of the tokens
	out    []float32
}

func panelGeneric(scheme scheme, tokens int) func(w, x []byte, ld int, s *shape, lanes *laneTable, out []float32) {
	return func(w, x []byte, ld int, s *shape, lanes *laneTable, out []float32) {
		k := walk{scheme: scheme, tokens: tokens, w: w, x: x, ld: ld, s: s, out: out[:tokens*panelRows]}
		clear(k.out)
		var scales [panelRows]float32
		for group := 0; ; {
			tile := group * s.groupCells
			for end := min(group+s.tileGroups, s.groups); group < end; group++ {
				gemm.DecodeF16(scales[:], k.take(2*panelRows))
				first := group * s.groupCells
				k.begin(first, s.groupCells)
				for c := range s.groupCells {
					k.products(k.take(cellBytes), first+c, panelRows, 1)
				}
				k.scale(scales[:], 0)
			}
			if s.strips == 1 {
				for range binary.LittleEndian.Uint32(k.take(4)) {
					k.strip(tile, lanes)
				}
			}
			if group == s.groups {
				return
			}
		}
	}
}

// take returns the next n bytes of the stream.
func (k *walk) take(n int) []byte {
	b := k.w[:n]
	k.w = k.w[n:]
	return b
}

// strip adds the products of the next strip; tile is the first cell of its tile.
func (k *walk) strip(tile int, lanes *laneTable) {
	s := k.s
	head := k.take(s.stripHead)
	row := int(head[0] & 15)
	first := tile + int(binary.LittleEndian.Uint16(head)>>4)
	var scales [panelRows]float32
	stored := scales[:(s.stripHead-2)/2]
	gemm.DecodeF16(stored, head[2:])
	for r := s.stripRows - 1; r >= 0; r-- {
		scales[r] = scales[lanes[panelRows+r]]
	}
	k.begin(first, s.stripCells)
	for c := 0; c < s.stripCells; c += s.chunkCells {
		n := min(s.chunkCells, s.stripCells-c)
		k.products(k.take(4*s.stripRows*n), first+c, s.stripRows, n)
	}
	k.scale(scales[:s.stripRows], row)
}

// begin sets the accumulators to -8·Σx over the cells: codes are 8 too large.
func (k *walk) begin(first, cells int) {
	if k.scheme == schemeA16 {
		k.facc = [4][panelRows]float32{}
		return
	}
	for t := range k.tokens {
		sums := k.x[t*k.ld+k.s.sums:]
		v := int32(binary.LittleEndian.Uint32(sums[8*first:])) - int32(binary.LittleEndian.Uint32(sums[8*(first+cells):]))
		for r := range k.acc[t] {
			k.acc[t][r] = v
		}
		if k.scheme == schemeA4 {
			k.scales[t] = math.Float32frombits(binary.LittleEndian.Uint32(sums[8*first+4:]))
		}
	}
}

// products adds a chunk of rows x cells to the accumulators of its rows.
func (k *walk) products(chunk []byte, first, rows, cells int) {
	for q := range cells {
		for row := range rows {
			c := chunk[4*(q*rows+row):][:4]
			if k.scheme == schemeA16 {
				k.floatProducts(c, first, row, q, cells)
				continue
			}
			l0, l1, l2, l3 := int32(c[0]&15), int32(c[1]&15), int32(c[2]&15), int32(c[3]&15)
			h0, h1, h2, h3 := int32(c[0]>>4), int32(c[1]>>4), int32(c[2]>>4), int32(c[3]>>4)
			for t := range k.tokens {
				x := k.x[t*k.ld+8*first:]
				lo, hi := x[4*q:][:4], x[4*(cells+q):][:4]
				k.acc[t][row] += l0*int32(int8(lo[0])) + l1*int32(int8(lo[1])) + l2*int32(int8(lo[2])) + l3*int32(int8(lo[3])) +
					h0*int32(int8(hi[0])) + h1*int32(int8(hi[1])) + h2*int32(int8(hi[2])) + h3*int32(int8(hi[3]))
			}
		}
	}
}

// floatProducts adds the products of 4 bytes of codes, dword q of row.
func (k *walk) floatProducts(codes []byte, first, row, q, cells int) {
	for t := range k.tokens {
		x := asFloats(k.x[t*k.ld+4*8*first:])
		lo, hi := x[4*q:][:4], x[4*(cells+q):][:4]
		sum := k.facc[t][row]
		for i, c := range codes {
			sum += lo[i]*float32(int(c&15)-zeroCode) + hi[i]*float32(int(c>>4)-zeroCode)
		}
		k.facc[t][row] = sum
	}
}

// scale adds the accumulators, scaled, to the sums of the rows from row on.
func (k *walk) scale(scales []float32, row int) {
	for t := range k.tokens {
		out := k.out[t*panelRows+row:]
		for r, s := range scales {
			// The conversions forbid a fused multiply-add.
			switch k.scheme {
			case schemeA8:
				out[r] += float32(s * float32(k.acc[t][r]))
			case schemeA4:
				out[r] += float32(float32(s*float32(k.acc[t][r])) * k.scales[t])
			case schemeA16:
				out[r] += s * k.facc[t][r]
			}
		}
	}
}

// maxAbsGeneric returns the largest bit pattern of |x|: without the sign they
// are ordered like the numbers, and what is not finite comes out largest.
func maxAbsGeneric(x []float32) uint32 {
	var m uint32
	for _, v := range x {
		m = max(m, math.Float32bits(v)&0x7fffffff)
	}
	return m
}

// quantizeGeneric sets dst[i] = x[i]/scale, rounded to even and kept within ±top.
func quantizeGeneric(dst []byte, x []float32, scale float32, top int32) {
	for i, v := range x {
		q := math.RoundToEven(float64(v / scale))
		dst[i] = byte(int8(max(-float64(top), min(float64(top), q))))
	}
}

// sumGeneric returns the sum of all bytes.
func sumGeneric(p []byte) uint64 {
	var s uint64
	for _, b := range p {
		s += uint64(b)
	}
	return s
}

func panelBF16Generic(tokens int) func(w, x []byte, ld int, s *shape, lanes *laneTable, out []float32) {
	return func(w, x []byte, ld int, s *shape, lanes *laneTable, out []float32) {
		clear(out[:tokens*panelRows])
		for pair := range s.groupCells * cellCols / 2 {
			for t := range tokens {
				v := asFloats(x[t*ld:])[2*pair:][:2]
				for r := range panelRows {
					c := binary.LittleEndian.Uint32(w[64*pair+4*r:])
					out[t*panelRows+r] += v[0]*math.Float32frombits(c<<16) + v[1]*math.Float32frombits(c&0xffff0000)
				}
			}
		}
	}
}

func sparseGeneric(ptr []uint32, cols, vals []uint16, x, y []float32) {
	for i := range y {
		var sum float32
		for j := ptr[i]; j < ptr[i+1]; j++ {
			sum += half(vals[j]) * x[cols[j]]
		}
		y[i] += sum
	}
}

func sparseLanesGeneric(ptr []uint32, cols, vals []uint16, x, out []float32) {
	const width = 4
	for i := range len(ptr) - 1 {
		sums := out[i*width:][:width]
		clear(sums)
		for j := ptr[i]; j < ptr[i+1]; j++ {
			v := half(vals[j])
			for t, u := range x[int(cols[j])*width:][:width] {
				sums[t] += v * u
			}
		}
	}
}

// half widens a half-precision number.
func half(h uint16) float32 {
	var v [1]float32
	gemm.DecodeF16(v[:], []byte{byte(h), byte(h >> 8)})
	return v[0]
}
