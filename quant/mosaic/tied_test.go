package mosaic

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// tiedForms are tied residuals on bases of all kinds whose scales can move, of
// blocks within a group, across groups and across rows.
func tiedForms() map[string]Joint {
	forms := map[string]Joint{}
	for _, f := range []quant.Format{quant.Int4(48), {Bits: 4, Affine: true, Group: 32}, {Bits: 4, Affine: true, Group: 16, Kind: quant.Bilevel},
		{Bits: 4, Group: 32, Kind: quant.NF4}, {Bits: 4, Group: 16, Kind: quant.NF4DQ}, {Bits: 4, Group: 16, Kind: quant.NVFP4}, {Bits: 4, Group: 32, Kind: quant.MXFP4}, {Bits: 4, Affine: true, Group: 32, Kind: quant.Any4}} {
		for _, c := range []struct {
			name             string
			rows, cols, bits int
			all              bool
		}{{"1x8", 1, 8, 2, true}, {"4x40", 4, 40, 3, false}, {"16x16", 16, 16, 4, true}} {
			m := joint(f, c.rows, c.cols, .15)
			m.Criterion, m.ResidualScale, m.Bits, m.AllPairs = CriterionRelief, Tied, c.bits, c.all
			forms[c.name+" on "+f.String()] = m
		}
	}
	return forms
}

// What is stored, decoded by the definition: the base's value plus code times
// ratio times the scale of the weight's own group.
func TestTiedDefinition(t *testing.T) {
	p := quanttest.Problem(t, 18, 96, 71)
	forms := map[string]quant.Quantizer{}
	for name, m := range tiedForms() {
		forms[name] = m
	}
	after := laid(solve.RTN{Format: quant.Int4(24), Scale: grid.Scale{Rule: grid.AbsMax}}, 5, 20, .3)
	after.ResidualScale = Tied
	forms["after its base"] = after
	for name, m := range forms {
		q := quanttest.Quantize(t, m, p)
		r := q.Residual
		if !r.BaseScales || r.RowScales || len(r.Scales) != 1 {
			t.Fatalf("%s: %d scales", name, len(r.Scales))
		}
		want, got := q.WithoutResidual().Dequantize(), q.Dequantize()
		size, groups := q.Base.Format.Groups(96)
		_, blockCols := r.Grid()
		kept := make([]int, quant.CeilDiv(18, r.BlockRows)*blockCols)
		for b := range kept {
			kept[b] = -1
		}
		for b := range quant.CeilDiv(18, r.BlockRows) {
			for i := r.RowPtr.At(b); i < r.RowPtr.At(b+1); i++ {
				kept[b*blockCols+r.Cols.At(i)] = i
			}
		}
		moved := 0
		for i := range 18 {
			for j := range 96 {
				w := float64(want.Row(i)[j])
				if b := kept[i/r.BlockRows*blockCols+j/r.BlockCols]; b >= 0 {
					codes, none := r.Block(b)
					if len(none) != 0 {
						t.Fatalf("%s: a block has scales", name)
					}
					s, _ := q.Base.Scale(i, j/size, groups)
					u := int(quant.CodeAt(codes, i%r.BlockRows*r.BlockCols+j%r.BlockCols, r.Bits)) - 1<<(r.Bits-1)
					if u != 0 {
						moved++
					}
					w += float64(u) * float64(half.FromF16(r.Scales[0])) * s
				}
				if g := float64(got.Row(i)[j]); !(math.Abs(g-w) <= 1e-6*(1+math.Abs(w))) {
					t.Fatalf("%s: weight [%d,%d] is %g, want %g", name, i, j, g, w)
				}
			}
		}
		if moved == 0 {
			t.Errorf("%s: no residual code", name)
		}
		for _, e := range q.Ledger() {
			if e.Name == "residual scales" && e.Bytes != 2 {
				t.Errorf("%s: %d bytes of residual scales", name, e.Bytes)
			}
		}
		data, _ := q.MarshalBinary()
		var again quant.Quantized
		if err := again.UnmarshalBinary(data); err != nil {
			t.Fatalf("%s: %v", name, err)
		} else if copied, _ := again.MarshalBinary(); !bytes.Equal(copied, data) || !quanttest.Equal(again.Dequantize(), got) {
			t.Errorf("%s: the binary form comes back changed", name)
		}
	}
}

