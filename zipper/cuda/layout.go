package cuda

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/quant"
)

// Scheme is how weights meet activations.
type Scheme string

const (
	W4A16Half Scheme = "w4a16_f16"  // activations in half precision
	W4A16BF16 Scheme = "w4a16_bf16" // activations in bfloat16
	W4A8      Scheme = "w4a8"       // activations as quant.A8
	W4A4      Scheme = "w4a4"       // activations as quant.A4; native up to Ada, emulated on Hopper
)

// Sizes of kernels/ABI.md.
const (
	panelRows  = 16
	tileCols   = 64
	cellCols   = 16
	cells      = tileCols / cellCols
	cellBytes  = panelRows * cellCols / 2
	tileBytes  = panelRows * tileCols / 2
	padRows    = 128       // N is padded to a multiple of it
	maxTiles   = 1 << 26   // of a residual: in units of 16 bytes, a place has 32 bits
	maxColumns = 1<<20 - 1 // keeps offsets and integer sums of a row within 31 bits
	zeroCode   = 8
)

// Bits of rform, the form of residual tiles.
const (
	formTiles     = 1 << iota // 16x64, else cells of 16x16
	formRowScales             // 16 scales of a tile, else one
)

// Layout is Ŵ [N,K] as the kernels read it: a permutation of quant's canonical
// codes, padded to panels of 16 rows and tiles of 64 columns. Its fields are the
// buffers of kernels/ABI.md.
type Layout struct {
	N, K   int
	Scheme Scheme
	Panels int // P
	Tiles  int // KT
	Group  int // columns that share a scale, as kernels count: 64·KT for a row

	W []byte // tiles of the base [P,KT]
	S []byte // half [P,groups,16]

	Index []byte // u32 [P·KT + 1]; nil without a residual, and if it rides
	R     []byte
	RForm int

	// Outliers; nil without.
	Ptr, Cols, Values []byte

	format   quant.Format
	residual *quant.Residual // all but codes and scales
	outliers *quant.Outliers // widths of the index
}

// order is where a scheme keeps the codes of a 16x16 cell.
type order struct {
	flip byte // what turns the unsigned code u into what is stored
	// place [row·16+column] is 8·lane+i: nibble i of that lane's word.
	place [panelRows * cellCols]uint8
}

var orders = map[Scheme]*order{
	W4A16Half: newOrder(0, half), W4A16BF16: newOrder(0, half),
	W4A8: newOrder(8, func(t, i int) (int, int) { return i % 2, 4*t + i/2 }),
	W4A4: newOrder(8, func(t, i int) (int, int) { return i / 4, 4*t + i%4 }),
}

func half(t, i int) (row, col int) { return i % 2, 2*t + i/4 + 8*(i/2%2) }

// newOrder takes for nibble i of the lanes whose number is t mod 4 its column
// and which of the lane's two rows it lies in.
func newOrder(flip byte, at func(t, i int) (row, col int)) *order {
	o := &order{flip: flip}
	for lane := range 32 {
		for i := range 8 {
			row, col := at(lane%4, i)
			o.place[(lane/4*2+row)*cellCols+col] = uint8(8*lane + i)
		}
	}
	return o
}

// nibble returns where the code of a row and column is in a tile: a byte and a
// shift. In a 16x64 tile the words of a lane's four cells follow each other.
func (o *order) nibble(row, col int) (at int, shift uint8) {
	p := o.place[row*cellCols+col%cellCols]
	return int(p>>3)*16 + col/cellCols*4 + int(p&7)>>1, p & 1 * 4
}

// cellNibble is nibble in a cell of its own.
func (o *order) cellNibble(row, col int) (at int, shift uint8) {
	p := o.place[row*cellCols+col]
	return int(p >> 1), p & 1 * 4
}

// zeros fills b with codes of value 0.
func (o *order) zeros(b []byte) {
	v := (zeroCode ^ o.flip) * 0x11
	for i := range b {
		b[i] = v
	}
}

// NewLayout lays q out for the kernels of a scheme. It reports what they cannot
// hold, see Takes. A residual with BaseScales rides in the codes of the base, see
// Layout.Rides; where it cannot, it is laid out as its quant.Residual.RowScaled, if there is one.
// Beyond its result it needs no memory that grows with q, which it does not modify.
func NewLayout(q *quant.Quantized, scheme Scheme) (*Layout, error) {
	if err := check(q, scheme); err != nil {
		return nil, err
	}
	return newLayout(q, scheme, rides(q, scheme))
}

