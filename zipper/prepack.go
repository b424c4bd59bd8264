package zipper

import (
	"encoding/binary"
	"fmt"
	"slices"
	"unsafe"

	"github.com/mosaicquant/mosaicquant/internal/variants"
	"github.com/mosaicquant/mosaicquant/quant"
)

// Variant is a way to execute the same quantized matrix.
type Variant string

const (
	// Zipped executes base and residual in one pass over one stream.
	Zipped Variant = variants.Zipper
	// Dense4 leaves the residual out: the lower bound of time, not the same result.
	Dense4 Variant = variants.Dense4
	// Separate executes the base, and after it the residual in a pass of its own
	// that adds to Y: what Zipped is to be compared with.
	Separate Variant = variants.Separate
	// Outlier16 executes the base, and after it 16-bit outliers in compressed
	// sparse rows, in a pass of its own.
	Outlier16 Variant = variants.Outlier16
	// W16A16 executes bfloat16 weights with float32 activations and sums.
	W16A16 Variant = variants.W16A16
)

// Weights is Ŵ [N,K] in the layout of the kernels. It is safe for concurrent use.
type Weights struct {
	n, k    int
	format  quant.Format
	variant Variant

	activations quant.Activations
	scheme      scheme

	grid     grid
	codec    codec
	tensor   []float32 // of the base
	trellis  *trellis  // of a base of trellis codes
	blocks   *blocks   // nil without a residual
	main     stream
	second   *stream   // the strips of Separate
	outliers *outliers // of Outlier16
	beside   *beside   // nil without
}

// blocks is what the strips of a stream do not say of their residual.
type blocks struct {
	rows, cols          int
	rowScales           bool
	ptrWidth, colsWidth int // of its index
	index               quant.Index
	perSegment          int
	riding, halfSteps   bool
	ratio               uint16 // of a riding one
	// places lists the kept blocks where heads of strips do not tell: strips that end within a cell.
	places *quant.Residual
}

// stream is the panels of a matrix, one after another.
type stream struct {
	shape  shape
	lanes  laneTable
	data   []byte
	starts []int // [panels+1] first byte of a panel, a multiple of 64
}

// overread is how far the load of a strip's scales may reach beyond the stream.
const overread = 64

// PrepackFor lays q out for execution by variant v, W16A16 excepted, with
// activations a: quant.A8 (W4A8), quant.A16 (W4A16: float32 activations) or
// quant.A4 (W4A4 in what it computes; it runs on the int8 units, at their speed).
//
// It reports what Takes does: formats that have no kernel; for quant.A4, groups
// or blocks of columns that neither divide its 128 nor are multiples. Those that
// are multiples are cut, and their scales repeated.
// A residual with BaseScales is laid out as its quant.Residual.RowScaled, which
// rounds its steps, and has no kernel where that reports an error.
// q is not modified.
func PrepackFor(q *quant.Quantized, v Variant, a quant.Activations) (*Weights, error) {
	if v != Zipped && v != Dense4 && v != Separate && v != Outlier16 {
		return nil, fmt.Errorf("zipper: no variant %s of quantized weights", v)
	}
	if err := check(q, v, a); err != nil {
		return nil, err
	}
	b := q.Base
	w := &Weights{n: b.N, k: b.K, format: b.Format, variant: v, activations: a, scheme: schemeOf(a), tensor: b.Tensor}
	if needsFloat(b.Format) {
		w.scheme = schemeA16
	}
	w.beside = newBeside(q, a)
	w.codec = codecOf(b.Format, w.scheme.float(), b.Tensor)
	if w.codec.trellis {
		w.trellis, _ = newTrellis(b) // checked
	}
	if w.scheme.float() {
		a = quant.A16 // what is rounded is rounded beforehand
	}
	w.grid = newGrid(b.Format, b.K, a)
	w.main.shape = denseShape(w.grid, &w.codec)
	if v == Outlier16 {
		if !w.codec.hasZero() {
			var err error
			if w.outliers, err = newDifferences(q.Outliers, b); err != nil {
				return nil, err
			}
		} else {
			w.outliers = newOutliers(q.Outliers)
			b = withoutCodes(b, q.Outliers, w.codec.storedZero)
		}
	}
	if q.Residual == nil || v == Dense4 {
		return w, w.main.pack(w, b, nil, nil)
	}
	if r := q.Residual; v == Zipped && w.rides(r) {
		w.codec.unit = .5
		w.main.shape.mode = cellsRiding
		if w.exact(r) {
			w.main.shape.mode, w.main.shape.slots = cellsExact, r.PerSegment
			w.main.shape.recordBytes = slotBytes * r.PerSegment
		}
		w.blocks = &blocks{rows: r.BlockRows, cols: r.BlockCols, ptrWidth: r.RowPtr.Width, colsWidth: r.Cols.Width,
			index: r.Index, perSegment: r.PerSegment, riding: true, halfSteps: r.HalfSteps, ratio: r.Scales[0]}
		return w, w.main.pack(w, b, nil, newOverlay(w.grid, r))
	}
	r, err := q.Residual.RowScaled(b)
	if err != nil {
		return nil, fmt.Errorf("zipper: %w", err)
	}
	r = r.Widened(4)
	w.blocks = &blocks{rows: r.BlockRows, cols: r.BlockCols, rowScales: r.RowScales,
		ptrWidth: r.RowPtr.Width, colsWidth: r.Cols.Width, index: r.Index, perSegment: r.PerSegment}
	cols := r.BlockCols
	if a.Group > 0 {
		cols = gcd(cols, a.Group)
	}
	if cols%cellCols != 0 { // more than one strip may begin in a cell: who reads it back looks here
		w.blocks.places = &quant.Residual{N: r.N, K: r.K, BlockRows: r.BlockRows, BlockCols: r.BlockCols,
			RowPtr: r.RowPtr, Cols: r.Cols}
	}
	if v == Zipped {
		w.main.shape.zip(w.grid, r, cols)
		return w, w.main.pack(w, b, r, nil)
	}
	// The strips of a panel form a single tile, without groups.
	w.second = &stream{shape: shape{tileGroups: 1, groupCells: w.grid.cells(), lastCells: w.grid.cells()}}
	w.second.shape.zip(w.grid, r, cols)
	if err := w.main.pack(w, b, nil, nil); err != nil {
		return nil, err
	}
	return w, w.second.pack(w, b, r, nil)
}