// No round of coordinate descent may raise the objective, though steps of the
// base's scales move residual values with them, and the first must lower it.
func TestTiedRefineNeverRaises(t *testing.T) {
	p := quanttest.Problem(t, 18, 96, 72)
	for name, m := range tiedForms() {
		last := math.Inf(1)
		for m.Refine = range 4 {
			lost := quanttest.Objective(p, quanttest.Quantize(t, m, p).Dequantize())
			if !(lost <= last*(1+1e-7)) {
				t.Errorf("%s: round %d raises the objective from %g to %g", name, m.Refine, last, lost)
			}
			if m.Refine == 1 && !(lost < last*.999) {
				t.Errorf("%s: one round leaves %g of %g", name, lost, last)
			}
			last = lost
		}
	}
}

// After many rounds no scale of the base can be changed for the better, judged by
// what is stored, residual included: a gradient that left residual codes out
// would end elsewhere.
func TestTiedRefineEndsWhereNoScaleHelps(t *testing.T) {
	p := quanttest.Problem(t, 3, 64, 73)
	m := joint(quant.Int4(32), 1, 8, .4)
	m.Criterion, m.ResidualScale, m.Bits, m.AllPairs, m.Refine = CriterionRelief, Tied, 2, true, 60
	q := quanttest.Quantize(t, m, p)
	lost := quanttest.Objective(p, q.Dequantize())
	for i, s := range q.Base.Scales {
		for _, step := range []int{-12, -4, 4, 12} {
			q.Base.Scales[i] = uint16(int(s) + step)
			if now := quanttest.Objective(p, q.Dequantize()); !(now > lost*(1-1e-4)) {
				t.Errorf("scale %d, %d steps away: %g, %g before", i, step, now, lost)
			}
		}
		q.Base.Scales[i] = s
	}
}

// Errors spread evenly over a step are best cut into as many equal cells as the
// residual has levels.
func TestTiedRatioOfEvenErrors(t *testing.T) {
	p := quanttest.Problem(t, 16, 128, 74)
	for bits, levels := range map[int]float64{2: 3, 3: 7, 4: 15} {
		m := laid(solve.RTN{Format: quant.Int4(64), Scale: grid.Scale{Rule: grid.AbsMax}}, 16, 16, .5)
		m.ResidualScale, m.Bits, m.Criterion = Tied, bits, CriterionError
		q := quanttest.Quantize(t, m, p)
		if ratio := float64(half.FromF16(q.Residual.Scales[0])); !(math.Abs(ratio*levels-1) < .3) {
			t.Errorf("%d bits: ratio %g, want near 1/%g", bits, ratio, levels)
		}
		m.Density = 0
		before, _ := quant.WeightError(p.Weights, quanttest.Quantize(t, m, p))
		m.Density = 1
		after, _ := quant.WeightError(p.Weights, quanttest.Quantize(t, m, p))
		quanttest.Near(t, "share of the error that is left", after/before, 1/levels/levels, .2)
	}
}

// Outliers far beyond the range of their group must stay reachable: the group's
// scale is fitted without them, and a ratio has an end.
func TestTiedOutliers(t *testing.T) {
	p := quanttest.Problem(t, 8, 128, 75)
	for _, v := range []float32{30, -300, 3000} {
		for i := range 8 {
			p.Weights.Row(i)[9*i] = v
		}
		for _, f := range []quant.Format{quant.Int4(64), {Bits: 4, Group: 64, Kind: quant.NF4}, {Bits: 4, Affine: true, Group: 64}} {
			m := joint(f, 1, 8, .1)
			m.Criterion, m.ResidualScale, m.Bits, m.AllPairs = CriterionRelief, Tied, 2, true
			tied := quanttest.Objective(p, quanttest.Quantize(t, m, p).Dequantize())
			if base := quanttest.Objective(p, quanttest.Quantize(t, solve.NewGPTQ(f), p).Dequantize()); !(tied < base) {
				t.Errorf("%s: outliers of %g: %g lost, %g without residual", f, v, tied, base)
			}
		}
	}
	// A group of zeros but for what is kept has no scale of its own.
	for i := range p.Weights.Data {
		if i%64 != 17 {
			p.Weights.Data[i] = 0
		}
	}
	m := joint(quant.Int4(64), 1, 8, 1./8)
	m.Criterion, m.ResidualScale, m.Bits, m.AllPairs = CriterionRelief, Tied, 2, true
	if lost, all := quanttest.Objective(p, quanttest.Quantize(t, m, p).Dequantize()), quanttest.Objective(p, quant.Matrix{Rows: 8, Cols: 128, Stride: 128, Data: make([]float32, 8*128)}); !(lost < .02*all) {
		t.Errorf("%g of %g is lost", lost, all)
	}
}

