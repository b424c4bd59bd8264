package cuda

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/quant"
)

// packResidual writes the tiles of r. First the index learns which cells of
// which places exist, which numbers the tiles; then each block finds its tiles
// through it. Thin blocks at one place share a tile, and so do narrow ones, whose
// scales are those of the base and therefore the same.
func (l *Layout) packResidual(r *quant.Residual, o *order) error {
	meta := *r
	meta.Codes, meta.Scales = nil, nil
	l.residual = &meta
	if r.BlockCols%tileCols == 0 {
		l.RForm |= formTiles
	}
	if r.RowScales || r.BlockRows < panelRows {
		l.RForm |= formRowScales
	}
	l.Index = make([]byte, 4*l.Panels*l.Tiles)
	for br := range r.RowPtr.Len() - 1 {
		for b := r.RowPtr.At(br); b < r.RowPtr.At(br+1); b++ {
			l.eachPiece(br, r.Cols.At(b), func(p, j, s int, _, _ int) {
				mask := uint32(1) << (28 + s)
				if l.RForm&formTiles != 0 {
					mask = 15 << 28
				}
				at := l.Index[4*(p*l.Tiles+j):]
				binary.LittleEndian.PutUint32(at, binary.LittleEndian.Uint32(at)|mask)
			})
		}
	}
	tiles := 0
	for at := l.Index; len(at) > 0; at = at[4:] {
		mask := binary.LittleEndian.Uint32(at) >> 28
		binary.LittleEndian.PutUint32(at, mask<<28|uint32(tiles&(maxTiles-1)))
		if tiles += bits.OnesCount32(mask); l.RForm&formTiles != 0 && mask != 0 {
			tiles -= cells - 1
		}
	}
	if tiles >= maxTiles {
		return fmt.Errorf("cuda: residual of %d tiles, at most %d have numbers", tiles, maxTiles-1)
	}
	l.Index = binary.LittleEndian.AppendUint32(l.Index, uint32(tiles))
	l.R = make([]byte, max(16, tiles*l.recordSize()))
	for t := range tiles {
		o.zeros(l.codesOf(t))
	}
	parallel.Each(r.RowPtr.Len()-1, func(br int) { // blocks of one panel share bytes only if thin
		if r.BlockRows >= panelRows {
			l.packBlockRow(r, o, br)
		}
	})
	if r.BlockRows < panelRows {
		each := panelRows / r.BlockRows
		parallel.Each(ceilDiv(r.RowPtr.Len()-1, each), func(p int) {
			for br := p * each; br < min((p+1)*each, r.RowPtr.Len()-1); br++ {
				l.packBlockRow(r, o, br)
			}
		})
	}
	return nil
}

func (l *Layout) packBlockRow(r *quant.Residual, o *order, br int) {
	for b := r.RowPtr.At(br); b < r.RowPtr.At(br+1); b++ {
		codes, scales := r.Block(b)
		l.eachPiece(br, r.Cols.At(b), func(p, j, s, row, col int) {
			t := l.tile(p, j, s)
			for i := range l.pieceRows(br, row) {
				in := (row + i) % r.BlockRows
				scale := scales[0]
				if r.RowScales {
					scale = scales[in]
				}
				l.setScale(t, (row+i)%panelRows, scale)
				for c := range l.pieceCols(col) {
					u := quant.CodeAt(codes, in*r.BlockCols+col%r.BlockCols+c, r.Bits) + zeroCode - 1<<(r.Bits-1)
					at, shift := l.place(o, (row+i)%panelRows, s, col%cellCols+c)
					to := &l.codesOf(t)[at]
					*to = *to&^(15<<shift) | (u^o.flip)<<shift
				}
			}
		})
	}
}

// eachPiece calls f for every part of block (br,bc) that lies in one cell (or
// less, if it is thin): panel p, tile j, cell s, first row and column of the part.
func (l *Layout) eachPiece(br, bc int, f func(p, j, s, row, col int)) {
	r := l.residual
	for row := br * r.BlockRows; row < min((br+1)*r.BlockRows, l.N); row += panelRows {
		for col := bc * r.BlockCols; col < min((bc+1)*r.BlockCols, l.K); col += cellCols {
			f(row/panelRows, col/tileCols, col%tileCols/cellCols, row, col)
		}
	}
}

// pieceRows is the number of rows of a part that begins at row.
func (l *Layout) pieceRows(br, row int) int {
	return min(panelRows, min((br+1)*l.residual.BlockRows, l.N)-row)
}

// pieceCols is the number of columns of a part that begins at col.
func (l *Layout) pieceCols(col int) int { return min(cellCols, l.residual.BlockCols, l.K-col) }

// tile is the number of the tile of cell s at place (p,j), which must exist.
func (l *Layout) tile(p, j, s int) int {
	v := binary.LittleEndian.Uint32(l.Index[4*(p*l.Tiles+j):])
	first := int(v & (maxTiles - 1))
	if l.RForm&formTiles != 0 {
		return first
	}
	return first + bits.OnesCount32(v>>28&(1<<s-1))
}

// place is where the code of a row and a column of cell s is in its tile.
func (l *Layout) place(o *order, row, s, col int) (at int, shift uint8) {
	if l.RForm&formTiles != 0 {
		return o.nibble(row, s*cellCols+col)
	}
	return o.cellNibble(row, col)
}

// codeBytes is the size of the codes of a tile of the residual.
func (l *Layout) codeBytes() int {
	if l.RForm&formTiles != 0 {
		return tileBytes
	}
	return cellBytes
}

// recordSize is what a tile of the residual has, its scales included.
func (l *Layout) recordSize() int {
	if l.RForm&formRowScales != 0 {
		return l.codeBytes() + 2*panelRows
	}
	return l.codeBytes() + 16
}

func (l *Layout) codesOf(tile int) []byte { return l.R[tile*l.recordSize():][:l.codeBytes()] }

// scalesOf are those of the rows of a tile, or its only one, twice.
func (l *Layout) scalesOf(tile int) []byte {
	size := l.recordSize()
	return l.R[tile*size+l.codeBytes() : (tile+1)*size]
}

func (l *Layout) setScale(tile, row int, half uint16) {
	at := l.scalesOf(tile)
	if l.RForm&formRowScales != 0 {
		binary.LittleEndian.PutUint16(at[2*row:], half)
	} else {
		binary.LittleEndian.PutUint32(at, uint32(half)<<16|uint32(half))
	}
}

func (l *Layout) scale(tile, row int) uint16 {
	if l.RForm&formRowScales == 0 {
		row = 0
	}
	return binary.LittleEndian.Uint16(l.scalesOf(tile)[2*row:])
}

// putCode stores a code into zeroed bytes.
func putCode(dst []byte, i, width int, code byte) {
	at := i * width
	v := uint16(code) << (at & 7)
	dst[at>>3] |= byte(v)
	if v > 0xff {
		dst[at>>3+1] |= byte(v >> 8)
	}
}
