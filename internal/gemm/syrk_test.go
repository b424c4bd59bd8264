package gemm

import (
	"math"
	"testing"
)

// TestSyrk compares with float64 sums: exactly for whole numbers, else within
// the bound for 256 products in float32. The strict lower triangle, and what h
// held before, must survive.
func TestSyrk(t *testing.T) {
	forKernels(t, func(t *testing.T) {
		for i, k := range awkward[:19] {
			m := []int{1, 3, 255, 256, 257, 600}[i%6]
			for _, exact := range []bool{true, false} {
				x := randomMatrix(1, m, k, i%3)
				terms := tokensPerFlush
				if exact {
					x, terms = integerMatrix(1, m, k, i%3), 0
				}
				h := make([]float64, k*k)
				for j := range h {
					h[j] = float64(j % 7)
				}
				Syrk(h, x)
				for r := range k {
					for c := range k {
						want, size := float64((r*k+c)%7), 0.0
						for p := 0; c >= r && p < m; p++ {
							v := float64(x.Row(p)[r]) * float64(x.Row(p)[c])
							want += v
							size += math.Abs(v)
						}
						if got := h[r*k+c]; !(math.Abs(got-want) <= float64(terms)*0x1p-24*size) {
							t.Fatalf("m=%d k=%d: h[%d,%d] = %v, want %v", m, k, r, c, got, want)
						}
					}
				}
			}
		}
	})
}
