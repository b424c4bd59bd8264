package zipper

import (
	"encoding/binary"

	"github.com/mosaicquant/mosaicquant/quant"
)

// Unpack reads the streams back into quant's canonical form; Dense4 has lost
// the residual and outliers, and Outlier16 the codes in their places, which come
// back as zero. It panics for W16A16. Rows of blocks beyond N come back as zero codes and scales, as
// quant leaves them.
func (w *Weights) Unpack() *quant.Quantized {
	if w.variant == W16A16 {
		panic("zipper: Unpack: 16-bit weights have no quantized form")
	}
	g := w.grid
	u := &unpacker{Weights: w, base: &quant.Packed{N: w.n, K: w.k, Format: w.format,
		Codes: make([]byte, w.n*((w.k+1)/2)), Scales: make([]uint16, w.n*g.storedGroups())}}
	u.main.each(u.group, u.strip)
	if w.second != nil {
		w.second.each(u.group, u.strip)
	}
	q := &quant.Quantized{Base: u.base}
	if w.blocks != nil {
		q.Residual = u.residual()
	}
	if w.outliers != nil {
		q.Outliers = w.outliers.unpack(w.n, w.k)
	}
	return q
}

// each calls group for all groups of s and strip for all strips, in the order of
// the stream; cell is the strip's first.
func (s *stream) each(group func(panel, group int, data []byte), strip func(s *shape, panel, cell int, data []byte)) {
	sh := &s.shape
	for p := range len(s.starts) - 1 {
		data := s.data[s.starts[p]:s.starts[p+1]]
		for first := 0; ; {
			tile := first * sh.groupCells
			end := min(first+sh.tileGroups, sh.groups)
			for ; first < end; first++ {
				n := 2*panelRows + cellBytes*sh.groupCells
				group(p, first, data[:n])
				data = data[n:]
			}
			if sh.strips == 1 {
				count := binary.LittleEndian.Uint32(data)
				data = data[4:]
				for range count {
					head := binary.LittleEndian.Uint16(data)
					strip(sh, p, tile+int(head>>4), data[:sh.stripBytes()])
					data = data[sh.stripBytes():]
				}
			}
			if first == sh.groups {
				break
			}
		}
	}
}

type unpacker struct {
	*Weights
	base   *quant.Packed
	strips map[blockKey][]stripData
}

type blockKey struct{ row, col int }

// stripData is a strip of a block, from its row sub on.
type stripData struct {
	shape *shape
	sub   int
	cell  int
	data  []byte
}

func (u *unpacker) group(panel, group int, data []byte) {
	g, rowLen := u.grid, (u.k+1)/2
	for i := range panelRows {
		n := panel*panelRows + i
		if n >= u.n {
			break
		}
		u.base.Scales[n*g.storedGroups()+group*g.group/g.stored] = binary.LittleEndian.Uint16(data[2*i:])
		row := u.base.Codes[n*rowLen : (n+1)*rowLen]
		for in := range g.group {
			b := data[2*panelRows+in/cellCols*cellBytes+4*i+in%4]
			code := b >> (in % cellCols / 4 * 4) & 15
			k := group*g.group + in
			row[k>>1] |= code << (k & 1 * 4)
		}
	}
}

func (u *unpacker) strip(s *shape, panel, cell int, data []byte) {
	if u.strips == nil {
		u.strips = map[blockKey][]stripData{}
	}
	row := panel*panelRows + int(data[0]&15)
	// The strip's first column lies in this cell; columns of strips are whole
	// cells apart, so there is only one.
	col := ceilDiv(u.grid.column(cell*cellCols), s.stripCols) * s.stripCols / u.blocks.cols
	key := blockKey{row / u.blocks.rows, col}
	u.strips[key] = append(u.strips[key], stripData{s, row % u.blocks.rows, cell, data})
}

// residual assembles the blocks in the order of BCSR.
func (u *unpacker) residual() *quant.Residual {
	b := u.blocks
	r := &quant.Residual{N: u.n, K: u.k, BlockRows: b.rows, BlockCols: b.cols, Bits: 4, RowScales: b.rowScales,
		RowPtr: quant.Ints{Width: b.ptrWidth}, Cols: quant.Ints{Width: b.colsWidth}}
	put := func(x *quant.Ints, v int) {
		for i := range x.Width {
			x.Data = append(x.Data, byte(v>>(8*i)))
		}
	}
	rows, cols := r.Grid()
	count := 0
	put(&r.RowPtr, 0)
	for row := range rows {
		for col := range cols {
			strips, ok := u.strips[blockKey{row, col}]
			if !ok {
				continue
			}
			count++
			put(&r.Cols, col)
			codes, scales := u.block(strips, col*b.cols)
			r.Codes, r.Scales = append(r.Codes, codes...), append(r.Scales, scales...)
		}
		put(&r.RowPtr, count)
	}
	return r
}

// block puts the strips of a block together.
func (u *unpacker) block(strips []stripData, k0 int) (codes []byte, scales []uint16) {
	b := u.blocks
	values := make([]byte, b.rows*b.cols)
	for i := range values {
		values[i] = zeroCode
	}
	scales = make([]uint16, 1)
	if b.rowScales {
		scales = make([]uint16, b.rows)
	}
	for _, t := range strips {
		for i := range (t.shape.stripHead - 2) / 2 {
			at := 0
			if b.rowScales {
				at = t.sub + i
			}
			scales[at] = binary.LittleEndian.Uint16(t.data[2+2*i:])
		}
		src := t.data[t.shape.stripHead:]
		t.shape.eachCode(func(row, position int, high bool) {
			code := src[0] & 15
			if high {
				code = src[0] >> 4
				src = src[1:]
			}
			if k := u.grid.column(t.cell*cellCols+position) - k0; k >= 0 && k < b.cols {
				values[(t.sub+row)*b.cols+k] = code
			}
		})
	}
	codes = make([]byte, (len(values)+1)/2)
	for i, c := range values {
		codes[i>>1] |= c << (i & 1 * 4)
	}
	return codes, scales
}
