package quant_test

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/baseline"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/mosaic"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// kindForms are methods with every kind, and with every part of a Quantized.
func kindForms() []quant.Quantizer {
	absmax := grid.Scale{Rule: grid.AbsMax}
	var all []quant.Quantizer
	for _, f := range quanttest.Kinds() {
		all = append(all, solve.RTN{Format: f, Scale: absmax})
	}
	rtn := solve.RTN{Format: quant.Int4(32), Scale: absmax}
	gptq := solve.NewGPTQ(quant.Int4(0))
	residual := laid(solve.RTN{Format: quanttest.Kinds()[4], Scale: absmax}, 0, 1, .1)
	residual.Bits = 2
	return append(all, residual,
		baseline.AWQ{Method: laid(rtn, 4, 7, .2), Format: rtn.Format},
		baseline.SVDQuant{Base: rtn, Rank: 2, Smooth: true, Rounds: 2},
		baseline.Mixed{Base: gptq, Score: baseline.ByAbsMax, Share: .1, Bits: 16},
		baseline.Mixed{Base: solve.NewGPTQ(quanttest.Kinds()[0]), Score: baseline.ByEnergy, Share: 1. / 3, Bits: 8, Reorder: true},
		baseline.Mixed{Base: solve.RTN{Format: quant.Format{Bits: 8}, Scale: absmax}, Score: baseline.ByAbsMax, Threshold: 20, Bits: 16})
}

func TestFormatsRefuseNaN(t *testing.T) {
	for _, bad := range []float64{math.NaN(), math.Inf(-1)} {
		p := quanttest.Problem(t, 18, 96, 1)
		p.Weights.Row(7)[9] = float32(bad)
		for i, m := range kindForms() {
			if _, err := m.Quantize(p); err == nil || !strings.Contains(err.Error(), "layer: weight [7,9]") {
				t.Errorf("form %d: %v", i, err)
			}
		}
	}
}

// Any tile of any form equals that of the whole.
func TestLoadTilesOfForms(t *testing.T) {
	p := quanttest.Problem(t, 18, 96, 7)
	for i, m := range kindForms() {
		q := quanttest.Quantize(t, m, p)
		all := q.Dequantize()
		if n, k := q.Dims(); n != 18 || k != 96 {
			t.Fatalf("form %d is [%d,%d]", i, n, k)
		}
		for n0 := range 18 {
			for k0 := 0; k0 < 96; k0 += 5 {
				tile := gemm.Matrix{Rows: min(3, 18-n0), Cols: min(11, 96-k0), Stride: 12, Data: make([]float32, 36)}
				q.Load(tile, n0, k0)
				if !quanttest.Equal(tile, all.View(n0, n0+tile.Rows, k0, k0+tile.Cols)) {
					t.Fatalf("form %d (%T): tile at (%d,%d) differs", i, m, n0, k0)
				}
			}
		}
	}
}

// Decoding by tiles, at any corner, equals decoding at once.
func TestLoadTiles(t *testing.T) {
	p := quanttest.Problem(t, 13, 66, 7)
	mosaic := laid(solve.RTN{Format: quant.Format{Bits: 5, Affine: true, Group: 33}, Scale: grid.Scale{Rule: grid.SearchHessian}}, 4, 7, .5)
	for _, m := range []quant.Quantizer{mosaic, spqr(quant.Int4(33), .1), solve.RTN{Format: quant.Int4(0), Scale: grid.Scale{Rule: grid.SearchMSE, Norm: 2.4}}} {
		q := quanttest.Quantize(t, m, p)
		all := q.Dequantize()
		for n0 := range 13 {
			for k0 := 0; k0 < 66; k0 += 5 {
				tile := quant.Matrix{Rows: min(3, 13-n0), Cols: min(11, 66-k0), Stride: 12, Data: make([]float32, 36)}
				q.Load(tile, n0, k0)
				if !quanttest.Equal(tile, all.View(n0, n0+tile.Rows, k0, k0+tile.Cols)) {
					t.Fatalf("%T: tile at (%d,%d) differs", m, n0, k0)
				}
			}
		}
	}
}

func TestBinaryAndLedger(t *testing.T) {
	p, wide := quanttest.Problem(t, 13, 66, 8), quanttest.Problem(t, 18, 96, 8)
	narrow := len(forms())
	for i, m := range append(forms(), kindForms()...) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			if i == narrow {
				p = wide
			}
			q := quanttest.Quantize(t, m, p)
			data, _ := q.MarshalBinary()
			var back quant.Quantized
			if err := back.UnmarshalBinary(data); err != nil {
				t.Fatal(err)
			}
			again, _ := back.MarshalBinary()
			if !bytes.Equal(data, again) || !quanttest.Equal(q.Dequantize(), back.Dequantize()) || !reflect.DeepEqual(q.Ledger(), back.Ledger()) {
				t.Error("the decoded matrix differs")
			}
			// Everything but the headers is booked: 8 bytes for each field.
			if got := int64(len(data) - 8*headerFields(q)); got != q.Ledger().Total() {
				t.Errorf("ledger %d B, stored %d B", q.Ledger().Total(), got)
			}
			for n := 0; n < len(data); n += 1 + n/999 {
				if err := new(quant.Quantized).UnmarshalBinary(data[:n]); err == nil {
					t.Fatalf("truncation to %d of %d bytes is not noticed", n, len(data))
				}
			}
		})
	}
}

// headerFields is the number of fields of the binary form that the ledger does not
// book; a matrix with warnings has more.
func headerFields(q *quant.Quantized) int {
	fields := 1 + packedFields + 2 + 2 + 3
	if c := q.Columns; c != nil {
		fields += 6 + 1
		if c.Packed != nil {
			fields += packedFields - 1
		}
	}
	if q.LowRank != nil {
		fields += 3
	}
	if q.Residual != nil {
		fields += 5 + 4 + 2
	}
	if q.Outliers != nil {
		fields += 1 + 4 + 1
	}
	return fields
}

// packedFields are the fields of a dense matrix: N, K, five of the format, and a
// length for each of eight arrays.
const packedFields = 2 + 4 + 8

func forms() []quant.Quantizer {
	rtn := solve.RTN{Format: quant.Int4(33), Scale: grid.Scale{Rule: grid.AbsMax}}
	rows := laid(rtn, 4, 7, .3)
	rows.ResidualScale, rows.Bits = mosaic.PerRow, 3
	tied := laid(rtn, 1, 8, .3)
	tied.ResidualScale, tied.Bits = mosaic.Tied, 2
	return []quant.Quantizer{rtn, solve.RTN{Format: quant.Format{Bits: 3, Affine: true, Group: 22}, Scale: grid.Scale{Rule: grid.AbsMax}},
		rows, laid(solve.NewGPTQ(quant.Int4(0)), 16, 16, 1), tied, spqr(quant.Int4(33), .05)}
}

func FuzzQuantized(f *testing.F) {
	p := quanttest.Problem(f, 5, 66, 8)
	for _, m := range forms() {
		data, _ := quanttest.Quantize(f, m, p).MarshalBinary()
		f.Add(data)
	}
	p = quanttest.Problem(f, 3, 96, 8)
	for _, m := range kindForms() {
		data, _ := quanttest.Quantize(f, m, p).MarshalBinary()
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var q quant.Quantized
		if q.UnmarshalBinary(data) != nil {
			return
		}
		if n, k := q.Dims(); n*k < 1<<20 {
			q.Dequantize()
		}
		q.Inputs(quant.A4)
		if again, _ := q.MarshalBinary(); !bytes.Equal(again, data) {
			t.Fatal("encoded again, the matrix differs")
		}
	})
}
