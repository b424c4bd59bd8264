package quant

import (
	"encoding/binary"
	"fmt"
	"math"
)

// The binary forms are little-endian: eight bytes of magic, then fixed fields
// as uint64, then arrays, each after its length in bytes. They serve the cache;
// checkpoints have a format of their own.
const (
	magicMoments   = "MQMOM\x00\x00\x02"
	magicFactor    = "MQFAC\x00\x00\x01"
	magicQuantized = "MQWGT\x00\x00\x01"
	maxDim         = 1 << 24
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

// bytes reads an array that must hold want bytes. Nothing is allocated before
// the data is known to be there.
func (d *decoder) bytes(name string, want int) []byte {
	n := d.int(name+" length", math.MaxInt)
	if d.err == nil && n != want {
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
	if d.err == nil && x.Width != intWidth(limit) {
		d.fail("%s of width %d, want %d", name, x.Width, intWidth(limit))
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

// MarshalBinary encodes q; it cannot fail.
func (q *Quantized) MarshalBinary() ([]byte, error) {
	b := q.Base
	e := encoder(magicQuantized)
	e.ints(b.N, b.K, b.Format.Bits, flag(b.Format.Affine), b.Format.Group)
	e.bytes(b.Codes)
	e.halves(b.Scales)
	e.bytes(b.Zeros)
	e.ints(flag(q.Residual != nil))
	if r := q.Residual; r != nil {
		e.ints(r.BlockRows, r.BlockCols, r.Bits, flag(r.RowScales), r.Blocks())
		e.index(r.RowPtr)
		e.index(r.Cols)
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

// UnmarshalBinary decodes and checks q, so that no later Load can go astray.
func (q *Quantized) UnmarshalBinary(data []byte) error {
	d := &decoder{data: data}
	d.magic(magicQuantized)
	b := &Packed{N: d.int("N", maxDim), K: d.int("K", maxDim)}
	b.Format = Format{Bits: d.int("bits", 8), Affine: d.int("affine", 1) == 1, Group: d.int("group", maxDim)}
	if d.err != nil {
		return d.err
	}
	if err := b.Format.Validate(); err != nil {
		return err
	}
	if b.N == 0 || b.K == 0 {
		d.fail("empty matrix [%d,%d]", b.N, b.K)
	} else if err := b.Format.fits(b.K); err != nil {
		d.fail("%w", err)
	} else {
		_, groups := b.Format.groups(b.K)
		b.Codes = d.bytes("codes", b.N*packedLen(b.K, b.Format.Bits))
		b.Scales = d.halves("scales", b.N*groups)
		zeros := 0
		if b.Format.Affine {
			zeros = b.N * packedLen(groups, b.Format.Bits)
		}
		b.Zeros = d.bytes("zeros", zeros)
	}
	v := Quantized{Base: b}
	if d.int("residual", 1) == 1 {
		r := &Residual{N: b.N, K: b.K, BlockRows: d.int("block rows", 1<<20), BlockCols: d.int("block columns", 1<<20),
			Bits: d.int("residual bits", 8), RowScales: d.int("row scales", 1) == 1}
		if d.err == nil && (r.BlockRows == 0 || r.BlockCols == 0 || r.Bits < 2) {
			d.fail("residual block %dx%d of %d bits", r.BlockRows, r.BlockCols, r.Bits)
		}
		if d.err != nil {
			return d.err
		}
		rows, cols := r.Grid()
		n := d.int("blocks", rows*cols)
		r.RowPtr = d.index("row pointers", rows+1, n)
		r.Cols = d.index("block columns", n, cols-1)
		d.rows(r.RowPtr, r.Cols, n, cols)
		r.Codes = d.bytes("residual codes", n*packedLen(r.BlockRows*r.BlockCols, r.Bits))
		r.Scales = d.halves("residual scales", n*r.scalesPerBlock())
		v.Residual = r
	}
	if d.int("outliers", 1) == 1 {
		n := d.int("outlier count", b.N*b.K)
		o := &Outliers{N: b.N, K: b.K, RowPtr: d.index("row pointers", b.N+1, n), Cols: d.index("columns", n, b.K-1)}
		d.rows(o.RowPtr, o.Cols, n, b.K)
		o.Values = d.halves("outlier values", n)
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
