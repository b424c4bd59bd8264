package quant_test

import (
	"bytes"
	"reflect"
	"slices"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/mosaic"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// A format that is one row is parsed, fitted, rounded to, refined, stored, read back
// and booked, and refused once the row has gone.
func TestDummyFormat(t *testing.T) {
	p := quanttest.Problem(t, 12, 96, 3)
	var stored []byte
	t.Run("with its row", func(t *testing.T) {
		f := quant.WithDummy(t, 32)
		if g, err := quant.ParseFormat("dummy2", 32); err != nil || g != f || f.String() != "dummy2 g32" {
			t.Errorf("parsed as %v: %v", g, err)
		}
		absmax := grid.Scale{Rule: grid.AbsMax}
		rtn, gptq := solve.RTN{Format: f, Scale: absmax}, solve.NewGPTQ(f)
		refined := gptq
		refined.Refine = 2
		tied := joint(f, 1, 8, .2)
		tied.ResidualScale = mosaic.Tied
		var objectives []float64
		for _, m := range []quant.Quantizer{rtn, solve.RTN{Format: f, Scale: grid.Scale{Rule: grid.SearchMSE, Norm: 2}}, gptq, refined, tied} {
			q := quanttest.Quantize(t, m, p)
			objectives = append(objectives, quanttest.Objective(p, q.Dequantize()))
			data, _ := q.MarshalBinary()
			var back quant.Quantized
			if err := back.UnmarshalBinary(data); err != nil {
				t.Fatal(err)
			}
			if again, _ := back.MarshalBinary(); !bytes.Equal(again, data) || !quanttest.Equal(back.Dequantize(), q.Dequantize()) {
				t.Errorf("%T: what is read back differs", m)
			}
			if q.Residual != nil {
				continue
			}
			stored = data
			want := quant.Ledger{{Name: "codes", Bytes: 12 * 24}, {Name: "scales", Bytes: 12 * 3 * 2}}
			if got := q.Ledger(); !reflect.DeepEqual(got, want) {
				t.Errorf("%T: ledger %v, want %v", m, got, want)
			}
			w := q.Dequantize()
			for i := range 12 {
				for j, v := range w.Row(i) {
					s := half.FromF16(q.Base.Scales[i*3+j/32])
					if !slices.Contains([]float32{-s, 0, .5 * s, s}, v) {
						t.Fatalf("%T: weight [%d,%d] is %g on the scale %g", m, i, j, v, s)
					}
				}
			}
		}
		if !(objectives[2] < objectives[0] && objectives[3] < objectives[2] && objectives[4] < objectives[2]) {
			t.Errorf("objectives of rtn, mse, gptq, refined and tied: %g", objectives)
		}
	})
	if err := new(quant.Quantized).UnmarshalBinary(stored); err == nil {
		t.Error("a matrix of a format without a row is read")
	}
}
