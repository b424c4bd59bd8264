package zipper

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
)

// ridingShapes are matrices whose residuals ride: blocks of one row and of several,
// groups that tiles, cells and rows end in, a few columns and many.
var ridingShapes = []layout{
	{n: 16, k: 128, group: 128, r: 1, c: 8, density: 0.1}, {n: 37, k: 576, group: 128, r: 1, c: 8, density: 0.5},
	{n: 50, k: 1000, group: 0, r: 1, c: 8, density: 0.2}, {n: 17, k: 99, group: 0, r: 1, c: 8, density: 1},
	{n: 20, k: 256, group: 16, r: 1, c: 16, density: 0.3}, {n: 33, k: 512, group: 64, r: 4, c: 32, density: 0.3},
	{n: 40, k: 384, group: 128, r: 16, c: 64, density: 0.4}, {n: 35, k: 240, group: 48, r: 12, c: 8, density: 0.6},
	{n: 16, k: 128, group: 32, r: 1, c: 8, density: 0}, {n: 9, k: 70, group: 32, r: 3, c: 24, density: 0.5},
}

// riding draws a matrix whose residual rides.
func (l layout) riding(seed uint64, f quant.Format, halves int) *quant.Quantized {
	rng := rand.New(rand.NewPCG(seed, 11))
	q := l.random(seed, anyScale)
	q.Base = randomBase(rng, f, l.n, l.k)
	r := q.Residual
	tied := &quant.Residual{N: l.n, K: l.k, BlockRows: l.r, BlockCols: l.c, Bits: 2, BaseScales: true,
		RowPtr: r.RowPtr, Cols: r.Cols, Scales: []uint16{halfOf(halves)}}
	for row := range r.RowPtr.Len() - 1 {
		for b := r.RowPtr.At(row); b < r.RowPtr.At(row+1); b++ {
			block := make([]byte, l.r*l.c/4)
			for i := range l.r * l.c {
				code := byte(2)
				if n, k := row*l.r+i/l.c, r.Cols.At(b)*l.c+i%l.c; n < l.n && k < l.k {
					code = byte(1 + rng.IntN(3))
				}
				flip(block, i, 2, code)
			}
			tied.Codes = append(tied.Codes, block...)
		}
	}
	q.Residual = tied
	return q
}

// halfOf is halves/2 as a half-precision number.
func halfOf(halves int) uint16 {
	for bits := range uint16(0x7c00) {
		if half.FromF16(bits) == float32(halves)/2 {
			return bits
		}
	}
	panic("no such number")
}

// exactShapes are matrices whose residuals ride in records: groups that segments are made
// of or that are made of segments, rows that end in a segment and in a cell.
var exactShapes = []layout{
	{n: 16, k: 128, group: 128}, {n: 37, k: 576, group: 128}, {n: 50, k: 1000, group: 0}, {n: 17, k: 99, group: 0},
	{n: 20, k: 256, group: 16}, {n: 33, k: 512, group: 64}, {n: 40, k: 384, group: 256}, {n: 35, k: 240, group: 32},
	{n: 16, k: 120, group: 8}, {n: 9, k: 72, group: 0}, {n: 18, k: 1100, group: 512}, {n: 48, k: 520, group: 128},
}

// exact draws a matrix whose residual keeps so many blocks of each segment.
func (l layout) exact(seed uint64, f quant.Format, halves, perSegment int) *quant.Quantized {
	l.r, l.c, l.density = 1, cellCols, 0
	q := l.riding(seed, f, halves)
	rng := rand.New(rand.NewPCG(seed, 12))
	r := q.Residual
	r.HalfSteps, r.Index, r.PerSegment = true, quant.IndexExact, perSegment
	rows, cols := r.Grid()
	places := make([][]int, rows)
	for b := range places {
		for at := 0; at < cols; at += quant.SegmentBlocks {
			width := min(quant.SegmentBlocks, cols-at)
			kept := rng.Perm(width)[:min(width, perSegment)]
			slices.Sort(kept)
			for _, c := range kept {
				places[b] = append(places[b], at+c)
				block := make([]byte, cellCols/4)
				for i := range cellCols {
					code := byte(2)
					if (at+c)*cellCols+i < l.k {
						code = byte(1 + rng.IntN(3))
					}
					flip(block, i, 2, code)
				}
				r.Codes = append(r.Codes, block...)
			}
		}
	}
	r.SetPlaces(places)
	return q
}

