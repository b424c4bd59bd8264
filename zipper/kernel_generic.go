package zipper

import (
	"encoding/binary"
	"math"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
)

// The generic kernel states what the assembly computes and runs everywhere.
var generic = &kernel{
	name:   "generic",
	panels: panelsGeneric, riding: panelsGeneric, widened: panelsGeneric,
	lanes: 1, maxAbs: maxAbsGeneric, quantize: quantizeGeneric,
	sparse: sparseGeneric, sparseLanes: sparseLanesGeneric, sparseWidth: 4,
	widen: widenGeneric, widenFrom: 5, exact: panelsGeneric, exactUpTo: 5, bytes: panelsGeneric, sum: sumGeneric,
	decode: decodeGeneric, decoded: panelKernels{{1, decodedGeneric(1)}, {4, decodedGeneric(4)}},
}

var panelsGeneric = [schemes]panelKernels{
	schemeA8:   {{1, panelGeneric(schemeA8, 1)}, {4, panelGeneric(schemeA8, 4)}},
	schemeA4:   {{1, panelGeneric(schemeA4, 1)}, {4, panelGeneric(schemeA4, 4)}},
	schemeA16:  {{1, panelGeneric(schemeA16, 1)}, {4, panelGeneric(schemeA16, 4)}},
	schemeBF16: {{1, panelBF16Generic(1)}, {4, panelBF16Generic(4)}},
}

// walk is the state of the generic kernel on its way through a panel.
type walk struct {
	scheme scheme
	tokens int
	w, x   []byte // what is left of the stream; the activations of all tokens
	ld     int
	s      *shape
	lanes  *laneTable
	acc    [4][panelRows]int32
	facc   [4][panelRows]float32 // instead of acc, for float activations
	scales [4]float32            // of the tokens
	out    []float32
	prefix []byte
	words  wordReader

	integers uint16 // a bit for each row whose codes are integers, of cellsChoice
}

func panelGeneric(scheme scheme, tokens int) func(w, x []byte, ld int, s *shape, lanes *laneTable, out []float32) {
	return func(w, x []byte, ld int, s *shape, lanes *laneTable, out []float32) {
		k := walk{scheme: scheme, tokens: tokens, w: w, x: x, ld: ld, s: s, lanes: lanes, out: out[:tokens*panelRows]}
		clear(k.out)
		k.prefix = k.take(s.prefix)
		for group := 0; ; {
			tile := group * s.groupCells
			for end := min(group+s.tileGroups, s.groups); group < end; group++ {
				k.group(group)
			}
			if s.strips == 1 {
				for range binary.LittleEndian.Uint32(k.take(4)) {
					k.strip(tile)
				}
			}
			if group == s.groups {
				return
			}
		}
	}
}

// group adds the products of the next group, which is the one at group.
func (k *walk) group(group int) {
	s := k.s
	scales, offsets := k.head(group)
	first, cells := group*s.groupCells, s.cellsOf(group)
	k.begin(first, cells)
	if head(s.head).offset() {
		k.offset(&offsets, group)
	}
	switch {
	case s.mode == cellsExact && k.scheme == schemeA16:
		k.exactFloats(group)
		k.scale(scales[:], 0)
		return
	case s.mode == cellsBytes || s.mode == cellsE4M3:
		k.byteGroup(first, cells)
		k.scale(scales[:], 0)
		return
	case s.mode == cellsTables:
		k.tabledGroup(first, cells)
		k.scale(scales[:], 0)
		return
	case s.mode == cellsChoice:
		k.choiceGroup(first, cells)
		k.scale(scales[:], 0)
		return
	case s.mode >= cellsRiding:
		k.widenedGroup(group, &scales)
		return
	case s.mode == cellsLookUp && k.scheme != schemeA16:
		k.times(doubledZero / zeroCode)
	}
	for c := range cells {
		k.products(k.take(cellBytes), first+c, panelRows, 1, k.lanes.part(laneLevel), s.mode == cellsLookUp)
	}
	k.scale(scales[:], 0)
}

