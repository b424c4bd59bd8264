package zipper

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/quant"
)

// TestWideCodes: symmetric integers of 5 to 8 bits come back from the stream as they went in, and
// their products are those of float64, with the same bits on all kernels.
func TestWideCodes(t *testing.T) {
	i := 0
	for _, s := range formatShapes {
		for bits := 5; bits <= 8; bits++ {
			i++
			rng := rand.New(rand.NewPCG(uint64(i), 8))
			f := quant.Format{Bits: bits, Group: s.group}
			q := &quant.Quantized{Base: randomBase(rng, f, s.n, s.k)}
			for _, a := range activationFormats {
				if err := Takes(q.Form(), Dense4, a); err != nil {
					if !strings.Contains(err.Error(), "neither divides the other") {
						t.Errorf("%s: %v", f, err)
					}
					continue
				}
				name := fmt.Sprintf("%s %dx%d %s", f, s.n, s.k, a)
				w := prepackFor(t, q, []Variant{Zipped, Dense4}[i%2], a)
				if got := w.Unpack(); !reflect.DeepEqual(got.Base, q.Base) {
					t.Errorf("%s: base changed", name)
				}
				for _, m := range []int{1, 2 + i%7, 9 + i%8} {
					if m > 8 && s.n*s.k > 20000 {
						continue
					}
					x := normal(uint64(i), m, s.k)
					want, size := Reference(q, x, a)
					for _, k := range kernels() {
						use(t, k)
						near(t, name+" "+k.name, multiply(t, w, x), want, size, rounding(q, a))
					}
					if a != quant.A16 {
						sameBits(t, layout{n: s.n, k: s.k}, w, x)
					}
				}
			}
		}
	}
}

// TestWideCodesLimits: sums of the largest codes and activations fit 32 bits.
func TestWideCodesLimits(t *testing.T) {
	f := quant.Format{Bits: 8}
	q := &quant.Quantized{Base: randomBase(rand.New(rand.NewPCG(1, 1)), f, 16, maxWideK)}
	for i := range q.Base.Codes {
		q.Base.Codes[i] = 255
	}
	x := normal(1, 1, maxWideK)
	for i := range x.Row(0) {
		x.Row(0)[i] = 1
	}
	want, size := Reference(q, x, quant.A8)
	w := prepackFor(t, q, Dense4, quant.A8)
	for _, k := range kernels() {
		use(t, k)
		near(t, k.name, multiply(t, w, x), want, size, rounding(q, quant.A8))
	}
	form := q.Form()
	form.K = maxWideK + 1
	if err := Takes(form, Dense4, quant.A8); err == nil {
		t.Error("more columns than sums hold")
	}
}