// forRiding calls f for all shapes with integer bases and activations a.
func forRiding(t *testing.T, a quant.Activations, f func(i int, name string, q *quant.Quantized, w *Weights)) {
	t.Helper()
	i := 0
	for _, l := range ridingShapes {
		for _, name := range []string{"int4", "int4a", "int4b", "int3", "int2a"} {
			format, err := quant.ParseFormat(name, l.group)
			if err != nil {
				t.Fatal(err)
			}
			i++
			q := l.riding(uint64(i), format, []int{15, 1, 16, 7}[i%4])
			q.Residual.HalfSteps = i%2 == 0
			q.Residual.Index = []quant.Index{quant.IndexRows, quant.IndexBitmap}[i%3%2]
			if Takes(q.Form(), Zipped, a) != nil {
				continue
			}
			w := prepackFor(t, q, Zipped, a)
			if !w.Rides() {
				t.Errorf("%s %s %s: the residual does not ride", format, l, a)
			}
			f(i, fmt.Sprint(format, " ", l), q, w)
		}
	}
}

// forExact calls f for all shapes of records.
func forExact(t *testing.T, a quant.Activations, f func(i int, name string, q *quant.Quantized, w *Weights)) {
	t.Helper()
	i := 0
	for _, l := range exactShapes {
		for _, name := range []string{"int4", "int4a", "int4b", "int3", "int2a"} {
			format, err := quant.ParseFormat(name, l.group)
			if err != nil {
				t.Fatal(err)
			}
			i++
			q := l.exact(uint64(i), format, []int{15, 1, 16, 7}[i%4], []int{2, 1, 3, 16, 4}[i%5])
			w := prepackFor(t, q, Zipped, a)
			if w.main.shape.mode != cellsExact {
				t.Errorf("%s %s %s: the residual does not ride in records", format, l, a)
			}
			f(i, fmt.Sprint(format, " ", l, " ", q.Residual.PerSegment), q, w)
		}
	}
}

// TestRidingRoundTrip reads streams with riding residuals back.
func TestRidingRoundTrip(t *testing.T) {
	for _, a := range []quant.Activations{quant.A8, quant.A4, quant.A16} {
		n := 0
		check := func(i int, name string, q *quant.Quantized, w *Weights) {
			n++
			got := w.Unpack()
			if !reflect.DeepEqual(got.Base, q.Base) {
				t.Errorf("%s %s: base changed", name, a)
			}
			if q.Residual.Blocks() == 0 && got.Residual.Blocks() == 0 {
				return // a slice of nothing may be nil or empty
			}
			if !reflect.DeepEqual(got.Residual, q.Residual) {
				t.Errorf("%s %s: residual changed", name, a)
			}
		}
		if a != quant.A16 {
			forRiding(t, a, check)
		}
		forExact(t, a, check)
		if n < 20 {
			t.Errorf("%s: %d matrices", a, n)
		}
	}
}

// TestRiding compares products with float64, for so many tokens that codes are
// widened and for few, and demands the same bits of all kernels.
func TestRiding(t *testing.T) {
	for _, a := range []quant.Activations{quant.A8, quant.A4, quant.A16} {
		check := func(i int, name string, q *quant.Quantized, w *Weights) {
			for _, m := range []int{1 + i%2, 3 + i%6, 9 + i%9, 48 + i%17} {
				if m > 16 && q.Base.N*q.Base.K > 10000 {
					continue
				}
				x := normal(uint64(i), m, q.Base.K)
				want, size := Reference(q, x, a)
				if q.Base.Format.Affine {
					size = absolute(q, x, a)
				}
				for _, k := range append(kernels(), alternatives()...) {
					use(t, k)
					near(t, name+" "+k.name, multiply(t, w, x), want, size, rounding(q, a))
				}
				if a != quant.A16 {
					sameBits(t, layout{n: q.Base.N, k: q.Base.K}, w, x)
				}
			}
		}
		if a != quant.A16 {
			forRiding(t, a, check)
		}
		forExact(t, a, check)
	}
}

