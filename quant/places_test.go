package quant_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// indexed returns a small matrix whose residual keeps blocks 1x8 of 18 rows and 200
// columns, which is a segment and a half, and stores their places in every way.
func indexed(t *testing.T, x quant.Index) *quant.Quantized {
	t.Helper()
	m := laid(solve.RTN{Format: quant.Int4(40), Scale: grid.Scale{Rule: grid.AbsMax}}, 1, 8, .1875)
	m.Index = x
	return quanttest.Quantize(t, m, quanttest.Problem(t, 18, 200, 5))
}

// What is booked for an index is what the binary form holds, and that says which blocks
// are kept.
func TestStoredIndex(t *testing.T) {
	const rows, cols = 18, 25
	for x, want := range map[quant.Index]int{
		quant.IndexRows: 2*(rows+1) + 84, quant.IndexBitmap: (rows*cols + 7) / 8, quant.IndexExact: rows * (3 + 3) / 2,
		quant.IndexGaps: 3 + 43, // 85 codes for 84 blocks, 3 pointers
	} {
		q := indexed(t, x)
		r := q.Residual
		if x == quant.IndexRows { // 84 of 450 blocks fit pointers of one byte
			want -= rows + 1
		}
		stored := r.StoredIndex()
		var booked int64
		for _, e := range q.Ledger() {
			if e.Name == "residual index" {
				booked = e.Bytes
			}
		}
		if len(stored) != want || booked != int64(want) {
			t.Errorf("%s: %d bytes, %d booked, want %d", x, len(stored), booked, want)
		}
		data, err := q.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range [][]byte{r.RowPtr.Data, r.Cols.Data} {
			if x == quant.IndexRows && !bytes.Contains(data, part) {
				t.Errorf("%s: the binary form lacks a part of the index", x)
			}
		}
		if x != quant.IndexRows && bytes.Count(data, stored) != 1 {
			t.Errorf("%s: the binary form holds the index %d times", x, bytes.Count(data, stored))
		}
		i, code, next := 0, 0, 0
		for b := range rows {
			if b == 16 && x == quant.IndexGaps {
				next = 0
				if int(stored[0]) != 0 || int(stored[1]) != code {
					t.Errorf("pointers %d, want 0 and %d", stored[:3], code)
				}
			}
			for at := r.RowPtr.At(b); at < r.RowPtr.At(b+1); at++ {
				switch col := r.Cols.At(at); x {
				case quant.IndexBitmap:
					if bit := b*cols + col; stored[bit/8]>>(bit%8)&1 != 1 {
						t.Errorf("block %d,%d has no bit", b, col)
					}
				case quant.IndexGaps:
					for first := true; first || stored[3+(code-1)/2]>>((code-1)%2*4)&15 == 15; first = false {
						next += int(stored[3+code/2] >> (code % 2 * 4) & 15)
						code++
					}
					if want := b%16*cols + col; next != want {
						t.Errorf("gaps lead to block %d, want %d", next, want)
					}
					next++
				case quant.IndexExact:
					if got := int(stored[i/2] >> (i % 2 * 4) & 15); got != col%16 || col/16 != i%6/3 {
						t.Errorf("kept block %d is at %d, stored %d", i, col, got)
					}
				}
				i++
			}
		}
	}
}

func TestIndexRoundTrip(t *testing.T) {
	for _, x := range []quant.Index{quant.IndexRows, quant.IndexBitmap, quant.IndexExact, quant.IndexGaps} {
		q := indexed(t, x)
		data, _ := q.MarshalBinary()
		var back quant.Quantized
		if err := back.UnmarshalBinary(data); err != nil {
			t.Fatalf("%s: %v", x, err)
		}
		if f, g := *back.Form().Residual, *q.Form().Residual; f != g || f.Index != x {
			t.Errorf("%s comes back as %+v", x, f)
		}
		if again, _ := back.MarshalBinary(); !bytes.Equal(again, data) || !quanttest.Equal(back.Dequantize(), q.Dequantize()) {
			t.Errorf("%s: the binary form comes back changed", x)
		}
	}
}

// An index that no residual has is refused.
func TestIndexDamage(t *testing.T) {
	for _, c := range []struct {
		x      quant.Index
		change func(index []byte)
		want   string
	}{
		{quant.IndexBitmap, func(b []byte) { b[56] |= 0x80 }, "has a bit beyond block 450"},
		{quant.IndexBitmap, func(b []byte) { b[0] ^= 1 }, "residual codes of"},
		{quant.IndexGaps, func(b []byte) { b[0] = 1 }, "gaps between blocks do not end with"},
		{quant.IndexGaps, func(b []byte) { b[1] = b[2] + 1 }, "lead beyond"},
		{quant.IndexGaps, func(b []byte) { b[1]-- }, "gaps of block rows 16 on lead beyond"}, // begins within the first panel
		{quant.IndexGaps, func(b []byte) {
			for i := range b[3:] {
				b[3+i] = 0xff
			}
			b[len(b)-1] = 15
		}, "gaps of block rows 0 on lead beyond their 400 blocks"},
		{quant.IndexExact, func(b []byte) { b[0] = 0x35 }, "block row 0: place 3 is out of order"},
		{quant.IndexExact, func(b []byte) { b[1], b[2] = b[1]&15|0x80, 0xa9 }, "block row 0: place 25 is out of order or beyond 25"},
	} {
		q := indexed(t, c.x)
		data, _ := q.MarshalBinary()
		index := q.Residual.StoredIndex()
		c.change(data[bytes.Index(data, index):][:len(index)])
		if err := new(quant.Quantized).UnmarshalBinary(data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.x, err, c.want)
		}
	}
	q := indexed(t, quant.IndexExact)
	data, _ := q.MarshalBinary()
	size := binary.LittleEndian.AppendUint64(nil, uint64(len(q.Residual.StoredIndex())))
	at := bytes.LastIndex(data[:bytes.Index(data, q.Residual.StoredIndex())], size) - 8 // blocks of a segment
	for _, k := range []byte{0, 17} {
		data[at] = k
		if err := new(quant.Quantized).UnmarshalBinary(data); err == nil || !strings.Contains(err.Error(), fmt.Sprint(k)) {
			t.Errorf("%d blocks in each segment: %v", k, err)
		}
	}
}

// InHalfSteps knows the ratios 0.5 to 8 by their bits, and no others.
func TestInHalfSteps(t *testing.T) {
	want := map[uint16]int{0x3800: 1, 0x3c00: 2, 0x3e00: 3, 0x4000: 4, 0x4100: 5, 0x4200: 6, 0x4300: 7, 0x4400: 8,
		0x4480: 9, 0x4500: 10, 0x4580: 11, 0x4600: 12, 0x4680: 13, 0x4700: 14, 0x4780: 15, 0x4800: 16}
	for bits := range 1 << 16 {
		if got := quant.InHalfSteps(uint16(bits)); got != want[uint16(bits)] {
			t.Errorf("%#04x is %d half steps, want %d", bits, got, want[uint16(bits)])
		}
	}
}
