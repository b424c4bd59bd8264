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
	u := &unpacker{Weights: w}
	if w.trellis != nil {
		u.base = w.trellis.unpack(w)
		return u.whole()
	}
	u.base = w.emptyBase()
	if w.blocks != nil && w.blocks.riding {
		u.overlay = newOverlay(w.grid, &quant.Residual{N: w.n, BlockRows: w.n})
	}
	if w.codec.wide {
		u.codes = w.codec.decoded(w.format)
	}
	for p := range len(w.main.starts) - 1 {
		w.codec.readPrefix(w.main.data[w.main.starts[p]:], u.base, p)
	}
	u.main.each(u.group, u.strip)
	if w.second != nil {
		w.second.each(u.group, u.strip)
	}
	return u.whole()
}

// whole returns the base and everything beside it.
func (u *unpacker) whole() *quant.Quantized {
	w := u.Weights
	q := &quant.Quantized{Base: u.base}
	switch {
	case u.overlay != nil:
		q.Residual = u.overlay.residual(w)
	case w.blocks != nil:
		q.Residual = u.residual()
	}
	if w.beside != nil {
		from := w.beside.source
		q.ChannelScales, q.Columns, q.LowRank = from.ChannelScales, from.Columns, from.LowRank
	}
	if w.outliers != nil {
		q.Outliers = w.outliers.unpack(u.base)
	}
	return q
}

// each calls group for all groups of s and strip for all strips, in the order of
// the stream; cell is the strip's first.
func (s *stream) each(group func(panel, group int, data []byte), strip func(s *shape, panel, cell int, data []byte)) {
	sh := &s.shape
	for p := range len(s.starts) - 1 {
		data := s.data[s.starts[p]+sh.prefix : s.starts[p+1]]
		for first := 0; ; {
			tile := first * sh.groupCells
			end := min(first+sh.tileGroups, sh.groups)
			for ; first < end; first++ {
				_, n := sh.groupBytes(data, first)
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
	base    *quant.Packed
	codes   [256]byte // of bytes of the stream
	strips  map[blockKey][]stripData
	overlay *overlay // of a riding residual

	// The strips of a panel that are still to come, where blocks.places lists them.
	panel  int
	listed []strip
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
	g, bits := u.grid, u.format.Bits
	u.codec.head.readHead(data, u.base, g.storedGroups(), panel, group*g.group/g.stored, group*g.group%g.stored == 0)
	if u.overlay != nil {
		u.overlay.readWords(&u.main.shape, data, panel, group*g.groupCells(), group)
	}
	at, _ := u.main.shape.groupBytes(data, group)
	data = data[at:]
	rowLen := (u.k*bits + 7) / 8
	for i := range min(panelRows, u.n-panel*panelRows) {
		n := panel*panelRows + i
		row := u.base.Codes[n*rowLen : (n+1)*rowLen]
		for in := range min(g.group, g.k-group*g.group) {
			var code byte
			switch {
			case u.codec.wide:
				code = u.codes[data[in/4*cellBytes+4*i+in%4]]
			case u.codec.tables:
				code = tabledCode(data, g.cellsOf(group), i, in)
			default:
				code = data[in/cellCols*cellBytes+4*i+in%4]>>(in%cellCols/4*4)&15 - u.codec.shift
				if u.codec.choice {
					code -= u.base.ScaleBytes[n*g.storedGroups()+group*g.group/g.stored] >> 7
				}
			}
			flip(row, group*g.group+in, bits, code)
		}
	}
}

// emptyBase returns the base of w with codes and scales of zero.
func (w *Weights) emptyBase() *quant.Packed {
	f, groups := w.format, w.grid.storedGroups()
	b := &quant.Packed{N: w.n, K: w.k, Format: f, Codes: make([]byte, w.n*((w.k*f.Bits+7)/8)), Tensor: w.tensor}
	zeros := f.Bits
	switch w.codec.head {
	case headE8M0, headE4M3, headDouble, headChoice:
		b.ScaleBytes = make([]byte, w.n*groups)
	case headRows:
		b.ScaleBytes, b.Second, zeros = make([]byte, w.n*groups), make([]uint16, w.n), 4
	case headOffset:
		b.Scales, b.Offsets = make([]uint16, w.n*groups), make([]uint16, w.n*groups)
		if w.codec.tables {
			b.Tables = make([]uint16, w.n<<f.Bits)
		}
		return b
	case headShift:
		b.ScaleBytes, b.Second = make([]byte, w.n*((4*groups+7)/8)), make([]uint16, w.n)
		return b
	case headBilevel:
		zeros = 3
		b.ScaleBytes = make([]byte, w.n*((3*groups+7)/8))
		b.Second = make([]uint16, ceilDiv(w.n, panelRows)*groups*4)
	default:
		b.Scales = make([]uint16, w.n*groups)
	}
	if w.codec.head.offset() {
		b.Zeros = make([]byte, w.n*((zeros*groups+7)/8))
	}
	return b
}

func (u *unpacker) strip(s *shape, panel, cell int, data []byte) {
	if u.strips == nil {
		u.strips = map[blockKey][]stripData{}
	}
	if places := u.blocks.places; places != nil {
		if u.panel != panel || u.listed == nil {
			u.panel, u.listed = panel, s.stripsOf(u.grid, places, panel)
		}
		t := u.listed[0]
		u.listed = u.listed[1:]
		key := blockKey{(panel*panelRows + t.row) / u.blocks.rows, t.k / u.blocks.cols}
		u.strips[key] = append(u.strips[key], stripData{s, t.sub, cell, data})
		return
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
		Index: b.index, PerSegment: b.perSegment,
		RowPtr: quant.Ints{Width: b.ptrWidth}, Cols: quant.Ints{Width: b.colsWidth}}
	rows, cols := r.Grid()
	count := 0
	appendInt(&r.RowPtr, 0)
	for row := range rows {
		for col := range cols {
			strips, ok := u.strips[blockKey{row, col}]
			if !ok {
				continue
			}
			count++
			appendInt(&r.Cols, col)
			codes, scales := u.block(strips, col*b.cols)
			r.Codes, r.Scales = append(r.Codes, codes...), append(r.Scales, scales...)
		}
		appendInt(&r.RowPtr, count)
	}
	return r
}

func appendInt(x *quant.Ints, v int) {
	for i := range x.Width {
		x.Data = append(x.Data, byte(v>>(8*i)))
	}
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
			if k := u.grid.column(t.cell*cellCols+position) - k0; k >= 0 && k < b.cols && code != zeroCode {
				values[(t.sub+row)*b.cols+k] = code // other strips of the block may share the cell
			}
		})
	}
	codes = make([]byte, (len(values)+1)/2)
	for i, c := range values {
		codes[i>>1] |= c << (i & 1 * 4)
	}
	return codes, scales
}