// FuzzRiding lets kernels disagree on residuals that ride, with and without records, and
// compares what they give with float64.
func FuzzRiding(f *testing.F) {
	for i := range 12 {
		f.Add(uint64(i), uint8(i), uint8(3*i), uint8(7*i), uint16(90*i), uint8(i), uint8(i), uint8(i), uint8(40*i), uint8(i))
	}
	names := []string{"int4", "int4a", "int4b", "int3", "int3b", "int2", "int2a"}
	f.Fuzz(func(t *testing.T, seed uint64, format, m, n uint8, k uint16, group, r, c, density, halves uint8) {
		l := layout{n: 1 + int(n)%40, k: 1 + int(k)%700, group: []int{0, 8, 16, 32, 64, 128, 256, 512}[group%8],
			r: 1 + int(r)%17, c: 8 * (1 + int(c)%9), density: float64(density) / 255}
		base, err := quant.ParseFormat(names[int(format)%len(names)], l.group)
		if err != nil {
			t.Fatal(err)
		}
		steps := 1 + int(halves)%quant.MaxHalfSteps
		x := normal(seed, 1+int(m)%70, l.k)
		for _, records := range []bool{false, true} {
			q := l.riding(seed, base, steps)
			if records {
				q = l.exact(seed, base, steps, 1+int(density)%4)
			}
			for _, a := range activationFormats {
				w := prepackFor(t, q, Zipped, a)
				if w.Rides() && !w.scheme.float() {
					sameBits(t, layout{n: l.n, k: l.k}, w, x)
				}
				if !w.Rides() {
					continue // strips, whose steps are rounded
				}
				want, _ := Reference(q, x, a)
				size := absolute(q, x, a)
				for _, k := range append(kernels(), alternatives()...) {
					use(t, k)
					near(t, fmt.Sprint(base, l, a, k.name), multiply(t, w, x), want, size, rounding(q, a))
				}
				if got := w.Unpack(); !reflect.DeepEqual(got.Base, q.Base) {
					t.Errorf("%s %s %s: base changed", base, l, a)
				}
			}
		}
	})
}

// TestWiden demands the same bytes of all kernels.
func TestWiden(t *testing.T) {
	check := func(i int, name string, q *quant.Quantized, w *Weights) {
		s := &w.main.shape
		_, size := s.widened()
		for p := range len(w.main.starts) - 1 {
			src := w.main.data[w.main.starts[p]:w.main.starts[p+1]]
			want := make([]byte, size)
			generic.widen(want, src, s, &w.main.lanes)
			for _, k := range kernels() {
				got := make([]byte, size)
				k.widen(got, src, s, &w.main.lanes)
				if !reflect.DeepEqual(got, want) {
					t.Fatalf("%s: %s widens panel %d otherwise than generic", name, k.name, p)
				}
			}
		}
	}
	forRiding(t, quant.A8, check)
	forExact(t, quant.A8, check)
}

// TestExactBytes: a stream with records has as many bytes as the stored form, but for
// panels that begin on a line of the cache.
func TestExactBytes(t *testing.T) {
	for _, group := range []int{32, 128} {
		for _, a := range []quant.Activations{quant.A8, quant.A16} {
			l := layout{n: 64, k: 1024, group: group}
			for _, k := range []int{1, 2, 4} {
				q := l.exact(1, quant.Int4(group), 15, k)
				got, want := prepackFor(t, q, Zipped, a).Bytes(), q.Ledger().Total()
				if over := got - want; over < -2 || over >= 4*cacheLine { // the ratio is no part of a panel
					t.Errorf("g%d %s, %d of 16: %d bytes, stored %d", group, a, k, got, want)
				}
			}
		}
	}
}

// TestNotRiding: what cannot ride is executed in strips, with steps of its own.
func TestNotRiding(t *testing.T) {
	l := layout{n: 32, k: 256, group: 64, r: 1, c: 8, density: 0.3}
	for what, change := range map[string]func(q *quant.Quantized){
		"a third of a step":     func(q *quant.Quantized) { q.Residual.Scales[0] = 0x3555 },
		"more than eight steps": func(q *quant.Quantized) { q.Residual.Scales[0] = halfOf(17) },
		"a code of -2":          func(q *quant.Quantized) { q.Residual.Codes[3] &^= 3 },
		"NF4":                   func(q *quant.Quantized) { q.Base.Format = quant.Format{Bits: 4, Group: 64, Kind: quant.NF4} },
		"FP4":                   func(q *quant.Quantized) { q.Base.Format = quant.Format{Bits: 4, Group: 64, Kind: quant.FP4} },
	} {
		q := l.riding(1, quant.Int4(64), 15)
		change(q)
		if prepack(t, q, Zipped).Rides() {
			t.Errorf("%s rides", what)
		}
	}
	q := l.riding(1, quant.Int4(64), 15)
	if prepackFor(t, q, Zipped, quant.A16).Rides() || prepack(t, q, Separate).Rides() || prepack(t, q, Dense4).Rides() {
		t.Error("float activations, or another variant, ride")
	}
}