// choiceGroup adds the products of cells whose nibbles stand for integers in some rows, and
// for other levels in the others.
func (k *walk) choiceGroup(first, cells int) {
	if k.scheme != schemeA16 {
		k.times(doubledZero / zeroCode)
	}
	levels, doubled := k.lanes.part(laneLevel), k.lanes.part(laneDoubled)
	for c := range cells {
		cell := k.take(cellBytes)
		for r := range panelRows {
			for i := range cellCols {
				u := cell[4*r+i%4] >> (i / 4 * 4) & 15
				level, code := math.Float32frombits(uint32(levels[u])), doubled[u/4]>>(u%4*8)&255
				if k.integers>>r&1 == 1 {
					level, code = float32(int(u)-zeroCode), 2*int32(u)
				}
				for t := range k.tokens {
					if at := cellCols*(first+c) + i; k.scheme == schemeA16 {
						k.facc[t][r] += level * asFloats(k.x[t*k.ld:])[at]
					} else {
						k.acc[t][r] += code * int32(int8(k.x[t*k.ld+at]))
					}
				}
			}
		}
	}
}

// times multiplies the accumulators.
func (k *walk) times(by int32) {
	for t := range k.tokens {
		for r := range k.acc[t] {
			k.acc[t][r] *= by
		}
	}
}

// widenedGroup adds the products of a group whose cells are bytes, or become them,
// in half steps.
func (k *walk) widenedGroup(group int, scales *[panelRows]float32) {
	s := k.s
	first, cells := group*s.groupCells, s.cellsOf(group)
	k.times(widenedZero / zeroCode)
	bytes := k.w
	if s.mode == cellsWidened {
		k.take(2 * cellBytes * cells)
	} else {
		bytes = make([]byte, 2*cellBytes*cells)
		k.words.widen(bytes, k.beginWords(group), cells, k.lanes)
	}
	for c := range cells {
		for r := range panelRows {
			low, high := bytes[2*cellBytes*c+4*r:][:4], bytes[2*cellBytes*c+cellBytes+4*r:][:4]
			for t := range k.tokens {
				x := k.x[t*k.ld+cellCols*(first+c):][:cellCols]
				for i := range low {
					k.acc[t][r] += int32(low[i])*int32(int8(x[i])) + int32(high[i])*int32(int8(x[4+i]))
				}
			}
		}
	}
	for r := range scales {
		scales[r] *= math.Float32frombits(uint32(k.lanes.part(laneUnit)[r]))
	}
	k.scale(scales[:], 0)
}

// byteGroup adds the products of cells whose codes are bytes.
func (k *walk) byteGroup(first, cells int) {
	k.times(byteZero / zeroCode)
	for c := range cells {
		cell := k.take(2 * cellBytes)
		for r := range panelRows {
			for i := range cellCols {
				code := cell[i/4*cellBytes+4*r+i%4]
				for t := range k.tokens {
					at := cellCols*(first+c) + i
					switch {
					case k.s.mode == cellsE4M3:
						k.facc[t][r] += k.fromE4M3(code) * asFloats(k.x[t*k.ld:])[at]
					case k.scheme == schemeA16:
						k.facc[t][r] += float32(int(code)-byteZero) * asFloats(k.x[t*k.ld:])[at]
					default:
						k.acc[t][r] += int32(code) * int32(int8(k.x[t*k.ld+at]))
					}
				}
			}
		}
	}
}

// fromE4M3 is the value of an E4M3 or E5M2 number: its bits are those of a float32 number that
// is smaller by a power of two.
func (k *walk) fromE4M3(b byte) float32 {
	l := k.lanes
	bits := int32(uint32(b)<<24) >> l.part(laneE4M3Shift)[0] & l.part(laneE4M3)[0]
	return math.Float32frombits(uint32(bits)) * math.Float32frombits(uint32(l.part(laneE4M3Unit)[0]))
}

// tabledGroup adds the products of cells whose nibbles stand for levels of their rows.
func (k *walk) tabledGroup(first, cells int) {
	codes := k.take(tabledBytes(cells))
	var levels [16]float32
	for r := range panelRows {
		gemm.DecodeF16(levels[:], k.prefix[32*r:][:32])
		for i := range cells * cellCols {
			level := levels[tabledCode(codes, cells, r, i)]
			for t := range k.tokens {
				k.facc[t][r] += level * asFloats(k.x[t*k.ld:])[cellCols*first+i]
			}
		}
	}
}

