package quant

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/mosaicquant/mosaicquant/internal/half"
)

// The binary forms are little-endian: eight bytes of magic, then fixed fields
// as uint64, then arrays, each after its length in bytes. The cache keeps them, and
// so do packed checkpoints, tensor by tensor.
const (
	magicMoments   = "MQMOM\x00\x00\x03"
	magicQuantized = "MQWGT\x00\x00\x02"
	maxDim         = 1 << 24
	// residualScaleKinds is how many ways there are to store the scales of a residual.
	residualScaleKinds = 4
)

type encoder []byte

func (e *encoder) ints(v ...int) {
	for _, x := range v {
		*e = binary.LittleEndian.AppendUint64(*e, uint64(x))
	}
}

func (e *encoder) bytes(b []byte) {
	e.ints(len(b))
	*e = append(*e, b...)
}

func (e *encoder) halves(v []uint16) {
	e.ints(2 * len(v))
	for _, x := range v {
		*e = binary.LittleEndian.AppendUint16(*e, x)
	}
}

func (e *encoder) index(x Ints) {
	e.ints(x.Width)
	e.bytes(x.Data)
}

type decoder struct {
	data []byte
	err  error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("quant: binary form: "+format, args...)
	}
}

func (d *decoder) magic(want string) {
	if len(d.data) < 8 || string(d.data[:8]) != want {
		d.fail("wrong magic bytes, want %q", want)
		return
	}
	d.data = d.data[8:]
}

// int reads a field and checks that it is at most limit.
func (d *decoder) int(name string, limit int) int {
	if d.err != nil {
		return 0
	}
	if len(d.data) < 8 {
		d.fail("truncated at %s", name)
		return 0
	}
	v := binary.LittleEndian.Uint64(d.data)
	d.data = d.data[8:]
	if v > uint64(limit) {
		d.fail("%s=%d exceeds %d", name, v, limit)
		return 0
	}
	return int(v)
}

// bytes reads an array that must hold want bytes, or any number where that is negative.
// Nothing is allocated before the data is known to be there.
func (d *decoder) bytes(name string, want int) []byte {
	n := d.int(name+" length", math.MaxInt)
	if d.err == nil && want >= 0 && n != want {
		d.fail("%s of %d bytes, want %d", name, n, want)
	}
	if d.err == nil && n > len(d.data) {
		d.fail("truncated in %s: %d of %d bytes", name, len(d.data), n)
	}
	if d.err != nil {
		return nil
	}
	b := append([]byte(nil), d.data[:n]...)
	d.data = d.data[n:]
	return b
}

func (d *decoder) halves(name string, want int) []uint16 {
	b := d.bytes(name, 2*want)
	if len(b)%2 == 1 {
		d.fail("%s of %d bytes, want an even number", name, len(b))
	}
	v := make([]uint16, len(b)/2)
	for i := range v {
		v[i] = binary.LittleEndian.Uint16(b[2*i:])
		if v[i]&0x7c00 == 0x7c00 {
			d.fail("%s[%d] is not finite", name, i)
		}
	}
	return v
}

// index reads want integers up to limit.
func (d *decoder) index(name string, want, limit int) Ints {
	x := Ints{Width: d.int(name+" width", 4)}
	if d.err == nil && x.Width != IntWidth(limit) {
		d.fail("%s of width %d, want %d", name, x.Width, IntWidth(limit))
	}
	x.Data = d.bytes(name, want*x.Width)
	return x
}

// rows checks a compressed row index: pointers from 0 to count, columns below
// limit and ascending within a row.
func (d *decoder) rows(ptr, cols Ints, count, limit int) {
	if d.err != nil {
		return
	}
	last := ptr.Len() - 1
	if ptr.At(0) != 0 || ptr.At(last) != count {
		d.fail("row pointers run from %d to %d, want 0 to %d", ptr.At(0), ptr.At(last), count)
		return
	}
	for r := range last {
		lo, hi := ptr.At(r), ptr.At(r+1)
		if lo > hi || hi > count {
			d.fail("row %d runs from %d to %d of %d", r, lo, hi, count)
			return
		}
		for i := lo; i < hi; i++ {
			if c := cols.At(i); c >= limit || i > lo && c <= cols.At(i-1) {
				d.fail("row %d: column %d out of order or beyond %d", r, c, limit)
				return
			}
		}
	}
}

