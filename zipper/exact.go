package zipper

import (
	"encoding/binary"

	"github.com/mosaicquant/mosaicquant/quant"
)

// Where every segment of 16 cells keeps as many words in each row, they lie in records of
// fixed size, and no kernel looks for them among cells: it multiplies them by activations
// that it gathers from the segment, 16 rows at a time. A cell costs nothing then but
// twice its codes, and a word as much as its own products.

// segmentCells is how many cells a record is of.
const segmentCells = quant.SegmentBlocks

// slotBytes is the size of a slot of a record: for 16 rows a place of 4 bits, row r in the
// half r%2 of byte r/2, and a word of 2 bytes.
const slotBytes = panelRows/2 + 2*panelRows

// records is how many records follow the head of a group: those of the segments that
// begin in it.
func (s *shape) records(group int) int {
	if s.mode != cellsExact || group*s.groupCells%segmentCells != 0 {
		return 0
	}
	return ceilDiv(s.cellsOf(group), segmentCells)
}

// readSlot returns place and word of row r of a slot.
func readSlot(slot []byte, r int) (place int, word uint16) {
	return int(slot[r/2] >> (r % 2 * 4) & 15), binary.LittleEndian.Uint16(slot[panelRows/2+2*r:])
}

// appendRecords appends the records of a group of panel p that begins at cell first. Rows
// and segments that keep fewer words than there are slots have words of zeros at place 0.
func (o *overlay) appendRecords(out []byte, s *shape, p, first, group int) []byte {
	end := min(first+segmentCells*s.records(group), len(o.words[p])/panelRows)
	for ; first < end; first += segmentCells {
		record := make([]byte, s.recordBytes)
		for r := range panelRows {
			slot := record
			for c := first; c < min(first+segmentCells, end); c++ {
				if word := o.words[p][c*panelRows+r]; word>>16 == 1 {
					slot[r/2] |= byte(c-first) << (r % 2 * 4)
					binary.LittleEndian.PutUint16(slot[panelRows/2+2*r:], toWord(uint16(word)))
					slot = slot[slotBytes:]
				}
			}
		}
		out = append(out, record...)
	}
	return out
}

// readRecords is the inverse of appendRecords.
func (o *overlay) readRecords(s *shape, data []byte, p, first, records int) {
	for range records {
		kept := min(s.slots, len(o.words[p])/panelRows-first)
		for slot := range kept {
			for r := range panelRows {
				place, word := readSlot(data[slot*slotBytes:], r)
				o.words[p][(first+place)*panelRows+r] = uint32(fromWord(word)) | 1<<16
			}
		}
		first, data = first+segmentCells, data[s.recordBytes:]
	}
}

// gather writes the activations of a token, cells of them, by segments: first the first
// four columns of all 16 cells, then the others; 128 larger than they are.
func gather(dst, codes []byte, cells int) {
	for c := range cells {
		at := c / segmentCells * segmentCells * cellCols
		v := binary.LittleEndian.Uint64(codes[cellCols*c:]) ^ 0x8080808080808080
		binary.LittleEndian.PutUint32(dst[at+c%segmentCells*4:], uint32(v))
		binary.LittleEndian.PutUint32(dst[at+(segmentCells+c%segmentCells)*4:], uint32(v>>32))
	}
}

// gatherFloats is gather for float activations: column by column.
func gatherFloats(dst, x []float32, cells int) {
	for c := range cells {
		at := c/segmentCells*segmentCells*cellCols + c%segmentCells
		for i, v := range x[cellCols*c:][:cellCols] {
			dst[at+i*segmentCells] = v
		}
	}
}
