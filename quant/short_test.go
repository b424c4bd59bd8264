package quant_test

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/baseline"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/mosaic"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// shortFormats are formats whose groups of 32 may leave a shorter last one.
func shortFormats(t *testing.T) []quant.Format {
	var all []quant.Format
	for _, name := range []string{"int4", "int4a", "int3", "int8", "nf4", "fp4", "bnbfp4", "nf4dq", "any4", "int3b", "int4b"} {
		f, err := quant.ParseFormat(name, 32)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
	}
	return all
}

// shortMethods are all methods with f, with every option that looks at groups.
func shortMethods(f quant.Format) map[string]quant.Quantizer {
	absmax := grid.Scale{Rule: grid.AbsMax}
	rtn, gptq := solve.RTN{Format: f, Scale: absmax}, solve.NewGPTQ(f)
	ordered, refined := gptq, gptq
	ordered.ActOrder, refined.Refine = !gptq.ActOrder, 2
	all := map[string]quant.Quantizer{"rtn": rtn, "hessian": solve.RTN{Format: f, Scale: grid.Scale{Rule: grid.SearchHessian}}, "gptq": gptq, "other order": ordered, "refine": refined,
		"spqr": spqr(f, .05), "awq": baseline.AWQ{Method: rtn, Format: f}, "svdquant": baseline.SVDQuant{Base: rtn, Rank: 2, Smooth: true, Rounds: 2},
		"mixed": baseline.Mixed{Base: gptq, Score: baseline.ByAbsMax, Share: .125, Bits: 8, Reorder: true}, "mosaic": laid(rtn, 4, 5, .3)}
	if f.Kind != quant.Any4 {
		threshold := spqr(f, 0)
		threshold.Threshold = .5
		all["spqr threshold"] = threshold
		all["clip"] = solve.RTN{Format: f, Scale: grid.Scale{Rule: grid.SearchClip}}
	}
	if f.Kind != quant.Any4 && f.Kind != quant.Bilevel && f.Kind != quant.NF4DQ {
		dynamic := gptq
		dynamic.DynamicGroups, dynamic.ActOrder = true, false
		all["dynamic"] = dynamic
	}
	for _, tied := range []bool{false, true} {
		for _, c := range []int{1, 5, 16, 64} {
			m := joint(f, 4, c, .3)
			if m.Refine, m.Criterion = 2, mosaic.CriterionRelief; tied {
				m.ResidualScale = mosaic.Tied
			}
			all[fmt.Sprintf("joint 4x%d tied=%v", c, tied)] = m
		}
	}
	return all
}

// Every method stores K = 72 as groups of 32, 32 and 8, and K = 8 as one of 8. What
// is stored decodes to the same weights, and the ledger is all that is stored.
func TestShortLastGroup(t *testing.T) {
	for _, k := range []int{72, 8} {
		p := quanttest.Problem(t, 18, k, 5)
		for _, f := range shortFormats(t) {
			for name, m := range shortMethods(f) {
				q, err := m.Quantize(p)
				if err != nil {
					t.Errorf("%s %s K=%d: %v", name, f, k, err)
					continue
				}
				data, _ := q.MarshalBinary()
				var back quant.Quantized
				if err := back.UnmarshalBinary(data); err != nil {
					t.Errorf("%s %s K=%d: %v", name, f, k, err)
					continue
				}
				again, _ := back.MarshalBinary()
				if !bytes.Equal(data, again) || !quanttest.Equal(q.Dequantize(), back.Dequantize()) {
					t.Errorf("%s %s K=%d: the decoded matrix differs", name, f, k)
				}
				if got := int64(len(data) - 8*headerFields(q)); got != q.Ledger().Total() {
					t.Errorf("%s %s K=%d: ledger %d B, stored %d B", name, f, k, q.Ledger().Total(), got)
				}
				lost, all := quanttest.Objective(p, q.Dequantize()), quanttest.Objective(p, quant.Matrix{Rows: 18, Cols: k, Stride: k, Data: make([]float32, 18*k)})
				if !(lost < .2*all) {
					t.Errorf("%s %s K=%d: %g of %g is lost", name, f, k, lost, all)
				}
			}
		}
	}
}

// Groups do not see each other: rounding [N,72] equals rounding columns 0..63 and
// 64..71, and errors are at most half a step.
func TestShortGroupsAreSeparate(t *testing.T) {
	p := quanttest.Problem(t, 18, 72, 5)
	for _, f := range shortFormats(t) {
		if f.Kind == quant.Any4 || f.Kind == quant.NF4DQ { // have a table or scales of scales in common
			continue
		}
		m := solve.RTN{Format: f, Scale: grid.Scale{Rule: grid.AbsMax}}
		q := quanttest.Quantize(t, m, p).Dequantize()
		for _, c := range [][2]int{{0, 64}, {64, 72}} {
			part := quant.Problem{Name: "part", Weights: p.Weights.View(0, 18, c[0], c[1])}
			if got := quanttest.Quantize(t, m, part).Dequantize(); !quanttest.Equal(got, q.View(0, 18, c[0], c[1])) {
				t.Errorf("%s: columns %v differ", f, c)
			}
		}
		if f != quant.Int4(32) {
			continue
		}
		for i := range 18 {
			for _, c := range [][2]int{{0, 32}, {32, 64}, {64, 72}} {
				var top float64
				for _, w := range p.Weights.Row(i)[c[0]:c[1]] {
					top = max(top, math.Abs(float64(w)))
				}
				for j := c[0]; j < c[1]; j++ {
					if d := math.Abs(float64(p.Weights.Row(i)[j] - q.Row(i)[j])); d > top/14*1.01 {
						t.Errorf("[%d,%d] is off by %g, half a step is %g", i, j, d, top/14)
					}
				}
			}
		}
	}
	gptq, rtn := quanttest.Quantize(t, solve.NewGPTQ(quant.Int4(32)), p), quanttest.Quantize(t, solve.RTN{Format: quant.Int4(32), Scale: grid.Scale{Rule: grid.AbsMax}}, p)
	if g, r := quanttest.Objective(p, gptq.Dequantize()), quanttest.Objective(p, rtn.Dequantize()); !(g < r) {
		t.Errorf("GPTQ loses %g, rounding to nearest %g", g, r)
	}
	if got, want := len(rtn.Base.Scales), 18*3; got != want || rtn.Ledger().Total() != 18*36+2*18*3 {
		t.Errorf("%d scales, %d B", got, rtn.Ledger().Total())
	}
	for _, f := range []quant.Format{{Bits: 4, Group: 32, Kind: quant.MXFP4}, {Bits: 4, Group: 16, Kind: quant.NVFP4}} {
		if _, err := (solve.RTN{Format: f, Scale: grid.Scale{Rule: grid.AbsMax}}).Quantize(p); err == nil || !strings.Contains(err.Error(), "K=72 not divisible") {
			t.Errorf("%s: %v", f, err)
		}
	}
}