func (d *decoder) end() error {
	if d.err == nil && len(d.data) > 0 {
		d.fail("%d bytes too many", len(d.data))
	}
	return d.err
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (e *encoder) packed(b *Packed) {
	e.ints(b.N, b.K, b.Format.Bits, flag(b.Format.Affine), b.Format.Group, int(b.Format.Kind))
	for _, a := range b.arrays() {
		switch {
		case a.bytes != nil:
			e.bytes(*a.bytes)
		case a.halves != nil:
			e.halves(*a.halves)
		default:
			e.floats(*a.floats)
		}
	}
}

func (e *encoder) floats(v []float32) {
	e.ints(4 * len(v))
	for _, x := range v {
		*e = binary.LittleEndian.AppendUint32(*e, math.Float32bits(x))
	}
}

// packed reads and checks a dense matrix.
func (d *decoder) packed() *Packed {
	b := &Packed{N: d.int("N", maxDim), K: d.int("K", maxDim)}
	f := Format{Bits: d.int("bits", 8), Affine: d.int("affine", 1) == 1, Group: d.int("group", maxDim),
		Kind: Kind(d.int("kind", len(rows)-1))}
	b.Format = f
	if d.err != nil {
		return b
	}
	if err := f.Validate(); err != nil {
		d.fail("%w", err)
	} else if b.N == 0 || b.K == 0 {
		d.fail("empty matrix [%d,%d]", b.N, b.K)
	} else if err := f.Fits(b.K); err != nil {
		d.fail("%w", err)
	}
	if d.err != nil {
		return b
	}
	for _, a := range b.arrays() {
		switch {
		case a.bytes != nil:
			*a.bytes = d.bytes(a.name, a.count)
		case a.halves != nil:
			*a.halves = d.halves(a.name, a.count)
		default:
			*a.floats = d.floats(a.name, a.count)
		}
	}
	if valid := f.Kind.row().valid; valid != nil && d.err == nil {
		if err := valid(b); err != nil {
			d.fail("%w", err)
		}
	}
	b.check(d.fail)
	return b
}

func (d *decoder) floats(name string, want int) []float32 {
	b := d.bytes(name, 4*want)
	v := make([]float32, len(b)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return v
}

// columns reads the kept channels beside base.
func (d *decoder) columns(base *Packed) *Columns {
	c := &Columns{N: base.N, K: d.int("K", maxDim), Count: d.int("kept channels", maxDim),
		Reordered: d.int("reordered", 1) == 1}
	packed := d.int("packed columns", 1) == 1
	if d.err == nil && (c.Count == 0 || c.K-c.Count != base.K) {
		d.fail("%d of %d channels kept beside a base of %d", c.Count, c.K, base.K)
	}
	if d.err != nil {
		return c
	}
	want := c.Count
	if c.Reordered {
		want = c.K
	}
	c.Index = d.index("column index", want, c.K-1)
	if d.err != nil {
		return c
	}
	seen := make([]bool, c.K)
	for i := range want {
		j := c.Index.At(i)
		if j >= c.K || seen[j] || !c.Reordered && i > 0 && j < c.Index.At(i-1) {
			d.fail("column index %d: channel %d is out of order, out of range or there twice", i, j)
			return c
		}
		seen[j] = true
	}
	if packed {
		c.Packed = d.packed()
		if d.err == nil && (c.Packed.N != c.N || c.Packed.K != c.Count) {
			d.fail("kept columns are [%d,%d], want [%d,%d]", c.Packed.N, c.Packed.K, c.N, c.Count)
		}
	} else {
		c.Half = d.halves("kept columns", c.N*c.Count)
	}
	if d.err == nil {
		c.place()
	}
	return c
}

// residual decodes the residual of a base [n,k]. One beside kept columns has scales of
// its own: no ratio to the base's.
func (d *decoder) residual(n, k int, columns bool) *Residual {
	r := &Residual{N: n, K: k, BlockRows: d.int("block rows", 1<<20), BlockCols: d.int("block columns", 1<<20),
		Bits: d.int("residual bits", 8)}
	kind := d.int("kind of residual", residualScaleKinds*int(IndexGaps+1)-1)
	scales := kind % residualScaleKinds
	r.RowScales, r.BaseScales, r.HalfSteps = scales == 1, scales >= 2, scales == 3
	if r.Index = Index(kind / residualScaleKinds); r.Index == IndexExact {
		r.PerSegment = d.int("blocks kept of each segment", SegmentBlocks)
	}
	if d.err == nil && (r.BlockRows == 0 || r.BlockCols == 0 || r.Bits < 2) {
		d.fail("residual block %dx%d of %d bits", r.BlockRows, r.BlockCols, r.Bits)
	}
	if d.err != nil {
		return nil
	}
	if d.places(r); d.err != nil {
		return nil
	}
	blocks := r.Blocks()
	r.Codes = d.bytes("residual codes", blocks*PackedLen(r.BlockRows*r.BlockCols, r.Bits))
	if !r.BaseScales {
		r.Scales = d.halves("residual scales", blocks*r.ScalesPerBlock())
		return r
	}
	r.Scales = d.halves("ratio of residual scales", 1)
	if d.err == nil && (columns || r.Scales[0] == 0 || r.Scales[0] > half.ToF16(maxRatio)) {
		d.fail("ratio %g of the residual's scales to the base's", half.FromF16(r.Scales[0]))
	}
	if d.err == nil && r.HalfSteps && (InHalfSteps(r.Scales[0]) == 0 || r.Bits != 2) {
		d.fail("ratio %g of a residual of %d bits in half steps", half.FromF16(r.Scales[0]), r.Bits)
	}
	return r
}

// MarshalBinary encodes q; it cannot fail.
func (q *Quantized) MarshalBinary() ([]byte, error) {
	e := encoder(magicQuantized)
	e.packed(q.Base)
	e.ints(flag(q.Columns != nil))
	if c := q.Columns; c != nil {
		e.ints(c.K, c.Count, flag(c.Reordered), flag(c.Packed != nil))
		e.index(c.Index)
		if c.Packed != nil {
			e.packed(c.Packed)
		} else {
			e.halves(c.Half)
		}
	}
	e.ints(flag(q.LowRank != nil))
	if r := q.LowRank; r != nil {
		e.ints(r.Rank)
		e.halves(r.Left)
		e.halves(r.Right)
	}
	e.halves(q.ChannelScales)
	e.ints(q.InputBits)
	e.ints(flag(q.Residual != nil))
	if r := q.Residual; r != nil {
		kind := flag(r.RowScales) + 2*flag(r.BaseScales) + flag(r.HalfSteps) + residualScaleKinds*int(r.Index)
		e.ints(r.BlockRows, r.BlockCols, r.Bits, kind)
		switch r.Index {
		case IndexRows:
			e.ints(r.Blocks())
			e.index(r.RowPtr)
			e.index(r.Cols)
		case IndexExact:
			e.ints(r.PerSegment)
			e.bytes(r.StoredIndex())
		case IndexGaps:
			_, codes := r.gaps()
			e.ints(len(codes))
			e.bytes(r.StoredIndex())
		default:
			e.bytes(r.StoredIndex())
		}
		e.bytes(r.Codes)
		e.halves(r.Scales)
	}
	e.ints(flag(q.Outliers != nil))
	if o := q.Outliers; o != nil {
		e.ints(o.Count())
		e.index(o.RowPtr)
		e.index(o.Cols)
		e.halves(o.Values)
	}
	e.ints(len(q.Warnings))
	for _, w := range q.Warnings {
		e.bytes([]byte(w))
	}
	return e, nil
}

// UnmarshalBinary decodes q and checks it, so that no later Load reads out of range.
func (q *Quantized) UnmarshalBinary(data []byte) error {
	d := &decoder{data: data}
	d.magic(magicQuantized)
	b := d.packed()
	if d.err != nil {
		return d.err
	}
	v := Quantized{Base: b}
	n, k := b.N, b.K
	if d.int("columns", 1) == 1 {
		v.Columns = d.columns(b)
		if d.err != nil {
			return d.err
		}
		k = v.Columns.K
	}
	if d.int("low rank", 1) == 1 {
		r := &LowRank{N: n, K: k, Rank: d.int("rank", min(n, k))}
		r.Left = d.halves("left factor", n*r.Rank)
		r.Right = d.halves("right factor", r.Rank*k)
		v.LowRank = r
	}
	if len(d.data) >= 8 && binary.LittleEndian.Uint64(d.data) == 0 {
		d.data = d.data[8:]
	} else {
		v.ChannelScales = d.halves("channel scales", k)
		for j, s := range v.ChannelScales {
			if s == 0 || s >= 0x8000 {
				d.fail("channel scale %d is %g, want a positive number", j, half.FromF16(s))
			}
		}
	}
	v.InputBits = d.int("input bits", 8)
	if d.int("residual", 1) == 1 {
		if v.Residual = d.residual(n, k, v.Columns != nil); d.err != nil {
			return d.err
		}
	}
	if d.int("outliers", 1) == 1 {
		count := d.int("outlier count", n*k)
		o := &Outliers{N: n, K: k, RowPtr: d.index("row pointers", n+1, count), Cols: d.index("columns", count, k-1)}
		d.rows(o.RowPtr, o.Cols, count, k)
		o.Values = d.halves("outlier values", count)
		v.Outliers = o
	}
	for range d.int("warnings", 1<<10) {
		n := 0
		if d.err == nil && len(d.data) >= 8 {
			n = int(min(binary.LittleEndian.Uint64(d.data), uint64(len(d.data))))
		}
		v.Warnings = append(v.Warnings, string(d.bytes("warning", n)))
	}
	if err := d.end(); err != nil {
		return err
	}
	*q = v
	return nil
}
