package quant

import "slices"

// Index is how a Residual stores the places of its kept blocks.
type Index uint8

const (
	// IndexRows stores block compressed sparse rows: RowPtr and Cols.
	IndexRows Index = iota
	// IndexBitmap stores one bit for every block of the grid, block rows after each
	// other without padding, lowest bit first.
	IndexBitmap
	// IndexExact stores 4 bits for every kept block: its place in its segment, which is
	// SegmentBlocks consecutive blocks of a block row, the last one of what is left. Every
	// segment keeps exactly PerSegment blocks, or all it has, so nothing else is stored.
	// Places ascend within a segment, two to a byte, the low half first.
	IndexExact
	// IndexGaps stores for each kept block how many blocks lie between it and the kept one
	// before, in codes of 4 bits: 15 stands for fifteen blocks and goes on with another code.
	// gapRows block rows are a panel. The codes of a panel begin where a pointer says, so
	// that panels can be read independently. The pointers come first, one more than there
	// are panels, then the codes, two to a byte, the low half first.
	IndexGaps
)

// gapRows is the number of block rows that share a pointer of IndexGaps.
const gapRows = 16

// SegmentBlocks is the number of blocks of a segment of IndexExact.
const SegmentBlocks = 16

// String returns "rows", "bitmap", "exact" or "gaps".
func (x Index) String() string { return [...]string{"rows", "bitmap", "exact", "gaps"}[x] }

// eachPlace calls f for each kept block with its block row and column.
func (r *Residual) eachPlace(f func(row, col int)) {
	for b := range r.RowPtr.Len() - 1 {
		for i := r.RowPtr.At(b); i < r.RowPtr.At(b+1); i++ {
			f(b, r.Cols.At(i))
		}
	}
}

// StoredIndex returns the bytes of the index as it is stored. Those of IndexRows are its
// pointers, then its columns.
func (r *Residual) StoredIndex() []byte {
	rows, cols := r.Grid()
	switch r.Index {
	case IndexBitmap:
		out := make([]byte, PackedLen(rows*cols, 1))
		r.eachPlace(func(row, col int) {
			at := row*cols + col
			out[at>>3] |= 1 << (at & 7)
		})
		return out
	case IndexExact:
		places := make([]uint8, 0, r.Blocks())
		r.eachPlace(func(_, col int) { places = append(places, uint8(col%SegmentBlocks)) })
		out := make([]byte, PackedLen(len(places), 4))
		PackBits(out, places, 4)
		return out
	case IndexGaps:
		ptr, codes := r.gaps()
		out := make([]byte, PackedLen(len(codes), 4))
		PackBits(out, codes, 4)
		return slices.Concat(ptr.Data, out)
	}
	return slices.Concat(r.RowPtr.Data, r.Cols.Data)
}

// gaps returns the pointers and codes of IndexGaps.
func (r *Residual) gaps() (Ints, []uint8) {
	rows, cols := r.Grid()
	var codes []uint8
	ptr := make([]int, CeilDiv(rows, gapRows)+1)
	panel, next := 0, 0 // next block of the panel that no code has passed
	r.eachPlace(func(row, col int) {
		for ; panel < row/gapRows; next = 0 {
			panel++
			ptr[panel] = len(codes)
		}
		at := row%gapRows*cols + col
		for ; at-next >= 15; next += 15 {
			codes = append(codes, 15)
		}
		codes = append(codes, uint8(at-next))
		next = at + 1
	})
	for panel++; panel < len(ptr); panel++ {
		ptr[panel] = len(codes)
	}
	return NewInts(ptr, len(codes)), codes
}

// keptBlocks returns how many of the cols blocks of a block row IndexExact keeps, with
// perSegment in each segment.
func keptBlocks(cols, perSegment int) int {
	return cols/SegmentBlocks*perSegment + min(cols%SegmentBlocks, perSegment)
}

