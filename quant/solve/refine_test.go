package solve

import (
	"testing"

	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
)

// The same of the scale and zero of a Bilevel group: after many rounds no other
// pair of codes is better, judged by what is stored.
func TestRefineEndsWhereNoBilevelScaleHelps(t *testing.T) {
	p := quanttest.Problem(t, 18, 64, 44)
	m := NewGPTQ(quant.Format{Bits: 4, Affine: true, Group: 16, Kind: quant.Bilevel})
	start := quanttest.Objective(p, quanttest.Quantize(t, m, p).Dequantize())
	m.Refine = 60
	q := quanttest.Quantize(t, m, p)
	lost := quanttest.Objective(p, q.Dequantize())
	if !(lost < .9*start) {
		t.Errorf("%g after refinement, %g before", lost, start)
	}
	const groups = 4
	length := quant.PackedLen(groups, quant.BilevelBits)
	set := func(row []byte, g int, code uint8) {
		for b := range quant.BilevelBits {
			at := g*quant.BilevelBits + b
			row[at>>3] = row[at>>3]&^(1<<(at&7)) | code>>b&1<<(at&7)
		}
	}
	for i := range p.Weights.Rows {
		scales, zeros := q.Base.ScaleBytes[i*length:(i+1)*length], q.Base.Zeros[i*length:(i+1)*length]
		for g := range groups {
			s, z := quant.CodeAt(scales, g, quant.BilevelBits), quant.CodeAt(zeros, g, quant.BilevelBits)
			for c := range uint8(64) {
				set(scales, g, c>>3)
				set(zeros, g, c&7)
				if now := quanttest.Objective(p, q.Dequantize()); !(now > lost*(1-1e-5)) {
					t.Errorf("row %d, group %d: %g with codes %d and %d, %g with %d and %d", i, g, now, c>>3, c&7, lost, s, z)
				}
			}
			set(scales, g, s)
			set(zeros, g, z)
		}
	}
}

// The nearest pair against all pairs, on grids of all kinds and steps of the
// residual below and above the base's.
func TestNearestPair(t *testing.T) {
	bases := []grid.Grid{{Scale: .5, Zero: 8, Lo: 1, Hi: 15}, {Scale: .5, Zero: 3, Hi: 15}, {Scale: .3, Offset: -1.7, Hi: 15},
		{Scale: 4, Levels: quant.NF4.Levels(), Zero: 7, Hi: 15}, {Scale: 1, Levels: quant.FP4.Levels(), Zero: 7, Hi: 14}, {Zero: 8, Lo: 1, Hi: 15}}
	for _, base := range bases {
		for _, bits := range []int{2, 4} {
			f := quant.Format{Bits: bits}
			for _, scale := range []float64{0, .03, .17, .8, 2.9} {
				res := grid.Grid{Scale: scale, Zero: f.Offset(), Lo: f.Lowest(), Hi: f.Highest()}
				for w := -8.0; w <= 8; w += .137 {
					u, v := nearestPair(&base, &res, w)
					near, nv := nearPair(&base, &res, w)
					got := abs(w - base.Value(u) - res.Value(v))
					if d := abs(w - base.Value(near) - res.Value(nv)); d < got-1e-12 {
						t.Fatalf("scale %g: %g is off by %g, by %g with the near pair", scale, w, got, d)
					}
					for x := base.Lo; x <= base.Hi; x++ {
						for y := res.Lo; y <= res.Hi; y++ {
							if d := abs(w - base.Value(uint8(x)) - res.Value(uint8(y))); d < got-1e-12 {
								t.Fatalf("scale %g: %g is off by %g, by %g with codes %d and %d", scale, w, got, d, x, y)
							}
						}
					}
				}
			}
		}
	}
}

// A near pair is the nearest of all pairs as long as the residual is the finer
// grid, and never worse than base first, residual second.
func TestNearPair(t *testing.T) {
	base := grid.Grid{Scale: .5, Zero: 8, Lo: 1, Hi: 15}
	for _, scale := range []float64{.5 / 14, .1, .03, 0} {
		res := grid.Grid{Scale: scale, Zero: 8, Lo: 1, Hi: 15}
		for w := -5.0; w <= 5; w += .0137 {
			u, v := nearPair(&base, &res, w)
			got := abs(w - base.Value(u) - res.Value(v))
			for x := base.Lo; x <= base.Hi; x++ {
				for y := res.Lo; y <= res.Hi; y++ {
					if d := abs(w - base.Value(uint8(x)) - res.Value(uint8(y))); d < got-1e-12 {
						t.Fatalf("scale %g: %g is off by %g, by %g with codes %d and %d", scale, w, got, d, x, y)
					}
				}
			}
		}
	}
}
