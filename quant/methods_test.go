package quant_test

import (
	"testing"

	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/baseline"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/mosaic"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// In every format GPTQ loses less than rounding to nearest, refinement never
// raises the objective, residuals of 2, 3 and 4 bits lower it, each more than
// the one before, and a joint residual beats the base.
func TestMethodsInEveryFormat(t *testing.T) {
	p := quanttest.Problem(t, 32, 192, 6)
	for _, f := range quanttest.Kinds() {
		rtn := solve.RTN{Format: f, Scale: grid.Scale{Rule: grid.AbsMax}}
		gptq := solve.NewGPTQ(f)
		r, g := quanttest.Objective(p, quanttest.Quantize(t, rtn, p).Dequantize()), quanttest.Objective(p, quanttest.Quantize(t, gptq, p).Dequantize())
		if !(g < r) {
			t.Errorf("%s: GPTQ %g, RTN %g", f, g, r)
		}
		last := g
		for rounds := 1; rounds <= 3; rounds++ {
			gptq.Refine = rounds
			got := quanttest.Objective(p, quanttest.Quantize(t, gptq, p).Dequantize())
			if !(got <= last*(1+1e-6)) {
				t.Errorf("%s: round %d raises the objective from %g to %g", f, rounds, last, got)
			}
			last = got
		}
		if !(last < g) {
			t.Errorf("%s: refinement finds nothing below %g", f, g)
		}
		gptq.Refine = 0
		last = r
		for bits := 2; bits <= 4; bits++ {
			m := laid(rtn, 4, 16, .2)
			m.Bits = bits
			got := quanttest.Objective(p, quanttest.Quantize(t, m, p).Dequantize())
			if !(got < last) {
				t.Errorf("%s: residual of %d bits %g, before %g", f, bits, got, last)
			}
			last = got
		}
		if got := quanttest.Objective(p, quanttest.Quantize(t, joint(f, 1, 16, .2), p).Dequantize()); !(got < g) {
			t.Errorf("%s: joint residual %g, GPTQ %g", f, got, g)
		}
		for _, share := range []float64{.02, .1} {
			if got := quanttest.Objective(p, quanttest.Quantize(t, spqr(f, share), p).Dequantize()); !(got < g) {
				t.Errorf("%s: outliers of %g %g, GPTQ %g", f, share, got, g)
			}
		}
	}
}

// AWQ is never worse than rounding without scales, clearly better with strong
// channels, and composes; what it scales is divided again.
func TestAWQ(t *testing.T) {
	absmax := grid.Scale{Rule: grid.AbsMax}
	for seed := range uint64(3) {
		p := quanttest.Problem(t, 24, 96, 70+seed)
		for _, f := range []quant.Format{quant.Int4(32), {Bits: 4, Affine: true, Group: 32}, quanttest.Kinds()[0], quanttest.Kinds()[4]} {
			rtn := solve.RTN{Format: f, Scale: absmax}
			before, after := quanttest.Objective(p, quanttest.Quantize(t, rtn, p).Dequantize()), quanttest.Objective(p, quanttest.Quantize(t, baseline.AWQ{Method: rtn, Format: f}, p).Dequantize())
			if !(after < .9*before) {
				t.Errorf("%s: AWQ %g, RTN %g", f, after, before)
			}
			gptq := solve.NewGPTQ(f)
			if got := quanttest.Objective(p, quanttest.Quantize(t, baseline.AWQ{Method: gptq, Format: f}, p).Dequantize()); !(got < after) {
				t.Errorf("%s: AWQ and GPTQ %g, AWQ %g", f, got, after)
			}
			clip := grid.Scale{Rule: grid.SearchClip}
			if got := quanttest.Objective(p, quanttest.Quantize(t, baseline.AWQ{Method: solve.RTN{Format: f, Scale: clip}, Format: f}, p).Dequantize()); !(got < after*1.02) {
				t.Errorf("%s: AWQ with clipping %g, without %g", f, got, after)
			}
		}
		// Density 1 in 8 bits leaves next to nothing, also over scales.
		m := laid(solve.RTN{Format: quant.Format{Bits: 8}, Scale: absmax}, 4, 8, 1)
		m.Bits = 8
		w := quanttest.Quantize(t, baseline.AWQ{Method: m, Format: quant.Int4(32)}, p).Dequantize()
		lost, total := quant.WeightError(p.Weights, w)
		if !(lost < 1e-6*total) {
			t.Errorf("scales are not undone: %g of %g is lost", lost, total)
		}
	}
	// Held-out moments are scaled too: with those of the calibration the oracle is
	// greedy, also over scales.
	p := quanttest.Problem(t, 16, 96, 1)
	p.HeldOut = p.Moments
	oracle, greedy := laid(solve.RTN{Format: quant.Int4(32), Scale: absmax}, 4, 8, .2), laid(solve.RTN{Format: quant.Int4(32), Scale: absmax}, 4, 8, .2)
	oracle.Criterion, greedy.Criterion = mosaic.CriterionOracle, mosaic.CriterionGreedy
	if !quanttest.Equal(quanttest.Quantize(t, baseline.AWQ{Method: oracle, Format: quant.Int4(32)}, p).Dequantize(), quanttest.Quantize(t, baseline.AWQ{Method: greedy, Format: quant.Int4(32)}, p).Dequantize()) {
		t.Error("the oracle sees other inputs than the scaled ones")
	}
	p.Moments.MeanAbs = nil
	if _, err := (baseline.AWQ{Method: solve.RTN{Format: quant.Int4(32), Scale: absmax}, Format: quant.Int4(32)}).Quantize(p); err == nil {
		t.Error("AWQ without mean inputs is accepted")
	}
}

// Whole input channels as blocks: one scale and one index each.
func TestChannelBlocks(t *testing.T) {
	p := quanttest.Problem(t, 40, 96, 42)
	m := laid(solve.RTN{Format: quant.Int4(32), Scale: grid.Scale{Rule: grid.AbsMax}}, 0, 1, .125)
	q := quanttest.Quantize(t, m, p)
	if q.Residual.BlockRows != 40 || q.Residual.Blocks() != 12 {
		t.Fatalf("blocks of %d rows, %d of them", q.Residual.BlockRows, q.Residual.Blocks())
	}
	if want := 4.5 + 12*(40*4+16+8)/(40*96.) + 16/(40*96.); q.BitsPerWeight() != want {
		t.Errorf("%g bits, want %g", q.BitsPerWeight(), want)
	}
	want := laid(m.Base, 40, 1, .125)
	if !quanttest.Equal(q.Dequantize(), quanttest.Quantize(t, want, p).Dequantize()) {
		t.Error("0 rows are not all rows")
	}
}
