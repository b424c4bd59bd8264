package quant

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// No round of coordinate descent may raise the objective, whatever the format,
// and the first must lower it. All that changed must be in what is stored.
func TestRefineNeverRaises(t *testing.T) {
	problems := []Problem{problem(t, 18, 256, 41), factorProblem(t, 18, 384, .9)}
	for _, p := range problems {
		for _, f := range []Format{Int4(32), Int4(128), Int4(0), {Bits: 4, Affine: true, Group: 64}, {Bits: 2, Group: 16},
			{Bits: 4, Affine: true, Group: 16, Kind: Bilevel}, {Bits: 3, Affine: true, Group: 32, Kind: Bilevel}, {Bits: 4, Group: 32, Kind: NF4}} {
			if p.Weights.Cols%96 == 0 && f.Group == 32 {
				f.Group = 96 // blocks of 96 columns
			}
			methods := map[string]func(rounds int) Quantizer{
				"gptq": func(rounds int) Quantizer { m := NewGPTQ(f); m.Refine = rounds; return m },
				"dynamic": func(rounds int) Quantizer {
					return GPTQ{Format: f, Scale: Scale{Rule: SearchHessian}, Damping: .01, DynamicGroups: true, Refine: rounds}
				},
			}
			if f.Kind == Bilevel {
				delete(methods, "dynamic")
			}
			for _, shape := range [][2]int{{1, 16}, {4, 24}, {16, 64}} {
				for _, rows := range []bool{false, true} {
					methods[fmt.Sprintf("joint %v rows=%v", shape, rows)] = func(rounds int) Quantizer {
						m := NewMosaic(NewGPTQ(f), shape[0], shape[1], .15)
						m.Joint, m.Criterion, m.RowScales, m.AllPairs, m.Refine = true, Relief, rows, rows, rounds
						return m
					}
				}
			}
			for name, method := range methods {
				last := math.Inf(1)
				for rounds := range 5 {
					q := quantize(t, method(rounds), p)
					lost := objective(p, q.Dequantize())
					if !(lost <= last*(1+1e-7)) {
						t.Errorf("%s %s: round %d raises the objective from %g to %g", name, f, rounds, last, lost)
					}
					if rounds == 1 && !(lost < last*.999) {
						t.Errorf("%s %s: one round leaves %g of %g", name, f, lost, last)
					}
					last = lost
				}
			}
		}
	}
}

// A column's step must be the best there is: after many rounds no single code
// of any weight can be changed for the better, judged by the objective itself.
func TestRefineEndsWhereNoCodeHelps(t *testing.T) {
	p := problem(t, 3, 64, 43)
	m := NewMosaic(NewGPTQ(Int4(32)), 1, 8, .2)
	m.Joint, m.Criterion, m.Refine = true, Relief, 40
	q := quantize(t, m, p)
	lost := objective(p, q.Dequantize())
	for i, b := range q.Base.Codes {
		for _, step := range []int{-1, 1} {
			for shift := 0; shift < 8; shift += 4 {
				u := int(b>>shift&15) + step
				if u < 1 || u > 15 {
					continue
				}
				q.Base.Codes[i] = b&^(15<<shift) | byte(u<<shift)
				if now := objective(p, q.Dequantize()); !(now > lost*(1-1e-4)) {
					t.Errorf("code %d of byte %d: %g after %d, %g before", shift/4, i, now, step, lost)
				}
			}
		}
		q.Base.Codes[i] = b
	}
	for _, scales := range [][]uint16{q.Base.Scales, q.Residual.Scales} {
		for i, s := range scales {
			for _, step := range []int{-12, -4, 4, 12} {
				scales[i] = uint16(int(s) + step)
				if now := objective(p, q.Dequantize()); !(now > lost*(1-1e-4)) {
					t.Errorf("scale %d of %d, %d steps away: %g, %g before", i, len(scales), step, now, lost)
				}
			}
			scales[i] = s
		}
	}
}

