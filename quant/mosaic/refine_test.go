package mosaic

import (
	"fmt"
	"math"
	"testing"

	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// No round of coordinate descent may raise the objective, whatever the format,
// and the first must lower it. All that changed must be in what is stored.
func TestRefineNeverRaises(t *testing.T) {
	problems := []quant.Problem{quanttest.Problem(t, 18, 256, 41), quanttest.FactorProblem(t, 18, 384, .9)}
	for _, p := range problems {
		for _, f := range []quant.Format{quant.Int4(32), quant.Int4(128), quant.Int4(0), {Bits: 4, Affine: true, Group: 64}, {Bits: 2, Group: 16},
			{Bits: 4, Affine: true, Group: 16, Kind: quant.Bilevel}, {Bits: 3, Affine: true, Group: 32, Kind: quant.Bilevel}, {Bits: 4, Group: 32, Kind: quant.NF4}} {
			if p.Weights.Cols%96 == 0 && f.Group == 32 {
				f.Group = 96 // blocks of 96 columns
			}
			methods := map[string]func(rounds int) quant.Quantizer{
				"gptq": func(rounds int) quant.Quantizer { m := solve.NewGPTQ(f); m.Refine = rounds; return m },
				"dynamic": func(rounds int) quant.Quantizer {
					return solve.GPTQ{Format: f, Scale: grid.Scale{Rule: grid.SearchHessian}, Damping: .01, DynamicGroups: true, Refine: rounds}
				},
			}
			if f.Kind == quant.Bilevel {
				delete(methods, "dynamic")
			}
			for _, shape := range [][2]int{{1, 16}, {4, 24}, {16, 64}} {
				for _, rows := range []bool{false, true} {
					methods[fmt.Sprintf("joint %v rows=%v", shape, rows)] = func(rounds int) quant.Quantizer {
						m := joint(f, shape[0], shape[1], .15)
						m.Criterion, m.AllPairs, m.Refine = CriterionRelief, rows, rounds
						if rows {
							m.ResidualScale = PerRow
						}
						return m
					}
				}
			}
			for name, method := range methods {
				last := math.Inf(1)
				for rounds := range 5 {
					q := quanttest.Quantize(t, method(rounds), p)
					lost := quanttest.Objective(p, q.Dequantize())
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
	p := quanttest.Problem(t, 3, 64, 43)
	m := joint(quant.Int4(32), 1, 8, .2)
	m.Criterion, m.Refine = CriterionRelief, 40
	q := quanttest.Quantize(t, m, p)
	lost := quanttest.Objective(p, q.Dequantize())
	for i, b := range q.Base.Codes {
		for _, step := range []int{-1, 1} {
			for shift := 0; shift < 8; shift += 4 {
				u := int(b>>shift&15) + step
				if u < 1 || u > 15 {
					continue
				}
				q.Base.Codes[i] = b&^(15<<shift) | byte(u<<shift)
				if now := quanttest.Objective(p, q.Dequantize()); !(now > lost*(1-1e-4)) {
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
				if now := quanttest.Objective(p, q.Dequantize()); !(now > lost*(1-1e-4)) {
					t.Errorf("scale %d of %d, %d steps away: %g, %g before", i, len(scales), step, now, lost)
				}
			}
			scales[i] = s
		}
	}
}