// Dims returns N and K, channels that are kept apart included.
func (w *Weights) Dims() (n, k int) {
	if w.beside != nil {
		return w.n, w.k + w.beside.columns.Cols
	}
	return w.n, w.k
}

// Variant returns how w is executed.
func (w *Weights) Variant() Variant { return w.variant }

// Rides reports whether a residual is added to the codes of the base as they are
// unpacked, which needs one tied to the scales of the base; see the package's text.
func (w *Weights) Rides() bool { return w.blocks != nil && w.blocks.riding }

// Activations returns the format that MulNT rounds its input to; quant.A16 is
// none.
func (w *Weights) Activations() quant.Activations { return w.activations }

// Bytes returns the size of the streams, padding included: what one product
// with up to 8 tokens reads.
func (w *Weights) Bytes() int64 {
	b := int64(len(w.main.data))
	if w.second != nil {
		b += int64(len(w.second.data))
	}
	if w.outliers != nil {
		b += w.outliers.bytes()
	}
	if w.beside != nil {
		b += w.beside.bytes()
	}
	return b
}

// pack fills s by its shape with the base and either strips of r or o.
func (s *stream) pack(w *Weights, base *quant.Packed, r *quant.Residual, o *overlay) error {
	g := w.grid
	if last := min(s.shape.tileCells(), g.cells()) - 1; r != nil && last > maxOffset {
		return fmt.Errorf("zipper: K=%d with %s: a tile of %d cells, strips reach %d", g.k, base.Format, last+1, maxOffset+1)
	}
	s.lanes = s.shape.laneTable(r != nil && r.RowScales)
	if s.shape.groups > 0 {
		var mean, whole float32
		switch w.codec.head {
		case headDouble:
			mean = base.Tensor[0]
		case headWhole:
			whole = base.Tensor[0]
		}
		s.lanes.base(&w.codec, g.storedGroups(), mean, whole)
	}
	if o != nil {
		s.lanes.rideTables(quant.InHalfSteps(w.blocks.ratio))
	}
	panels := make([][]byte, ceilDiv(base.N, panelRows))
	parallel(workers(), len(panels), func(p int) { panels[p] = s.shape.packPanel(w, base, r, o, p) })
	s.starts = make([]int, 1, len(panels)+1)
	end := 0
	for _, p := range panels {
		end += ceilDiv(len(p), 64) * 64
		s.starts = append(s.starts, end)
	}
	s.data = allocate(end + overread)[:end]
	for i, p := range panels {
		copy(s.data[s.starts[i]:], p)
	}
	settle(s.data)
	return nil
}

const cacheLine = 64

// alignedTo returns n zero bytes that begin at a multiple of the given size.
func alignedTo(n, size int) []byte {
	b := make([]byte, n+size-1)
	skip := int(-uintptr(unsafe.Pointer(&b[0])) % uintptr(size))
	return b[skip : skip+n : skip+n]
}

// packPanel returns the stream of panel p.
func (s *shape) packPanel(w *Weights, base *quant.Packed, r *quant.Residual, o *overlay, p int) []byte {
	if w.trellis != nil {
		return w.trellis.packPanel(base, p)
	}
	g := w.grid
	var out []byte
	if s.groups > 0 {
		out = w.codec.appendPrefix(out, base, g.storedGroups(), p)
	}
	var todo []strip
	if r != nil {
		todo = s.stripsOf(g, r, p)
	}
	for cell := 0; cell < g.cells(); cell += s.tileCells() {
		if s.groups > 0 {
			first := cell / s.groupCells
			for group := first; group < min(first+s.tileGroups, s.groups); group++ {
				out = w.appendGroup(out, base, o, p, group)
			}
		}
		if s.strips == 0 {
			continue
		}
		n := 0
		for n < len(todo) && todo[n].cell < cell+s.tileCells() {
			n++
		}
		out = binary.LittleEndian.AppendUint32(out, uint32(n))
		for _, t := range todo[:n] {
			out = s.appendStrip(out, g, r, t, t.cell-cell)
		}
		todo = todo[n:]
	}
	return out
}

