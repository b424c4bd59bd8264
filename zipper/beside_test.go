package zipper

import (
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/quant"
)

// TestBeside: scales of channels and a low-rank branch give what float64 says of
// weights and inputs as quant rounds them. Whole channels apart, which quantizers alone
// can make, are compared where all methods are executed, in experiments/trial.
func TestBeside(t *testing.T) {
	l := layout{n: 37, k: 200, group: 64, r: 1, c: 8, density: 0.2}
	for _, a := range activationFormats {
		for i := range 4 {
			q := l.random(uint64(i), anyScale)
			if i%2 == 0 {
				for j := range l.k {
					q.ChannelScales = append(q.ChannelScales, uint16(0x3800+5*j)) // from 1/2 on
				}
			}
			if i >= 1 {
				q.LowRank = &quant.LowRank{N: l.n, K: l.k, Rank: 3}
				for j := range 3 * l.n {
					q.LowRank.Left = append(q.LowRank.Left, uint16(0x3400+7*j))
				}
				for j := range 3 * l.k {
					q.LowRank.Right = append(q.LowRank.Right, uint16(0x2400+j)|uint16(j%2)<<15)
				}
			}
			for _, m := range []int{1, 5, 9} {
				x := normal(uint64(m), m, l.k)
				in, weights := x.Clone(), q.Dequantize()
				q.Inputs(a).Apply(in)
				want, size := make([]float64, m*l.n), make([]float64, m*l.n)
				for r := range m {
					for n := range l.n {
						for k, v := range weights.Row(n) {
							p := float64(v) * float64(in.Row(r)[k])
							want[r*l.n+n] += p
							size[r*l.n+n] += max(p, -p)
						}
					}
				}
				for _, k := range kernels() {
					use(t, k)
					w := prepackFor(t, q, Zipped, a)
					// Base, residual and branch are larger than what they sum to.
					near(t, k.name, multiply(t, w, x), want, size, 20*float64(l.k))
					if w.Bytes() <= prepackFor(t, l.random(uint64(i), anyScale), Zipped, a).Bytes() {
						t.Error("what is beside takes no bytes")
					}
				}
			}
		}
	}
}

// TestBesideInput: the caller's input is not changed.
func TestBesideInput(t *testing.T) {
	l := layout{n: 16, k: 64, group: 32}
	q := l.random(1, anyScale)
	for range l.k {
		q.ChannelScales = append(q.ChannelScales, 0x4000)
	}
	x := gemm.NewMatrix(2, l.k)
	for i := range x.Data {
		x.Data[i] = float32(i)
	}
	multiply(t, prepack(t, q, Dense4), x)
	for i, v := range x.Data {
		if v != float32(i) {
			t.Fatalf("x[%d] = %v after the product", i, v)
		}
	}
}
