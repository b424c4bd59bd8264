package zipper

import (
	"encoding/binary"
	"math"
	"math/bits"

	"github.com/mosaicquant/mosaicquant/quant"
)

// How kernels read the cells of a group.
const (
	cellsPlain   = iota // nibbles stand for u-8
	cellsLookUp         // nibbles stand for other levels
	cellsRiding         // the residual is added to the nibbles, see riding
	cellsWidened        // bytes: what riding gives, 128 to a cell
	cellsExact          // nibbles, beside records of just as many words for every 16 cells of a row
	cellsBytes          // codes of more than 4 bits, 128 to a cell, and 128 too large
	cellsE4M3           // E4M3 numbers, 128 to a cell
	cellsTables         // nibbles row by row, which stand for levels of their row, see tables.go
	cellsTrellis        // see trellis.go
	cellsChoice         // nibbles of a row stand for other levels or for u-8, see codec.choice
)

// A residual tied to the scales of an integer base, whose ratio is a whole number of
// half steps, rides in the codes: base and residual sum to one small integer in units
// of half a step, 2(u-8) + halves·v. It is added before anything is multiplied, so
// it has no scale, no sum and no product of its own.

// widenedZero is what stands for zero in the sum of base and residual: four times the 8
// of codes. With quant.MaxHalfSteps half steps 2u + 2·zeroCode + halves·v stays in 0..63,
// so that a pair of products with int8 activations fits the 16 bits that AVX2 sums in,
// four times over.
const widenedZero = 4 * zeroCode

// rides reports whether r can ride in the codes of w's base: 2-bit codes of -1, 0
// and 1 in blocks of whole cells, tied to an integer base, with a ratio of 1/2, 1 ... 8.
func (w *Weights) rides(r *quant.Residual) bool {
	switch {
	case !r.BaseScales || r.Bits != 2 || r.BlockCols%cellCols != 0:
		return false
	case w.codec.levels != stripLevels || w.codec.wide || w.grid.group > 1<<18:
		return false
	case w.format.Kind != quant.Integer && w.format.Kind != quant.Bilevel: // see head
		return false
	case w.scheme.float() && !w.exact(r):
		return false
	case w.grid.group%cellCols != 0 && w.grid.groups() > 1: // blocks lie across cells
		return false
	}
	if quant.InHalfSteps(r.Scales[0]) == 0 {
		return false
	}
	for _, b := range r.Codes {
		if (b|b>>1)&0x55 != 0x55 { // a code of 0 stands for -2
			return false
		}
	}
	return true
}

// exact reports whether r, which rides, does so in records: blocks of one cell, of which
// each segment keeps just as many, on groups that a segment is made of or that are made of
// segments.
func (w *Weights) exact(r *quant.Residual) bool {
	cells := w.grid.groupCells()
	return r.Index == quant.IndexExact && r.BlockRows == 1 && r.BlockCols == cellCols &&
		(segmentCells%cells == 0 || cells%segmentCells == 0 || w.grid.groups() == 1)
}

// overlay is a riding residual by panels.
type overlay struct {
	// words [panel, cell, row of the panel]: 2-bit codes of a row's 8 columns, and
	// above them 1 if the cell lies in a kept block.
	words [][]uint32
}

// newOverlay lays r out for the grid.
func newOverlay(g grid, r *quant.Residual) *overlay {
	o := &overlay{words: make([][]uint32, ceilDiv(r.N, panelRows))}
	for p := range o.words {
		o.words[p] = make([]uint32, g.cells()*panelRows)
	}
	for b := range r.RowPtr.Len() - 1 {
		for i := r.RowPtr.At(b); i < r.RowPtr.At(b+1); i++ {
			codes, _ := r.Block(i)
			for row := range min(r.BlockRows, r.N-b*r.BlockRows) {
				n := b*r.BlockRows + row
				for c := 0; c < r.BlockCols; c += cellCols {
					k := r.Cols.At(i)*r.BlockCols + c
					if k >= g.k {
						break
					}
					at := (row*r.BlockCols + c) / 4
					word := uint32(codes[at]) | uint32(codes[at+1])<<8 | 1<<16
					o.words[n/panelRows][g.position(k)/cellCols*panelRows+n%panelRows] = word
				}
			}
		}
	}
	return o
}