// The same of the scale and zero of a Bilevel group: after many rounds no other
// pair of codes is better, judged by what is stored.
func TestRefineEndsWhereNoBilevelScaleHelps(t *testing.T) {
	p := problem(t, 18, 64, 44)
	m := NewGPTQ(Format{Bits: 4, Affine: true, Group: 16, Kind: Bilevel})
	start := objective(p, quantize(t, m, p).Dequantize())
	m.Refine = 60
	q := quantize(t, m, p)
	lost := objective(p, q.Dequantize())
	if !(lost < .9*start) {
		t.Errorf("%g after refinement, %g before", lost, start)
	}
	const groups = 4
	length := packedLen(groups, bilevelBits)
	set := func(row []byte, g int, code uint8) {
		for b := range bilevelBits {
			at := g*bilevelBits + b
			row[at>>3] = row[at>>3]&^(1<<(at&7)) | code>>b&1<<(at&7)
		}
	}
	for i := range p.Weights.Rows {
		scales, zeros := q.Base.ScaleBytes[i*length:(i+1)*length], q.Base.Zeros[i*length:(i+1)*length]
		for g := range groups {
			s, z := codeAt(scales, g, bilevelBits), codeAt(zeros, g, bilevelBits)
			for c := range uint8(64) {
				set(scales, g, c>>3)
				set(zeros, g, c&7)
				if now := objective(p, q.Dequantize()); !(now > lost*(1-1e-5)) {
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
	bases := []grid{{scale: .5, zero: 8, lo: 1, hi: 15}, {scale: .5, zero: 3, hi: 15}, {scale: .3, offset: -1.7, hi: 15},
		{scale: 4, levels: fixedLevels[NF4], zero: 7, hi: 15}, {scale: 1, levels: fixedLevels[FP4], zero: 7, hi: 14}, {zero: 8, lo: 1, hi: 15}}
	for _, base := range bases {
		for _, bits := range []int{2, 4} {
			f := Format{Bits: bits}
			for _, scale := range []float64{0, .03, .17, .8, 2.9} {
				res := grid{scale: scale, zero: f.offset(), lo: f.lowest(), hi: f.highest()}
				for w := -8.0; w <= 8; w += .137 {
					u, v := nearestPair(&base, &res, w)
					near, nv := nearPair(&base, &res, w)
					got := abs(w - base.value(u) - res.value(v))
					if d := abs(w - base.value(near) - res.value(nv)); d < got-1e-12 {
						t.Fatalf("scale %g: %g is off by %g, by %g with the near pair", scale, w, got, d)
					}
					for x := base.lo; x <= base.hi; x++ {
						for y := res.lo; y <= res.hi; y++ {
							if d := abs(w - base.value(uint8(x)) - res.value(uint8(y))); d < got-1e-12 {
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
	base := grid{scale: .5, zero: 8, lo: 1, hi: 15}
	for _, scale := range []float64{.5 / 14, .1, .03, 0} {
		res := grid{scale: scale, zero: 8, lo: 1, hi: 15}
		for w := -5.0; w <= 5; w += .0137 {
			u, v := nearPair(&base, &res, w)
			got := abs(w - base.value(u) - res.value(v))
			for x := base.lo; x <= base.hi; x++ {
				for y := res.lo; y <= res.hi; y++ {
					if d := abs(w - base.value(uint8(x)) - res.value(uint8(y))); d < got-1e-12 {
						t.Fatalf("scale %g: %g is off by %g, by %g with codes %d and %d", scale, w, got, d, x, y)
					}
				}
			}
		}
	}
}

func TestRefineErrors(t *testing.T) {
	p := problem(t, 4, 32, 1)
	negative, refined := NewGPTQ(Int4(32)), NewGPTQ(Int4(32))
	negative.Refine, refined.Refine = -1, 1
	separate := NewMosaic(NewGPTQ(Int4(32)), 4, 4, .5)
	separate.Refine = 1
	twice := NewMosaic(refined, 4, 4, .5)
	twice.Joint = true
	full, alone := twice, separate
	full.Base, full.Criterion = NewGPTQ(Int4(32)), Full
	alone.Refine, alone.Criterion = 0, Relief
	pairs := alone
	pairs.Criterion, pairs.AllPairs = Delta, true
	for _, c := range []struct {
		m    Quantizer
		want string
	}{
		{negative, "layer: -1 rounds"}, {separate, "layer: 1 rounds of refinement: they need a joint"},
		{twice, "layer: joint residual is refined together"}, {full, `layer: joint residual with criterion "full"`},
		{alone, `layer: criterion "relief" needs a joint`}, {pairs, "layer: pairs of codes need a joint"}, {SpQR{GPTQ: refined, Share: .1}, "layer: SpQR has no rounds"},
	} {
		if _, err := c.m.Quantize(p); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}
