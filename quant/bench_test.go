package quant

import (
	"math/rand/v2"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// BenchmarkQuantize takes one linear layer of 2048 x 2048 through each method;
// MB/s counts W in float32.
func BenchmarkQuantize(b *testing.B) {
	const size = 2048
	r := rand.New(rand.NewPCG(1, 1))
	p := Problem{Name: "layer", Weights: gemm.NewMatrix(size, size)}
	x := gemm.NewMatrix(2*size, size)
	for _, m := range []Matrix{p.Weights, x} {
		for i := range m.Data {
			m.Data[i] = float32(r.NormFloat64())
		}
	}
	a := NewAccumulator(size)
	if err := a.Add(x); err != nil {
		b.Fatal(err)
	}
	var err error
	if p.Moments, err = a.Finish(); err != nil {
		b.Fatal(err)
	}
	rtn := RTN{Int4(128), Scale{Rule: AbsMax}}
	full := NewMosaic(rtn, 16, 16, .1)
	full.Criterion = Full
	greedy := NewMosaic(rtn, 1, 16, .1)
	greedy.Criterion = Greedy
	for _, c := range []struct {
		name   string
		method Quantizer
	}{
		{"rtn", rtn}, {"rtn-mse", RTN{Int4(128), Scale{Rule: SearchMSE, Norm: 2}}},
		{"gptq", NewGPTQ(Int4(128))}, {"spqr", NewSpQR(Int4(128), .01)},
		{"mosaic-delta", NewMosaic(rtn, 16, 16, .1)}, {"mosaic-full", full},
		{"mosaic-greedy", greedy},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(4 * size * size)
			for b.Loop() {
				quantize(b, c.method, p)
			}
		})
	}
	q := quantize(b, NewMosaic(rtn, 16, 16, .1), p)
	b.Run("load", func(b *testing.B) {
		b.SetBytes(4 * size * size)
		for b.Loop() {
			q.Dequantize()
		}
	})
}