// beginWords takes the next group, whose head was taken, and returns its codes.
func (k *walk) beginWords(group int) []byte {
	headless := *k.s
	headless.headBytes = 0
	codes, size := headless.groupBytes(k.w, group)
	k.words.begin(&headless, k.w, group)
	return k.take(size)[codes:]
}

// exactFloats adds the products of a group and of the words that its records have.
func (k *walk) exactFloats(group int) {
	first := group * k.s.groupCells
	codes := k.beginWords(group)
	for c := range k.s.cellsOf(group) {
		k.products(codes[cellBytes*c:][:cellBytes], first+c, panelRows, 1, k.lanes.part(laneLevel), false)
		for r := range panelRows {
			word := k.words.next(c, r)
			for i := 0; word != 0; i, word = i+1, word>>4 {
				for t := range k.tokens {
					x := asFloats(k.x[t*k.ld+4*cellCols*(first+c):])
					k.facc[t][r] += x[i]*math.Float32frombits(uint32(k.lanes.part(laneStepLow)[word&15])) +
						x[4+i]*math.Float32frombits(uint32(k.lanes.part(laneStepHigh)[word&15]))
				}
			}
		}
	}
}

// head reads the head of a group: the scales of its rows, and what the sum of
// -8·Σx over the group is multiplied by, if weights have a zero of their own.
func (k *walk) head(group int) (scales, offsets [panelRows]float32) {
	h := head(k.s.head)
	data := k.take(k.s.headBytes)
	unit := math.Float32frombits(uint32(k.lanes.part(laneUnit)[0]))
	switch h {
	case headHalf, headUnit, headAffine:
		gemm.DecodeF16(scales[:], data[:2*panelRows])
	case headBilevel:
		var second [4]float32
		gemm.DecodeF16(second[:], data[:8])
		for r := range scales {
			scales[r] = second[1] + float32(codeAt(data[8:], r, 3))*second[0]
			zero := second[3] + float32(codeAt(data[14:], r, 3))*second[2]
			offsets[r] = scales[r] * (zero*0.125 - 1)
		}
	case headE8M0:
		for r := range scales {
			// 2^-127 is a subnormal number, the half of the smallest other.
			scales[r] = unit * math.Float32frombits(max(uint32(data[r])<<23, 1<<22))
		}
	case headE4M3:
		for r := range scales {
			scales[r] = half.FromF16(uint16(data[r])<<7) * unit
		}
	case headDouble:
		first := int(binary.LittleEndian.Uint32(k.prefix))
		mean := math.Float32frombits(uint32(k.lanes.part(laneMean)[0]))
		for r := range scales {
			block := (first + int(k.lanes.part(laneGroups)[r]) + group) / quant.DoubleBlock
			largest := math.Float32frombits(binary.LittleEndian.Uint32(k.prefix[4+4*block:]))
			level := math.Float32frombits(uint32(k.lanes[laneScales*panelRows+int(data[r])]))
			scales[r] = float32(level*largest) + mean
		}
	case headChoice:
		k.integers = 0
		for r := range scales {
			scales[r] = half.FromF16(uint16(data[r]&^quant.IntegerChoice)<<7) * unit
			if data[r]&quant.IntegerChoice != 0 {
				k.integers |= 1 << r
				scales[r] *= 6. / 7
			}
		}
	case headByteZeros, headOffset:
		gemm.DecodeF16(scales[:], data[:2*panelRows])
	case headWhole:
		whole := math.Float32frombits(uint32(k.lanes.part(laneWhole)[0]))
		for r := range scales {
			scales[r] = float32(binary.LittleEndian.Uint16(data[2*r:])) * whole
		}
	case headRows:
		gemm.DecodeF16(scales[:], k.prefix[:2*panelRows])
		for r := range scales {
			scales[r] *= float32(data[r])
		}
	case headShift:
		gemm.DecodeF16(scales[:], k.prefix[:2*panelRows])
		for r := range scales {
			scales[r] *= float32(int(1) << codeAt(data, r, 4))
		}
	}
	switch h {
	case headUnit:
		for r := range scales {
			scales[r] *= unit
		}
	case headAffine:
		for r := range scales {
			offsets[r] = scales[r] * (float32(codeAt(data[2*panelRows:], r, 4))*0.125 - 1)
		}
	case headRows:
		for r := range scales {
			offsets[r] = scales[r] * (float32(codeAt(data[panelRows:], r, 4))*0.125 - 1)
		}
	case headByteZeros:
		for r := range scales {
			offsets[r] = scales[r] * ((float32(data[2*panelRows+r])-(byteZero-zeroCode))*0.125 - 1)
		}
	case headOffset:
		gemm.DecodeF16(offsets[:], data[2*panelRows:])
		for r := range offsets {
			offsets[r] *= -0.125
		}
	}
	return scales, offsets
}

