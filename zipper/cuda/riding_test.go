package cuda

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	f16 "github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
)

// riding draws weights whose residual keeps so many blocks of 1x8 of each 16, at a ratio in
// half steps.
func (s shape) riding(seed uint64, perSegment, halves int) *quant.Quantized {
	s.r = 0
	q := s.random(seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	r := &quant.Residual{N: s.n, K: s.k, BlockRows: 1, BlockCols: blockCols, Bits: 2, BaseScales: true, HalfSteps: true,
		Index: quant.IndexExact, PerSegment: perSegment, Scales: []uint16{f16.ToF16(float32(halves) / 2)}, Codes: []byte{}}
	_, cols := r.Grid()
	places := make([][]int, s.n)
	for n := range places {
		for first := 0; first < cols; first += quant.SegmentBlocks {
			width := min(quant.SegmentBlocks, cols-first)
			kept := rng.Perm(width)[:min(width, perSegment)]
			slices.Sort(kept)
			for _, c := range kept {
				places[n] = append(places[n], first+c)
				block := make([]byte, 2)
				for i := range blockCols {
					code := byte(2)
					if (first+c)*blockCols+i < s.k {
						code = byte(1 + rng.IntN(3))
					}
					putCode(block, i, 2, code)
				}
				r.Codes = append(r.Codes, block...)
			}
		}
	}
	r.SetPlaces(places)
	q.Residual = r
	return q
}

// ridingShapes are sizes around panels and segments, with all kinds of groups.
var ridingShapes = []shape{
	{n: 1, k: 65}, {n: 3, k: 127}, {n: 17, k: 200}, {n: 16, k: 128, group: 128}, {n: 31, k: 96, group: 32}, {n: 33, k: 384, group: 64},
	{n: 130, k: 256, group: 64}, {n: 50, k: 1000}, {n: 20, k: 512, group: 256}, {n: 37, k: 640, group: 32}, {n: 129, k: 384, group: 128},
}

// forRiding calls f with all shapes, each with other numbers of blocks and other ratios.
func forRiding(f func(i int, name string, q *quant.Quantized)) {
	i := 0
	for _, s := range ridingShapes {
		for k := 1; k <= mostRiding; k++ {
			halves := []int{1, 2, 3, 5, 8, 15, 16}[i%7]
			f(i, fmt.Sprintf("%s, %d of 16, %d halves", s, k, halves), s.riding(uint64(i), k, halves))
			i++
		}
	}
}

// TestRiding: weights unpack to what was packed, bit by bit, and the records say what
// kernels/ABI.md says of them.
func TestRiding(t *testing.T) {
	forRiding(func(i int, name string, q *quant.Quantized) {
		l := layOut(t, q, schemes[i%3])
		if !l.Rides() || l.Index != nil || l.Tiles%2 != 0 {
			t.Fatalf("%s: not laid out to ride", name)
		}
		if got := l.Unpack(); !reflect.DeepEqual(got, q) {
			t.Errorf("%s: the layout does not unpack to what was packed", name)
		}
		k, halves, segments := l.RForm>>8&0xff, l.RForm>>16, l.Tiles/2
		size := (40*k + 15) / 16 * 16
		if len(l.R) != l.Panels*segments*size {
			t.Fatalf("%s: %d bytes of records", name, len(l.R))
		}
		base, want := (&quant.Quantized{Base: q.Base}).Dequantize(), q.Dequantize()
		size4, groups := q.Base.Format.Groups(l.K)
		for p := range l.Panels {
			for s := range segments {
				record := l.R[(p*segments+s)*size:][:size]
				seen := map[int]bool{}
				for i := range 16 * k {
					stored := int(record[32*k+i/2] >> (i % 2 * 4) & 15)
					place := stored/4*4 + stored%2*2 + stored/2%2
					if at := i%16*16 + place; seen[at] {
						t.Fatalf("%s: row %d has two blocks at place %d", name, i%16, place)
					} else {
						seen[at] = true
					}
					for c := range 8 {
						v := int(binary.LittleEndian.Uint16(record[2*i:]) >> (4*(c%4) + 2*(c/4)) & 3)
						if v == 3 {
							v = -1
						}
						n, col := 16*p+i%16, 128*s+8*place+c
						if n >= l.N || col >= l.K {
							if v != 0 {
								t.Fatalf("%s: code %d in padding", name, v)
							}
							continue
						}
						scale, _ := q.Base.Scale(n, col/size4, groups)
						base.Row(n)[col] += float32(float64(halves*v) / 2 * scale)
					}
				}
			}
		}
		for n := range l.N {
			if !slices.Equal(base.Row(n), want.Row(n)) {
				t.Fatalf("%s: the records of row %d do not say what is stored", name, n)
			}
		}
	})
}

// TestDoesNotRide: what kernels cannot add before they multiply is laid out in cells, and
// so is a residual that shall have a kernel of its own.
func TestDoesNotRide(t *testing.T) {
	s := shape{n: 20, k: 384, group: 128}
	cells := func(name string, q *quant.Quantized, l *Layout, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		r, err := q.Residual.RowScaled(q.Base)
		if err != nil {
			t.Fatal(err)
		}
		if l.Rides() || !reflect.DeepEqual(l.Unpack(), &quant.Quantized{Base: q.Base, Residual: r}) {
			t.Errorf("%s: rides %v, or is not unpacked to what was packed", name, l.Rides())
		}
	}
	lay := func(name string, scheme Scheme, s shape, k int, change func(r *quant.Residual)) {
		t.Helper()
		q := s.riding(1, k, 3)
		change(q.Residual)
		l, err := NewLayout(q, scheme)
		cells(name, q, l, err)
	}
	same := func(*quant.Residual) {}
	lay("W4A4", W4A4, s, 2, same)
	lay("five blocks", W4A8, s, 5, same)
	lay("group 192", W4A8, shape{n: 20, k: 384, group: 192}, 2, same)
	lay("three tiles", W4A8, shape{n: 20, k: 192, group: 64}, 2, same)
	lay("-2", W4A8, s, 2, func(r *quant.Residual) { r.Codes[5] &^= 3 })
	lay("ratio 1.3", W4A8, s, 2, func(r *quant.Residual) { r.HalfSteps, r.Scales[0] = false, f16.ToF16(1.3) })
	lay("bitmap", W4A8, s, 2, func(r *quant.Residual) { r.Index, r.PerSegment = quant.IndexBitmap, 0 })
	q := s.riding(1, 2, 3)
	l, err := NewSeparable(q, W4A8)
	cells("separable", q, l, err)
}
