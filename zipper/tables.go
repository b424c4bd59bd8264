package zipper

import (
	"encoding/binary"

	"github.com/mosaicquant/mosaicquant/quant"
)

// Where each row has levels of its own (quant.Any4, quant.AnyFew), a register holds columns of one row,
// not rows of one column: then its index looks up the levels of one row. Codes of a
// group lie row by row, 32 columns in 16 bytes, the first 16 of them in low nibbles. The last
// 32 columns of a group may be fewer; kernels do not multiply the others. Each row sums
// to a register of its own, and 16 of them become one, of 16 rows, at the end of a group.

// tabledCols is how many columns of a row lie in 16 bytes.
const tabledCols = 32

// tabledBytes is the size of the codes of so many cells of 16 rows.
func tabledBytes(cells int) int {
	return panelRows * ceilDiv(cells*cellCols, tabledCols) * tabledCols / 2
}

// appendTables appends the levels of 16 rows of panel p, 16 for each row, half precision.
func appendTables(out []byte, base *quant.Packed, p int) []byte {
	each := 1 << base.Format.Bits
	tables := make([]byte, tableBytes)
	for r := range min(base.N-p*panelRows, panelRows) {
		for u, v := range base.Tables[(p*panelRows+r)*each:][:each] {
			binary.LittleEndian.PutUint16(tables[2*(16*r+u):], v)
		}
	}
	return append(out, tables...)
}

// appendTabled appends the codes of a group of panel p: cols of a row from first on.
func appendTabled(out []byte, base *quant.Packed, p, first, cols, cells int) []byte {
	rowLen := (base.K*base.Format.Bits + 7) / 8
	for i := range panelRows {
		row := make([]byte, tabledBytes(cells)/panelRows)
		if n := p*panelRows + i; n < base.N {
			for in := range cols {
				at, shift := tabledAt(in)
				row[at] |= codeAt(base.Codes[n*rowLen:], first+in, base.Format.Bits) << shift
			}
		}
		out = append(out, row...)
	}
	return out
}

// tabledAt returns byte and bit of a column of a row.
func tabledAt(in int) (at, shift int) {
	return in/tabledCols*16 + in%16, in % tabledCols / 16 * 4
}

// tabledCode returns the code of a column of row i of a group of so many cells.
func tabledCode(codes []byte, cells, i, in int) byte {
	at, shift := tabledAt(in)
	return codes[i*tabledBytes(cells)/panelRows+at] >> shift & 15
}

// outputs is how many times the size of its products a kernel writes to.
func (s *shape) outputs() int {
	if s.mode == cellsTables {
		return 1 + panelRows
	}
	return 1
}
