package cuda

import (
	"encoding/binary"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/quant"
)

var schemes = []Scheme{W4A16Half, W4A16BF16, W4A8, W4A4}

func layOut(t testing.TB, q *quant.Quantized, s Scheme) *Layout {
	t.Helper()
	l, err := NewLayout(q, s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestRoundTrip: the layout is a permutation of the canonical codes.
func TestRoundTrip(t *testing.T) {
	for i, s := range shapes() {
		for _, scheme := range schemes {
			q := s.random(uint64(i))
			if got := layOut(t, q, scheme).Unpack(); !reflect.DeepEqual(got, q) {
				t.Errorf("%s %s: the layout does not unpack to what was packed", scheme, s)
			}
		}
	}
}

// TestBaseScales: a residual whose steps are tied to the base's scales is laid out
// with the scales of rows that this makes, or not at all.
func TestBaseScales(t *testing.T) {
	s := shape{n: 40, k: 256, group: 64, r: 4, c: 16, bits: 2, density: .5}
	q := s.random(3)
	for i := range q.Base.Scales {
		q.Base.Scales[i] = uint16(0x2c00 + i) // from 1/16 on
	}
	q.Residual.BaseScales, q.Residual.Scales = true, []uint16{0x4555}
	r, err := q.Residual.RowScaled(q.Base)
	if err != nil {
		t.Fatal(err)
	}
	for _, scheme := range schemes {
		if got := layOut(t, q, scheme).Unpack(); !reflect.DeepEqual(got, &quant.Quantized{Base: q.Base, Residual: r}) {
			t.Errorf("%s: the layout does not unpack to the form with scales of rows", scheme)
		}
	}
	s.c = 48
	q = s.random(3)
	q.Residual.BaseScales, q.Residual.Scales = true, []uint16{0x4555}
	if _, err := NewLayout(q, schemes[0]); err == nil || !strings.Contains(err.Error(), "several groups of 64") {
		t.Errorf("a block of several groups: %v", err)
	}
}

// TestNarrow: blocks narrower than a cell share it where their scales are the base's,
// and are refused where they have their own.
func TestNarrow(t *testing.T) {
	for i, b := range [][2]int{{1, 8}, {1, 4}, {2, 8}, {16, 8}, {32, 2}, {4, 1}} {
		for j, group := range []int{32, 64, 0} {
			s := shape{n: 50 + i, k: 320 - 64*(i%2), group: group, r: b[0], c: b[1], bits: 2 + (i+j)%3, density: []float64{.1, .5, 1}[j]}
			q := s.random(uint64(i))
			for i := range q.Base.Scales {
				q.Base.Scales[i] = uint16(0x2c00 + i%512)
			}
			if _, err := NewLayout(q, W4A8); err == nil || !strings.Contains(err.Error(), "nor a part of 16") {
				t.Errorf("%s, scales of its own: %v", s, err)
			}
			q.Residual.BaseScales, q.Residual.Scales = true, []uint16{0x3555}
			r, err := q.Residual.RowScaled(q.Base)
			if err != nil {
				t.Fatal(err)
			}
			for _, scheme := range schemes {
				if got := layOut(t, q, scheme).Unpack(); !reflect.DeepEqual(got, &quant.Quantized{Base: q.Base, Residual: r}) {
					t.Errorf("%s %s: the layout does not unpack to what was packed", scheme, s)
				}
			}
		}
	}
}

func FuzzRoundTrip(f *testing.F) {
	f.Add(uint8(17), uint16(130), uint8(2), uint8(3), uint8(1), uint8(1), uint64(1))
	f.Add(uint8(200), uint16(256), uint8(1), uint8(0), uint8(6), uint8(7), uint64(2))
	f.Fuzz(func(t *testing.T, n uint8, k uint16, group, rows, cols, form uint8, seed uint64) {
		s := shape{n: 1 + int(n), k: 1 + int(k)%700, density: float64(seed%5) / 4}
		if g := []int{0, 32, 64, 128}[group%4]; g > 0 {
			s.group, s.k = g, max(1, s.k/g)*g
		}
		s.r, s.c = []int{1, 2, 4, 8, 16, 32, 80}[rows%7], 16*(1+int(cols)%9)
		s.bits, s.rowScales = 2+int(form)%3, form&8 != 0
		scheme := schemes[form>>4%4]
		q := s.random(seed)
		if got := layOut(t, q, scheme).Unpack(); !reflect.DeepEqual(got, q) {
			t.Errorf("%s %s seed %d", scheme, s, seed)
		}
	})
}

// TestLayoutIsTheDocumented reads every buffer by the words of kernels/ABI.md,
// written out here a second time, and compares with the canonical weights.
func TestLayoutIsTheDocumented(t *testing.T) {
	for i, s := range shapes() {
		q := s.random(uint64(i))
		for _, scheme := range schemes {
			l := layOut(t, q, scheme)
			base, residual := read(t, l)
			wantBase := (&quant.Quantized{Base: q.Base, Outliers: q.Outliers}).Dequantize()
			want := q.Dequantize()
			for n := range 16 * l.Panels {
				for k := range 64 * l.Tiles {
					var b, all float64
					if n < s.n && k < s.k {
						b, all = float64(wantBase.Row(n)[k]), float64(want.Row(n)[k])
					}
					at := n*64*l.Tiles + k
					if base[at] != b || float32(base[at]+residual[at]) != float32(all) {
						t.Fatalf("%s %s: weight (%d,%d) is %g + %g, want %g and %g in sum", scheme, s, n, k, base[at], residual[at], b, all)
					}
				}
			}
		}
	}
}

// read returns base (outliers put in) and residual as [16·P, 64·KT].
func read(t *testing.T, l *Layout) (base, residual []float64) {
	t.Helper()
	p, kt := 8*((l.N+127)/128), (l.K+63)/64
	if l.Panels != p || l.Tiles != kt {
		t.Fatalf("%d panels of %d tiles, want %d of %d", l.Panels, l.Tiles, p, kt)
	}
	half := func(b []byte, i int) float64 { return float64(widen(binary.LittleEndian.Uint16(b[2*i:]))) }
	groups := (64*kt + l.Group - 1) / l.Group
	base, residual = make([]float64, 16*p*64*kt), make([]float64, 16*p*64*kt)
	// word calls f for the 8 codes of the word of lane in cell s.
	word := func(w uint32, lane, s int, f func(row, col int, q float64)) {
		g, tt := lane/4, lane%4
		for i := range 8 {
			v := int(w >> (4 * i) & 15)
			if v >= 8 && !strings.HasPrefix(string(l.Scheme), "w4a16") {
				v -= 16
			}
			switch l.Scheme {
			case W4A8:
				f(2*g+i%2, 16*s+4*tt+i/2, float64(v))
			case W4A4:
				f(2*g+i/4, 16*s+4*tt+i%4, float64(v))
			default:
				f(2*g+i%2, 16*s+2*tt+i/4+8*(i/2%2), float64(v-8))
			}
		}
	}
	for panel := range p {
		for j := range kt {
			put := func(dst []float64, scale func(row, col int) float64) func(row, col int, q float64) {
				return func(row, col int, q float64) {
					dst[(16*panel+row)*64*kt+64*j+col] = q * scale(row, col)
				}
			}
			for lane := range 32 {
				for s := range 4 {
					w := binary.LittleEndian.Uint32(l.W[512*(panel*kt+j)+16*lane+4*s:])
					word(w, lane, s, put(base, func(row, col int) float64 { return half(l.S, (panel*groups+(64*j+col)/l.Group)*16+row) }))
				}
			}
			if l.Index == nil {
				continue
			}
			x := binary.LittleEndian.Uint32(l.Index[4*(panel*kt+j):])
			first, mask := int(x&(1<<28-1)), x>>28
			if l.RForm&1 != 0 && mask != 0 && mask != 15 {
				t.Fatalf("cells %x of a tile", mask)
			}
			tile := first
			for s := range 4 {
				if mask>>s&1 == 0 {
					continue
				}
				codes, scales := 128, 16
				if l.RForm&1 != 0 {
					codes = 512
				}
				if l.RForm&2 != 0 {
					scales = 32
				}
				record := l.R[tile*(codes+scales):][:codes+scales]
				scale := func(row, _ int) float64 {
					if l.RForm&2 != 0 {
						return half(record[codes:], row)
					}
					if a, b := half(record[codes:], 0), half(record[codes:], 1); a != b {
						t.Fatalf("tile %d has scales %g and %g", tile, a, b)
					}
					return half(record[codes:], 0)
				}
				for lane := range 32 {
					at := 4 * lane
					if l.RForm&1 != 0 {
						at = 16*lane + 4*s
					}
					word(binary.LittleEndian.Uint32(record[at:]), lane, s, put(residual, scale))
				}
				if l.RForm&1 == 0 {
					tile++
				}
			}
		}
	}
	if l.Index != nil {
		size := 16 + 16*(l.RForm&2>>1) + 128 + 384*(l.RForm&1)
		if n := int(binary.LittleEndian.Uint32(l.Index[4*p*kt:])); len(l.Index) != 4*p*kt+4 || n*size != len(l.R) && n > 0 {
			t.Fatalf("an index of %d bytes for %dx%d places ends with %d tiles of %d bytes, want %d", len(l.Index), p, kt,
				n, size, len(l.R))
		}
	}
	for n := range l.N {
		if l.Ptr == nil {
			break
		}
		for i := binary.LittleEndian.Uint32(l.Ptr[4*n:]); i < binary.LittleEndian.Uint32(l.Ptr[4*n+4:]); i++ {
			at := &base[n*64*kt+int(binary.LittleEndian.Uint32(l.Cols[4*i:]))]
			if *at != 0 {
				t.Fatalf("row %d: the base has %g below an outlier", n, *at)
			}
			*at = half(l.Values, int(i))
		}
	}
	return base, residual
}

// TestUnsupported: each refusal names what it refuses.
func TestUnsupported(t *testing.T) {
	with := func(s shape, f func(q *quant.Quantized)) *quant.Quantized {
		q := s.random(1)
		f(q)
		return q
	}
	mosaic := shape{n: 16, k: 128, group: 64, r: 16, c: 16, bits: 4, density: 1}
	for _, c := range []struct {
		q    *quant.Quantized
		want string
	}{
		{with(mosaic, func(q *quant.Quantized) { q.Base.Format.Affine = true }), "affine"},
		{with(mosaic, func(q *quant.Quantized) { q.Base.Format.Bits = 3 }), "int3"},
		{with(shape{n: 4, k: 48, group: 16}, func(*quant.Quantized) {}), "group 16"},
		{with(mosaic, func(q *quant.Quantized) { q.Residual.Bits = 5 }), "bits=5"},
		{with(mosaic, func(q *quant.Quantized) { q.Residual.BlockRows = 12 }), "12x16"},
		{with(mosaic, func(q *quant.Quantized) { q.Residual.BlockCols = 24 }), "16x24"},
		{with(mosaic, func(q *quant.Quantized) { q.Residual.N = 17 }), "17x128"},
		{with(mosaic, func(q *quant.Quantized) { q.Base.Format.Kind = quant.NF4 }), "nf4 g64"},
		{with(mosaic, func(q *quant.Quantized) { q.Base.Format.Kind = quant.NF4DQ }), "nf4dq g64"},
		{with(mosaic, func(q *quant.Quantized) { q.Base.Format.Kind = quant.FP4 }), "fp4 g64"},
		{with(mosaic, func(q *quant.Quantized) { q.Base.Format = quant.Format{Bits: 4, Group: 32, Kind: quant.MXFP4} }), "mxfp4 g32"},
		{with(mosaic, func(q *quant.Quantized) { q.ChannelScales = make([]uint16, 128) }), "channel scales"},
		{with(mosaic, func(q *quant.Quantized) { q.LowRank = &quant.LowRank{N: 16, K: 128, Rank: 4} }), "rank 4"},
		{with(mosaic, func(q *quant.Quantized) { q.Columns = &quant.Columns{N: 16, K: 130, Count: 2} }), "channels of 16 bits"},
	} {
		if _, err := NewLayout(c.q, W4A8); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q in it", err, c.want)
		}
	}
	if _, err := NewLayout(mosaic.random(1), "w8a8"); err == nil {
		t.Error("an unknown scheme is accepted")
	}
}

// TestLayoutMemory: a layout takes the memory of its result and little more.
func TestLayoutMemory(t *testing.T) {
	q := shape{n: 512, k: 4096, group: 128, r: 16, c: 64, bits: 4, density: 0.1}.random(1)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	l := layOut(t, q, W4A16BF16)
	runtime.ReadMemStats(&after)
	if used := int64(after.TotalAlloc - before.TotalAlloc); used > l.Bytes()+l.Bytes()/8 {
		t.Errorf("%d bytes allocated for a layout of %d", used, l.Bytes())
	}
}