// NewSeparable is NewLayout with a residual that does not ride, so that a kernel of its own
// can multiply it.
func NewSeparable(q *quant.Quantized, scheme Scheme) (*Layout, error) {
	if err := check(q, scheme); err != nil {
		return nil, err
	}
	return newLayout(q, scheme, false)
}

func newLayout(q *quant.Quantized, scheme Scheme, rides bool) (*Layout, error) {
	o, b := orders[scheme], q.Base
	l := &Layout{N: b.N, K: b.K, Scheme: scheme, Panels: padRows / panelRows * ceilDiv(b.N, padRows),
		Tiles: ceilDiv(b.K, tileCols), format: b.Format}
	l.Group = b.Format.Group
	if l.Group == 0 {
		l.Group = tileCols * l.Tiles
	}
	l.W = make([]byte, l.Panels*l.Tiles*tileBytes)
	l.S = make([]byte, 2*l.Panels*l.groups()*panelRows)
	o.zeros(l.W)
	parallel.Each(ceilDiv(b.N, panelRows), func(p int) { l.packPanel(b, o, p) })
	if q.Outliers != nil {
		l.packOutliers(q.Outliers, o)
	}
	if rides {
		l.packRiding(q.Residual)
	} else if q.Residual != nil {
		r, err := q.Residual.RowScaled(b)
		if err != nil {
			return nil, fmt.Errorf("cuda: %w", err)
		}
		return l, l.packResidual(r, o)
	}
	return l, nil
}

// groups is the number of groups of a row, padding included.
func (l *Layout) groups() int { return ceilDiv(tileCols*l.Tiles, l.Group) }

// Takes reports why no kernel executes weights of form f under a scheme, or nil
// if one does. It is the list of what this package can do: symmetric int4 bases
// with groups of 32, of a multiple of 64 or of a row; residuals of 2 to 4 bits
// whose blocks have rows that divide 16 or are a multiple of it, and a multiple of
// 16 columns, or, tied to the scales of the base, 8, 4, 2 or 1; 16-bit outliers.
//
// Narrow blocks ride in the codes of the base, but for W4A4, if each segment of 16 blocks of
// 1x8 keeps just as many (quant.IndexExact), 1 to 4, of codes -1, 0 and 1, with a ratio in
// half steps, groups of 32, 64, a multiple of 128 or a row, and K in an even number of
// 64 columns. Others share cells of
// 16x16, which then are mostly zeros: their time is that of a dense second matrix.
func Takes(f quant.Form, scheme Scheme) error {
	b, r := f.Base, f.Residual
	switch g := b.Group; {
	case orders[scheme] == nil:
		return fmt.Errorf("cuda: unknown scheme %q", scheme)
	case b != quant.Int4(g):
		return fmt.Errorf("cuda: base format %s: only symmetric int4 has kernels", b)
	case f.Columns != 0:
		return fmt.Errorf("cuda: channels of %d bits apart from the base: they have no kernels", f.Columns)
	case f.LowRank != 0:
		return fmt.Errorf("cuda: a branch of rank %d: it has no kernels", f.LowRank)
	case f.ChannelScales:
		return errors.New("cuda: channel scales have no kernels")
	case f.K > maxColumns:
		return fmt.Errorf("cuda: weights of %dx%d, want at least 1x1 and at most %d columns", f.N, f.K, maxColumns)
	case g != 0 && g != 32 && g%tileCols != 0:
		return fmt.Errorf("cuda: group %d, want 32, a multiple of %d, or a row", g, tileCols)
	case g != 0 && f.K%g != 0:
		return fmt.Errorf("cuda: K=%d not divisible by group %d", f.K, g)
	case scheme == W4A8 && f.InputBits > 8, scheme == W4A4 && f.InputBits > 4:
		return fmt.Errorf("cuda: scheme %s where the layer wants inputs of %d bits: it has no kernel", scheme, f.InputBits)
	case r == nil:
		return nil
	case r.Bits < 2 || r.Bits > 4:
		return fmt.Errorf("cuda: residual bits=%d: only 2 to 4 have kernels", r.Bits)
	case r.BlockRows > 0 && panelRows%r.BlockRows != 0 && r.BlockRows%panelRows != 0:
		return fmt.Errorf("cuda: residual block %dx%d: rows neither divide %d nor are a multiple of it",
			r.BlockRows, r.BlockCols, panelRows)
	case r.BlockCols%cellCols != 0 && (cellCols%r.BlockCols != 0 || !r.BaseScales):
		return fmt.Errorf("cuda: residual block %dx%d: columns are not a multiple of %d, nor a part of %d with the base's "+
			"scales",
			r.BlockRows, r.BlockCols, cellCols, cellCols)
	case r.BaseScales && r.Spans(b, f.K):
		return fmt.Errorf("cuda: residual block %dx%d tied to the scales of several groups of %d: it has no kernel",
			r.BlockRows, r.BlockCols, b.Group)
	}
	return nil
}