// TestTiedSuperWeight: one weight far beyond all others, where the input is largest, stays
// within reach where scales have a second level in common that is fitted without it.
func TestTiedSuperWeight(t *testing.T) {
	p := quanttest.Problem(t, 64, 512, 77)
	for j := range 512 { // the input of column 100 is 50 times as large
		p.Moments.H[100*512+j] *= 50
		p.Moments.H[j*512+100] *= 50
	}
	p.Weights.Row(7)[100] = 40 * quanttest.LargestOf(p.Weights.Data)
	for _, f := range []quant.Format{{Bits: 4, Group: 32, Kind: quant.NF4DQ}, {Bits: 4, Affine: true, Group: 32, Kind: quant.Bilevel},
		{Bits: 4, Group: 16, Kind: quant.NVFP4}} {
		m := joint(f, 1, 8, .06)
		m.Criterion, m.ResidualScale, m.Bits, m.AllPairs = CriterionRelief, Tied, 2, true
		tied := quanttest.Objective(p, quanttest.Quantize(t, m, p).Dequantize())
		if base := quanttest.Objective(p, quanttest.Quantize(t, solve.NewGPTQ(f), p).Dequantize()); !(tied < 1.1*base) {
			t.Errorf("%s: %g lost, %g without residual", f, tied, base)
		}
	}
}

// The form with scales of rows is the tied one, but for the rounding of steps.
func TestRowScaled(t *testing.T) {
	p := quanttest.Problem(t, 18, 96, 76)
	m := laid(solve.RTN{Format: quant.Int4(48), Scale: grid.Scale{Rule: grid.AbsMax}}, 4, 16, .4)
	m.ResidualScale = Tied
	q := quanttest.Quantize(t, m, p)
	r, err := q.Residual.RowScaled(q.Base)
	if err != nil {
		t.Fatal(err)
	}
	rows := *q
	rows.Residual = r
	if lost, total := quant.WeightError(q.Dequantize(), &rows); !(lost <= total*math.Exp2(-22)) {
		t.Errorf("%g of %g is lost", lost, total)
	}
	if own, err := r.RowScaled(q.Base); err != nil || own != r {
		t.Errorf("a residual with scales of its own does not stay as it is: %v", err)
	}
	m.BlockCols = 32
	q = quanttest.Quantize(t, m, p)
	cut, err := q.Residual.RowScaled(q.Base) // blocks of 32 columns lie in several groups of 48
	if err != nil {
		t.Fatal(err)
	}
	rows = *q
	rows.Residual = cut
	if lost, total := quant.WeightError(q.Dequantize(), &rows); cut.BlockCols != 16 || !(lost <= total*math.Exp2(-22)) {
		t.Errorf("blocks across groups become %dx%d, and %g of %g is lost", cut.BlockRows, cut.BlockCols, lost, total)
	}
	q.Residual.BlockCols, q.Base.Scales[0] = 16, 0x7bff
	q.Residual.Scales[0] = half.ToF16(2)
	q.Residual.RowPtr, q.Residual.Cols = quant.NewInts([]int{0, 1, 1, 1, 1, 1}, 1), quant.NewInts([]int{0}, 5)
	if _, err := q.Residual.RowScaled(q.Base); err == nil || !strings.Contains(err.Error(), "exceeds half precision") {
		t.Errorf("a step beyond half precision: %v", err)
	}
}

// A ratio that is none must not be decoded.
func TestTiedBinaryErrors(t *testing.T) {
	p := quanttest.Problem(t, 4, 32, 77)
	m := laid(solve.RTN{Format: quant.Int4(32), Scale: grid.Scale{Rule: grid.AbsMax}}, 1, 8, .5)
	m.ResidualScale = Tied
	q := quanttest.Quantize(t, m, p)
	for _, bits := range []uint16{0, half.ToF16(-1), half.ToF16(512), 0x7c00} {
		q.Residual.Scales[0] = bits
		data, _ := q.MarshalBinary()
		if err := new(quant.Quantized).UnmarshalBinary(data); err == nil {
			t.Errorf("ratio %g is accepted", half.FromF16(bits))
		}
	}
}