// appendMasks appends a bit for each row of each cell: whether a word follows the
// codes of the group.
func (o *overlay) appendMasks(out []byte, p, first, cells int) []byte {
	for c := range cells {
		var mask uint16
		for r, word := range o.words[p][(first+c)*panelRows:][:panelRows] {
			mask |= uint16(word>>16) << r
		}
		out = binary.LittleEndian.AppendUint16(out, mask)
	}
	return out
}

// appendWords appends the words of a group: nibble i has the codes of columns i and,
// above, 4+i, with their upper bits inverted, so that zeros stand for zeros.
func (o *overlay) appendWords(out []byte, p, first, cells int) []byte {
	for _, word := range o.words[p][first*panelRows:][:cells*panelRows] {
		if word>>16 == 1 {
			out = binary.LittleEndian.AppendUint16(out, toWord(uint16(word)))
		}
	}
	return out
}

// toWord reorders 8 codes of 2 bits from columns to nibbles; fromWord is its inverse.
func toWord(codes uint16) (word uint16) {
	codes ^= 0xaaaa
	for i := range 4 {
		word |= (codes>>(2*i)&3 | codes>>(8+2*i)&3<<2) << (4 * i)
	}
	return word
}

func fromWord(word uint16) (codes uint16) {
	for i := range 4 {
		nibble := word >> (4 * i) & 15
		codes |= nibble&3<<(2*i) | nibble>>2<<(8+2*i)
	}
	return codes ^ 0xaaaa
}

// rideTables sets what the four bits of a nibble of a word add to the codes of its
// two columns: the code times halves, and as much as keeps sums positive; the same alone,
// and as a float in steps.
func (t *laneTable) rideTables(halves int) {
	for u := range panelRows {
		for i := range 2 {
			v := (u>>(2*i)&3 ^ 2) - 2
			ride := uint32(byte(widenedZero - 2*zeroCode + halves*v))
			alone := uint32(byte(halves * v))
			lane := u / 4
			for lane < panelRows {
				t.part(laneRideLow + i)[lane] |= int32(ride << (u % 4 * 8))
				t.part(laneAloneLow + i)[lane] |= int32(alone << (u % 4 * 8))
				lane += 4
			}
			t.part(laneStepLow + i)[u] = int32(math.Float32bits(float32(halves*v) / 2))
		}
	}
}

// groupBytes returns where the codes of the group at data begin, and its size.
func (s *shape) groupBytes(data []byte, group int) (codes, size int) {
	cells := s.cellsOf(group)
	switch s.mode {
	case cellsWidened, cellsBytes, cellsE4M3:
		return s.headBytes, s.headBytes + 2*cellBytes*cells
	case cellsExact:
		codes = s.headBytes + s.records(group)*s.recordBytes
	case cellsRiding:
		codes = s.headBytes + 2*cells
		size = codes + cellBytes*cells
		for c := range cells {
			size += 2 * bits.OnesCount16(binary.LittleEndian.Uint16(data[s.headBytes+2*c:]))
		}
		return codes, size
	case cellsTables:
		return s.headBytes, s.headBytes + tabledBytes(cells)
	default:
		codes = s.headBytes
	}
	return codes, codes + cellBytes*cells
}

// readWords writes the words of a group of panel p, which begins at a cell, to o.
func (o *overlay) readWords(s *shape, data []byte, p, first, group int) {
	if s.mode == cellsExact {
		o.readRecords(s, data[s.headBytes:], p, first, s.records(group))
		return
	}
	codes, _ := s.groupBytes(data, group)
	cells := s.cellsOf(group)
	words := data[codes+cellBytes*cells:]
	for c := range cells {
		mask := binary.LittleEndian.Uint16(data[s.headBytes+2*c:])
		for r := range panelRows {
			if mask>>r&1 == 1 {
				o.words[p][(first+c)*panelRows+r] = uint32(fromWord(binary.LittleEndian.Uint16(words))) | 1<<16
				words = words[2:]
			}
		}
	}
}