// appendGroup appends head and codes of a group, and what rides in them.
func (w *Weights) appendGroup(out []byte, base *quant.Packed, o *overlay, p, group int) []byte {
	g, bits := w.grid, base.Format.Bits
	out = w.codec.head.appendHead(out, base, g.storedGroups(), p, group*g.group/g.stored)
	rowLen := (g.k*bits + 7) / 8
	first := group * g.group
	cols := min(g.group, g.k-first)
	switch s := &w.main.shape; s.mode {
	case cellsRiding:
		out = o.appendMasks(out, p, group*g.groupCells(), g.cellsOf(group))
	case cellsExact:
		out = o.appendRecords(out, s, p, group*g.groupCells(), group)
	}
	if w.codec.tables {
		return appendTabled(out, base, p, first, cols, g.cellsOf(group))
	}
	for c := range g.cellsOf(group) {
		var bytes [2][cellBytes]byte // of columns 0 to 3 and 4 to 7, if codes are bytes
		for i := range panelRows {
			var codes [cellCols]byte
			n := p*panelRows + i
			for j := range codes {
				codes[j] = w.codec.zero
				if in := c*cellCols + j; n < base.N && in < cols {
					codes[j] = codeAt(base.Codes[n*rowLen:], first+in, bits)
					if w.codec.wide {
						codes[j] = w.codec.encoded[codes[j]]
					} else {
						codes[j] += w.codec.shift
						if w.codec.choice {
							at := n*g.storedGroups() + group*g.group/g.stored
							codes[j] = min(codes[j], 14) + base.ScaleBytes[at]>>7
						}
					}
				}
			}
			if w.codec.wide {
				copy(bytes[0][4*i:], codes[:4])
				copy(bytes[1][4*i:], codes[4:])
				continue
			}
			out = append(out, codes[0]|codes[4]<<4, codes[1]|codes[5]<<4, codes[2]|codes[6]<<4, codes[3]|codes[7]<<4)
		}
		if w.codec.wide {
			out = append(append(out, bytes[0][:]...), bytes[1][:]...)
		}
	}
	if w.main.shape.mode == cellsRiding {
		out = o.appendWords(out, p, group*g.groupCells(), g.cellsOf(group))
	}
	return out
}

// strip is stripRows rows of a kept block.
type strip struct {
	cell  int // its first
	row   int // its first, in the panel
	block int // kept block of the residual
	sub   int // its first row, in the block
	k     int // first column of the block
	first int // and of the strip
}

// stripsOf returns the strips of panel p in the order of the stream.
func (s *shape) stripsOf(g grid, r *quant.Residual, p int) []strip {
	var out []strip
	for row := 0; row < panelRows && p*panelRows+row < r.N; row += s.stripRows {
		n := p*panelRows + row
		for i := r.RowPtr.At(n / r.BlockRows); i < r.RowPtr.At(n/r.BlockRows+1); i++ {
			first := r.Cols.At(i) * r.BlockCols
			for k := first; k < min(first+r.BlockCols, g.k); k += s.stripCols {
				out = append(out, strip{g.position(k) / cellCols, row, i, n % r.BlockRows, first, k})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b strip) int { return a.cell - b.cell })
	return out
}

// appendStrip appends t, whose first cell is offset cells into the tile.
func (s *shape) appendStrip(out []byte, g grid, r *quant.Residual, t strip, offset int) []byte {
	codes, scales := r.Block(t.block)
	out = binary.LittleEndian.AppendUint16(out, uint16(t.row|offset<<4))
	if r.RowScales {
		scales = scales[t.sub : t.sub+s.stripRows]
	}
	for _, v := range scales {
		out = binary.LittleEndian.AppendUint16(out, v)
	}
	s.eachCode(func(row, position int, high bool) {
		code := byte(zeroCode)
		k := g.column(t.cell*cellCols + position)
		if k >= t.first && k < min(t.first+s.stripCols, t.k+r.BlockCols) {
			code = nibble(codes, (t.sub+row)*r.BlockCols+k-t.k)
		}
		if high {
			out[len(out)-1] |= code << 4
		} else {
			out = append(out, code)
		}
	})
	return out
}

// eachCode calls f for the codes of a strip as they are stored: for every byte
// its low nibble, then its high one.
func (s *shape) eachCode(f func(row, position int, high bool)) {
	for c := 0; c < s.stripCells; c += s.chunkCells {
		n := min(s.chunkCells, s.stripCells-c)
		for q := range n {
			for row := range s.stripRows {
				for i := range 4 {
					f(row, c*cellCols+4*q+i, false)
					f(row, c*cellCols+4*(n+q)+i, true)
				}
			}
		}
	}
}

// nibble returns code i of a packed row.
func nibble(src []byte, i int) byte { return src[i>>1] >> (i & 1 * 4) & 15 }
