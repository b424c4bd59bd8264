package mosaic

import (
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// integers are the bases that residuals in half steps go with.
func integers(group int) []quant.Format {
	return []quant.Format{quant.Int4(group), {Bits: 3, Affine: true, Group: group}, {Bits: 2, Group: group},
		{Bits: 4, Affine: true, Group: group, Kind: quant.Bilevel}}
}

// Base and residual sum to a whole number of half steps, whatever their method, and
// codes are -1, 0 and 1.
func TestHalfSteps(t *testing.T) {
	p := quanttest.Problem(t, 18, 96, 81)
	for _, f := range integers(32) {
		m := joint(f, 1, 8, .25)
		m.Criterion, m.ResidualScale, m.Bits, m.AllPairs, m.Refine = CriterionRelief, HalfSteps, 2, true, 3
		after := laid(solve.RTN{Format: f, Scale: grid.Scale{Rule: grid.AbsMax}}, 1, 8, .25)
		after.ResidualScale, after.Bits = HalfSteps, 2
		for _, by := range []quant.Quantizer{m, after} {
			q := quanttest.Quantize(t, by, p)
			r := q.Residual
			if !r.HalfSteps || quant.InHalfSteps(r.Scales[0]) == 0 {
				t.Errorf("%s: ratio %#x is no whole number of half steps", f, r.Scales[0])
			}
			for i := range r.Blocks() * 8 {
				if quant.CodeAt(r.Codes, i, 2) == 0 {
					t.Fatalf("%s: a code of -2", f)
				}
			}
		}
	}
}

// A search over all ratios finds no larger loss than one over whole half steps.
func TestHalfStepsAreAChoice(t *testing.T) {
	p := quanttest.Problem(t, 32, 128, 82)
	m := joint(quant.Int4(64), 1, 8, .2)
	m.Criterion, m.ResidualScale, m.Bits, m.AllPairs = CriterionRelief, HalfSteps, 2, true
	half := quanttest.Objective(p, quanttest.Quantize(t, m, p).Dequantize())
	m.ResidualScale = Tied
	tied := quanttest.Objective(p, quanttest.Quantize(t, m, p).Dequantize())
	m.Density = 0
	base := quanttest.Objective(p, quanttest.Quantize(t, m, p).Dequantize())
	if !(tied < half*1.02 && half < base) {
		t.Errorf("half steps lose %g, any ratio %g, no residual %g", half, tied, base)
	}
}

func TestHalfStepsRefused(t *testing.T) {
	p := quanttest.Problem(t, 8, 64, 83)
	for _, f := range []quant.Format{{Bits: 4, Group: 32, Kind: quant.NF4}, {Bits: 4, Group: 32, Kind: quant.FP4}} {
		m := joint(f, 1, 8, .2)
		m.ResidualScale, m.Bits = HalfSteps, 2
		after := laid(solve.RTN{Format: f, Scale: grid.Scale{Rule: grid.AbsMax}}, 1, 8, .2)
		after.ResidualScale, after.Bits = HalfSteps, 2
		for _, by := range []quant.Quantizer{m, after} {
			if _, err := by.Quantize(p); err == nil || !strings.Contains(err.Error(), "no base of integers") {
				t.Errorf("%s: %v", f, err)
			}
		}
	}
	m := joint(quant.Int4(32), 1, 8, .2)
	m.ResidualScale, m.Bits = HalfSteps, 3
	if _, err := m.Quantize(p); err == nil || !strings.Contains(err.Error(), "3 bits in half steps") {
		t.Error(err)
	}
}

// Every segment keeps just so many blocks, those that lose most without, also the short
// one at the end of a row.
func TestExactIndex(t *testing.T) {
	p := quanttest.Problem(t, 12, 200, 84) // 25 blocks: 16 and 9
	m := laid(solve.RTN{Format: quant.Int4(0), Scale: grid.Scale{Rule: grid.AbsMax}}, 1, 8, .125)
	m.Index = quant.IndexExact
	scores, _, err := m.Scores(p)
	if err != nil {
		t.Fatal(err)
	}
	relief := joint(quant.Int4(40), 1, 8, .125)
	relief.Criterion, relief.Index = CriterionRelief, quant.IndexExact
	for _, by := range []quant.Quantizer{m, relief} {
		r := quanttest.Quantize(t, by, p).Residual
		if r.Index != quant.IndexExact || r.PerSegment != 2 || r.Blocks() != 12*4 {
			t.Fatalf("%d blocks, %d in each segment, index %s", r.Blocks(), r.PerSegment, r.Index)
		}
		for b := range 12 {
			var taken [25]bool
			n := [2]int{}
			for i := r.RowPtr.At(b); i < r.RowPtr.At(b+1); i++ {
				taken[r.Cols.At(i)] = true
				n[r.Cols.At(i)/16]++
			}
			if n != [2]int{2, 2} {
				t.Errorf("row %d keeps %v", b, n)
			}
			if _, ok := by.(Mosaic); !ok {
				continue
			}
			for c := range 25 {
				for d := range 25 {
					if c/16 == d/16 && taken[c] && !taken[d] && scores[b*25+c] < scores[b*25+d] {
						t.Errorf("row %d: block %d is kept and %d is not", b, c, d)
					}
				}
			}
		}
	}
	m.Density = .1
	if _, err := m.Quantize(p); err == nil || !strings.Contains(err.Error(), "density 0.1 is not one or more of every 16") {
		t.Error(err)
	}
	m.Density, m.Criterion = .125, CriterionGreedy
	if _, err := m.Quantize(p); err == nil || !strings.Contains(err.Error(), "index exact") {
		t.Error(err)
	}
}