// residual assembles the blocks of o in the order of BCSR.
func (o *overlay) residual(w *Weights) *quant.Residual {
	b := w.blocks
	r := &quant.Residual{N: w.n, K: w.k, BlockRows: b.rows, BlockCols: b.cols, Bits: 2, BaseScales: true,
		HalfSteps: b.halfSteps, Index: b.index, PerSegment: b.perSegment,
		RowPtr: quant.Ints{Width: b.ptrWidth}, Cols: quant.Ints{Width: b.colsWidth}, Scales: []uint16{b.ratio}}
	rows, cols := r.Grid()
	count := 0
	appendInt(&r.RowPtr, 0)
	for row := range rows {
		for col := range cols {
			var block []byte
			kept := false
			for i := range b.rows {
				for k := col * b.cols; k < (col+1)*b.cols; k += cellCols {
					codes := uint16(0xaaaa)
					if n := row*b.rows + i; n < w.n && k < w.k {
						word := o.words[n/panelRows][w.grid.position(k)/cellCols*panelRows+n%panelRows]
						if word>>16 == 1 {
							kept, codes = true, uint16(word)
						}
					}
					block = binary.LittleEndian.AppendUint16(block, codes)
				}
			}
			if kept {
				count++
				appendInt(&r.Cols, col)
				r.Codes = append(r.Codes, block...)
			}
		}
		appendInt(&r.RowPtr, count)
	}
	return r
}

// widenGeneric is kernel.widen.
func widenGeneric(dst, src []byte, s *shape, lanes *laneTable) {
	var words wordReader
	for group := range s.groups {
		codes, size := s.groupBytes(src, group)
		copy(dst, src[:s.headBytes])
		words.begin(s, src, group)
		words.widen(dst[s.headBytes:], src[codes:], s.cellsOf(group), lanes)
		dst, src = dst[s.headBytes+2*cellBytes*s.cellsOf(group):], src[size:]
	}
}

// wordReader tells the words of the cells of a group, in ascending order of cells and rows.
type wordReader struct {
	s            *shape
	first        int // cell of the group in its segment
	masks, words []byte
	records      []byte
}

// begin turns to a group, after those before it.
func (w *wordReader) begin(s *shape, data []byte, group int) {
	w.s = s
	codes, _ := s.groupBytes(data, group)
	switch s.mode {
	case cellsRiding:
		w.masks, w.words = data[s.headBytes:], data[codes+cellBytes*s.cellsOf(group):]
	case cellsExact:
		w.first = group * s.groupCells % segmentCells
		if n := s.records(group); n > 0 {
			w.records = data[s.headBytes:][:n*s.recordBytes]
		}
	}
}

// next returns the word of row r of cell c of the group.
func (w *wordReader) next(c, r int) (word uint16) {
	if w.s.mode == cellsExact {
		at := w.first + c
		record := w.records[at/segmentCells*w.s.recordBytes:][:w.s.recordBytes]
		for slot := range w.s.slots {
			// Of several slots only one has a word that is not zero.
			if place, v := readSlot(record[slot*slotBytes:], r); place == at%segmentCells {
				word |= v
			}
		}
		return word
	}
	if binary.LittleEndian.Uint16(w.masks[2*c:])>>r&1 == 1 {
		word = binary.LittleEndian.Uint16(w.words)
		w.words = w.words[2:]
	}
	return word
}

// widen writes so many cells to dst as bytes.
func (w *wordReader) widen(dst, codes []byte, cells int, lanes *laneTable) {
	low, high := lanes.part(laneRideLow), lanes.part(laneRideHigh)
	at := func(table []int32, u uint16) byte { return byte(table[u/4] >> (u % 4 * 8)) }
	for c := range cells {
		for r := range panelRows {
			word := w.next(c, r)
			for i, b := range codes[c*cellBytes+4*r:][:4] {
				nibble := word >> (4 * i) & 15
				dst[4*r+i] = 2*(b&15) + at(low, nibble)
				dst[cellBytes+4*r+i] = 2*(b>>4) + at(high, nibble)
			}
		}
		dst = dst[2*cellBytes:]
	}
}

// widened is the shape of what widen makes of panels of s, and its size.
func (s *shape) widened() (shape, int) {
	w := *s
	w.mode = cellsWidened
	return w, s.groups*s.headBytes + 2*cellBytes*((s.groups-1)*s.groupCells+s.lastCells)
}
