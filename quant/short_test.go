package quant

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
)

// shortFormats are formats whose groups of 32 may leave a shorter last one.
func shortFormats(t *testing.T) []Format {
	var all []Format
	for _, name := range []string{"int4", "int4a", "int3", "int8", "nf4", "fp4", "bnbfp4", "nf4dq", "any4", "int3b", "int4b"} {
		f, err := ParseFormat(name, 32)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
	}
	return all
}

// shortMethods are all methods with f, with every option that looks at groups.
func shortMethods(f Format) map[string]Quantizer {
	absmax := Scale{Rule: AbsMax}
	rtn, gptq := RTN{f, absmax}, NewGPTQ(f)
	ordered, refined := gptq, gptq
	ordered.ActOrder, refined.Refine = !gptq.ActOrder, 2
	all := map[string]Quantizer{"rtn": rtn, "hessian": RTN{f, Scale{Rule: SearchHessian}}, "gptq": gptq, "other order": ordered, "refine": refined,
		"spqr": NewSpQR(f, .05), "awq": AWQ{rtn, f}, "svdquant": SVDQuant{Base: rtn, Rank: 2, Smooth: true, Rounds: 2},
		"mixed": Mixed{Base: gptq, Score: ByAbsMax, Share: .125, Bits: 8, Reorder: true}, "mosaic": NewMosaic(rtn, 4, 5, .3)}
	if f.Kind != Any4 {
		threshold := NewSpQR(f, 0)
		threshold.Threshold = .5
		all["spqr threshold"] = threshold
		all["clip"] = RTN{f, Scale{Rule: SearchClip}}
	}
	if f.Kind != Any4 && f.Kind != Bilevel && f.Kind != NF4DQ {
		dynamic := gptq
		dynamic.DynamicGroups, dynamic.ActOrder = true, false
		all["dynamic"] = dynamic
	}
	for _, tied := range []bool{false, true} {
		for _, c := range []int{1, 5, 16, 64} {
			m := NewMosaic(gptq, 4, c, .3)
			m.Refine, m.Joint, m.BaseScales, m.Criterion = 2, true, tied, Relief
			all[fmt.Sprintf("joint 4x%d tied=%v", c, tied)] = m
		}
	}
	return all
}

// Every method stores K = 72 as groups of 32, 32 and 8, and K = 8 as one of 8. What
// is stored decodes to the same weights, and the ledger is all that is stored.
func TestShortLastGroup(t *testing.T) {
	for _, k := range []int{72, 8} {
		p := problem(t, 18, k, 5)
		for _, f := range shortFormats(t) {
			for name, m := range shortMethods(f) {
				q, err := m.Quantize(p)
				if err != nil {
					t.Errorf("%s %s K=%d: %v", name, f, k, err)
					continue
				}
				data, _ := q.MarshalBinary()
				var back Quantized
				if err := back.UnmarshalBinary(data); err != nil {
					t.Errorf("%s %s K=%d: %v", name, f, k, err)
					continue
				}
				again, _ := back.MarshalBinary()
				if !bytes.Equal(data, again) || !equal(q.Dequantize(), back.Dequantize()) {
					t.Errorf("%s %s K=%d: the decoded matrix differs", name, f, k)
				}
				if got := int64(len(data) - 8*headerFields(q)); got != q.Ledger().Total() {
					t.Errorf("%s %s K=%d: ledger %d B, stored %d B", name, f, k, q.Ledger().Total(), got)
				}
				lost, all := objective(p, q.Dequantize()), objective(p, Matrix{Rows: 18, Cols: k, Stride: k, Data: make([]float32, 18*k)})
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
	p := problem(t, 18, 72, 5)
	for _, f := range shortFormats(t) {
		if f.Kind == Any4 || f.Kind == NF4DQ { // have a table or scales of scales in common
			continue
		}
		m := RTN{f, Scale{Rule: AbsMax}}
		q := quantize(t, m, p).Dequantize()
		for _, c := range [][2]int{{0, 64}, {64, 72}} {
			part := Problem{Name: "part", Weights: p.Weights.View(0, 18, c[0], c[1])}
			if got := quantize(t, m, part).Dequantize(); !equal(got, q.View(0, 18, c[0], c[1])) {
				t.Errorf("%s: columns %v differ", f, c)
			}
		}
		if f != Int4(32) {
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
	gptq, rtn := quantize(t, NewGPTQ(Int4(32)), p), quantize(t, RTN{Int4(32), Scale{Rule: AbsMax}}, p)
	if g, r := objective(p, gptq.Dequantize()), objective(p, rtn.Dequantize()); !(g < r) {
		t.Errorf("GPTQ loses %g, rounding to nearest %g", g, r)
	}
	if got, want := len(rtn.Base.Scales), 18*3; got != want || rtn.Ledger().Total() != 18*36+2*18*3 {
		t.Errorf("%d scales, %d B", got, rtn.Ledger().Total())
	}
	for _, f := range []Format{{Bits: 4, Group: 32, Kind: MXFP4}, {Bits: 4, Group: 16, Kind: NVFP4}} {
		if _, err := (RTN{f, Scale{Rule: AbsMax}}).Quantize(p); err == nil || !strings.Contains(err.Error(), "K=72 not divisible") {
			t.Errorf("%s: %v", f, err)
		}
	}
}