// SetPlaces makes r keep the blocks at cols[b] of each block row b, which ascend.
func (r *Residual) SetPlaces(cols [][]int) {
	ptr, all := make([]int, 1, len(cols)+1), []int(nil)
	for _, c := range cols {
		all = append(all, c...)
		ptr = append(ptr, len(all))
	}
	_, width := r.Grid()
	r.RowPtr, r.Cols = NewInts(ptr, len(all)), NewInts(all, width-1)
}

// places reads the index of r, of which all else but codes and scales is known.
func (d *decoder) places(r *Residual) {
	rows, cols := r.Grid()
	switch r.Index {
	case IndexBitmap:
		kept := make([][]int, rows)
		bits := d.bytes("bitmap of blocks", PackedLen(rows*cols, 1))
		if d.err != nil {
			return
		}
		for at := range 8 * len(bits) {
			if bits[at>>3]>>(at&7)&1 == 0 {
				continue
			}
			if at >= rows*cols {
				d.fail("bitmap of blocks has a bit beyond block %d", rows*cols)
				return
			}
			kept[at/cols] = append(kept[at/cols], at%cols)
		}
		r.SetPlaces(kept)
	case IndexExact:
		if d.err == nil && (r.PerSegment < 1 || r.PerSegment > SegmentBlocks) {
			d.fail("%d blocks in each %d", r.PerSegment, SegmentBlocks)
		}
		perRow := keptBlocks(cols, r.PerSegment)
		packed := d.bytes("places of blocks", PackedLen(rows*perRow, 4))
		if d.err != nil {
			return
		}
		if n := rows * perRow; n%2 == 1 && packed[n/2]>>4 != 0 {
			d.fail("places of blocks have one beyond the last")
			return
		}
		kept := make([][]int, rows)
		for b := range kept {
			for i := range perRow {
				col := i/r.PerSegment*SegmentBlocks + int(CodeAt(packed, b*perRow+i, 4))
				if col >= cols || i > 0 && col <= kept[b][i-1] {
					d.fail("block row %d: place %d is out of order or beyond %d", b, col, cols)
					return
				}
				kept[b] = append(kept[b], col)
			}
		}
		r.SetPlaces(kept)
	case IndexGaps:
		d.gaps(r, rows, cols)
	default:
		blocks := d.int("blocks", rows*cols)
		r.RowPtr = d.index("row pointers", rows+1, blocks)
		r.Cols = d.index("block columns", blocks, cols-1)
		d.rows(r.RowPtr, r.Cols, blocks, cols)
	}
}

// gaps reads the places of r as IndexGaps has them.
func (d *decoder) gaps(r *Residual, rows, cols int) {
	// Every code passes a block at least.
	count := d.int("codes of gaps", rows*cols)
	ptr := Ints{Width: IntWidth(count)}
	size := (CeilDiv(rows, gapRows) + 1) * ptr.Width
	data := d.bytes("gaps between blocks", size+PackedLen(count, 4))
	if d.err != nil {
		return
	}
	ptr.Data, data = data[:size], data[size:]
	last := ptr.Len() - 1
	if ptr.At(0) != 0 || ptr.At(last) != count || count%2 == 1 && data[count/2]>>4 != 0 {
		d.fail("gaps between blocks do not end with code %d", count)
		return
	}
	kept := make([][]int, rows)
	for panel := range last {
		from, end := ptr.At(panel), ptr.At(panel+1)
		blocks, at := min(gapRows, rows-panel*gapRows)*cols, 0
		beyond, open := from > end || end > count, false
		for i := from; i < end && !beyond; i++ {
			code := CodeAt(data, i, 4)
			at += int(code)
			open, beyond = code == 15, at >= blocks
			if !open && !beyond {
				row := panel*gapRows + at/cols
				kept[row] = append(kept[row], at%cols)
				at++
			}
		}
		if beyond || open {
			d.fail("gaps of block rows %d on lead beyond their %d blocks", panel*gapRows, blocks)
			return
		}
	}
	r.SetPlaces(kept)
}