// offset adds to the rows -8·Σx of the group times their offsets.
func (k *walk) offset(offsets *[panelRows]float32, group int) {
	for t := range k.tokens {
		out := k.out[t*panelRows:]
		for r, o := range offsets {
			switch k.scheme {
			case schemeA8:
				out[r] += float32(o * float32(k.acc[t][r]))
			case schemeA4:
				out[r] += float32(float32(o*float32(k.acc[t][r])) * k.scales[t])
			case schemeA16:
				out[r] += o * asFloats(k.x[t*k.ld+k.s.sums:])[group]
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
func (k *walk) strip(tile int) {
	s := k.s
	head := k.take(s.stripHead)
	row := int(head[0] & 15)
	first := tile + int(binary.LittleEndian.Uint16(head)>>4)
	var scales [panelRows]float32
	stored := scales[:(s.stripHead-2)/2]
	gemm.DecodeF16(stored, head[2:])
	for r := s.stripRows - 1; r >= 0; r-- {
		scales[r] = scales[k.lanes.part(laneScale)[r]]
	}
	k.begin(first, s.stripCells)
	for c := 0; c < s.stripCells; c += s.chunkCells {
		n := min(s.chunkCells, s.stripCells-c)
		k.products(k.take(4*s.stripRows*n), first+c, s.stripRows, n, k.lanes.part(laneStrip), false)
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

// products adds a chunk of rows x cells to the accumulators of its rows: nibbles
// stand for levels with float activations, for themselves or, doubled, for the
// bytes of laneDoubled with others.
func (k *walk) products(chunk []byte, first, rows, cells int, levels []int32, doubled bool) {
	var codes [cellCols]int32
	for q := range cells {
		for row := range rows {
			c := chunk[4*(q*rows+row):][:4]
			if k.scheme == schemeA16 {
				k.floatProducts(c, first, row, q, cells, levels)
				continue
			}
			for i, b := range c {
				codes[i], codes[4+i] = int32(b&15), int32(b>>4)
			}
			if doubled {
				table := k.lanes.part(laneDoubled)
				for i, u := range codes {
					codes[i] = table[u/4] >> (u % 4 * 8) & 255
				}
			}
			for t := range k.tokens {
				x := k.x[t*k.ld+8*first:]
				lo, hi := x[4*q:][:4], x[4*(cells+q):][:4]
				sum := k.acc[t][row]
				for i := range lo {
					sum += codes[i]*int32(int8(lo[i])) + codes[4+i]*int32(int8(hi[i]))
				}
				k.acc[t][row] = sum
			}
		}
	}
}

// floatProducts adds the products of 4 bytes of codes, dword q of row.
func (k *walk) floatProducts(codes []byte, first, row, q, cells int, levels []int32) {
	for t := range k.tokens {
		x := asFloats(k.x[t*k.ld+4*8*first:])
		lo, hi := x[4*q:][:4], x[4*(cells+q):][:4]
		sum := k.facc[t][row]
		for i, c := range codes {
			sum += lo[i]*math.Float32frombits(uint32(levels[c&15])) + hi[i]*math.Float32frombits(uint32(levels[c>>4]))
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
			sum += half.FromF16(vals[j]) * x[cols[j]]
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
			v := half.FromF16(vals[j])
			for t, u := range x[int(cols[j])*width:][:width] {
				sums[t] += v * u
			}
		}
	}
}
