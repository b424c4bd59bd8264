package quant_test

import (
	"math/rand/v2"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/mosaic"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// BenchmarkQuantize takes one linear layer of 2048 x 2048 through each method;
// MB/s counts W in float32.
func BenchmarkQuantize(b *testing.B) {
	const size = 2048
	r := rand.New(rand.NewPCG(1, 1))
	p := quant.Problem{Name: "layer", Weights: gemm.NewMatrix(size, size)}
	x := gemm.NewMatrix(2*size, size)
	for _, m := range []quant.Matrix{p.Weights, x} {
		for i := range m.Data {
			m.Data[i] = float32(r.NormFloat64())
		}
	}
	a := quant.NewAccumulator(size)
	if err := a.Add(x); err != nil {
		b.Fatal(err)
	}
	var err error
	if p.Moments, err = a.Finish(); err != nil {
		b.Fatal(err)
	}
	rtn := solve.RTN{Format: quant.Int4(128), Scale: grid.Scale{Rule: grid.AbsMax}}
	full := laid(rtn, 16, 16, .1)
	full.Criterion = mosaic.CriterionFull
	greedy := laid(rtn, 1, 16, .1)
	greedy.Criterion = mosaic.CriterionGreedy
	for _, c := range []struct {
		name   string
		method quant.Quantizer
	}{
		{"rtn", rtn}, {"rtn-mse", solve.RTN{Format: quant.Int4(128), Scale: grid.Scale{Rule: grid.SearchMSE, Norm: 2}}},
		{"gptq", solve.NewGPTQ(quant.Int4(128))}, {"spqr", spqr(quant.Int4(128), .01)},
		{"mosaic-delta", laid(rtn, 16, 16, .1)}, {"mosaic-full", full},
		{"mosaic-greedy", greedy},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(4 * size * size)
			for b.Loop() {
				quanttest.Quantize(b, c.method, p)
			}
		})
	}
	q := quanttest.Quantize(b, laid(rtn, 16, 16, .1), p)
	b.Run("load", func(b *testing.B) {
		b.SetBytes(4 * size * size)
		for b.Loop() {
			q.Dequantize()
		}
	})
}
