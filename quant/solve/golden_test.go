package solve

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
)

func TestGPTQGolden(t *testing.T) {
	data, err := os.ReadFile("../testdata/gptq.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		TraceH float64 `json:"trace_h"`
		Cases  []struct {
			Group     int
			ActOrder  bool `json:"act_order"`
			Dynamic   bool
			Objective float64
		}
	}
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.Cases) != 9 {
		t.Fatalf("%d golden cases, want 9", len(golden.Cases))
	}
	p := quant.Problem{Name: "golden", Weights: gemm.NewMatrix(16, 256)}
	x := gemm.NewMatrix(768, 256)
	quanttest.Integers(p.Weights, 1)
	quanttest.Integers(x, 2)
	for i := range x.Rows {
		row := x.Row(i)
		for j := 255; j > 0; j-- {
			row[j] += row[j-1] / 2
		}
		for j := 5; j < 256; j += 37 {
			row[j] *= 4
		}
	}
	a := quant.NewAccumulator(256)
	if err := a.Add(x); err != nil {
		t.Fatal(err)
	}
	if p.Moments, err = a.Finish(); err != nil {
		t.Fatal(err)
	}
	var trace float64
	for _, h := range p.Moments.Diag() {
		trace += h
	}
	quanttest.Near(t, "tr(H)", trace, golden.TraceH, 1e-5)
	for _, c := range golden.Cases {
		m := GPTQ{Format: quant.Int4(c.Group), Scale: grid.Scale{Rule: grid.AbsMax}, Damping: .01, ActOrder: c.ActOrder, DynamicGroups: c.Dynamic}
		got := quanttest.Objective(p, quanttest.Quantize(t, m, p).Dequantize())
		quanttest.Near(t, fmt.Sprintf("g%d act=%v dynamic=%v", c.Group, c.ActOrder, c.Dynamic), got, c.Objective, 1e-3)
	}
}