// check reports what the kernels of a scheme cannot hold, and parts of q that do
// not fit each other.
func check(q *quant.Quantized, scheme Scheme) error {
	b := q.Base
	if b.N < 1 || b.K < 1 {
		return fmt.Errorf("cuda: weights of %dx%d, want at least 1x1 and at most %d columns", b.N, b.K, maxColumns)
	}
	if o := q.Outliers; o != nil && (o.N != b.N || o.K != b.K) {
		return fmt.Errorf("cuda: outliers of %dx%d on a base of %dx%d", o.N, o.K, b.N, b.K)
	}
	if r := q.Residual; r != nil && (r.N != b.N || r.K != b.K) {
		return fmt.Errorf("cuda: residual of %dx%d on a base of %dx%d", r.N, r.K, b.N, b.K)
	}
	return Takes(q.Form(), scheme)
}

// packPanel writes the codes and scales of 16 rows of the base.
func (l *Layout) packPanel(b *quant.Packed, o *order, p int) {
	rowLen, groups := (b.K+1)/2, len(b.Scales)/b.N
	for i := range min(panelRows, b.N-p*panelRows) {
		n := p*panelRows + i
		row := b.Codes[n*rowLen : (n+1)*rowLen]
		for k := range b.K {
			at, shift := o.nibble(i, k%tileCols)
			to := &l.W[(p*l.Tiles+k/tileCols)*tileBytes+at]
			code := row[k>>1] >> (k & 1 * 4) & 15
			*to = *to&^(15<<shift) | (code^o.flip)<<shift
		}
		for g, s := range b.Scales[n*groups : (n+1)*groups] {
			binary.LittleEndian.PutUint16(l.S[2*((p*l.groups()+g)*panelRows+i):], s)
		}
	}
}

// packOutliers copies the outliers, and zeroes the codes that they replace.
func (l *Layout) packOutliers(x *quant.Outliers, o *order) {
	l.outliers = &quant.Outliers{N: x.N, K: x.K, RowPtr: quant.Ints{Width: x.RowPtr.Width},
		Cols: quant.Ints{Width: x.Cols.Width}}
	l.Ptr, l.Cols, l.Values = make([]byte, 4*(x.N+1)), make([]byte, 4*x.Count()), make([]byte, 2*x.Count())
	for n := range x.N + 1 {
		binary.LittleEndian.PutUint32(l.Ptr[4*n:], uint32(x.RowPtr.At(n)))
	}
	for n := range x.N {
		for i := x.RowPtr.At(n); i < x.RowPtr.At(n+1); i++ {
			k := x.Cols.At(i)
			binary.LittleEndian.PutUint32(l.Cols[4*i:], uint32(k))
			binary.LittleEndian.PutUint16(l.Values[2*i:], x.Values[i])
			at, shift := o.nibble(n%panelRows, k%tileCols)
			to := &l.W[(n/panelRows*l.Tiles+k/tileCols)*tileBytes+at]
			*to = *to&^(15<<shift) | (zeroCode^o.flip)<<shift
		}
	}
}

// Bytes is the size of all buffers, padding included.
func (l *Layout) Bytes() int64 {
	var n int64
	for _, b := range [][]byte{l.W, l.S, l.Index, l.R, l.Ptr, l.Cols, l.Values} {
		n += int64(len(b))
	}
	return n
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }
