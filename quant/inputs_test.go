package quant_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/baseline"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// Inputs: kept channels stay as they are or have 8 bits, the others are rounded
// in groups of the base's order, and channel scales divide before the rounding.
func TestInputs(t *testing.T) {
	p := quanttest.Problem(t, 8, 96, 12)
	x := gemm.NewMatrix(2, 96)
	draw := rand.New(rand.NewPCG(1, 1))
	for i := range x.Data {
		x.Data[i] = float32(draw.NormFloat64())
	}
	m := baseline.Mixed{Base: solve.NewGPTQ(quant.Int4(0)), Score: baseline.ByEnergy, Share: .25, Bits: 16, Reorder: true}
	for _, bits := range []int{16, 8} {
		m.Bits = bits
		q := quanttest.Quantize(t, m, p)
		got := x.Clone()
		a := quant.Activations{Bits: 4, Group: 8}
		q.Inputs(a).Apply(got)
		order := q.Inputs(quant.A8).Channels.Order
		for i := range 2 {
			want := gemm.NewMatrix(1, 72)
			kept := gemm.NewMatrix(1, 24)
			for at, j := range order {
				if at < 72 {
					want.Data[at] = x.Row(i)[j]
				} else {
					kept.Data[at-72] = x.Row(i)[j]
				}
			}
			a.Apply(want)
			if bits == 8 {
				quant.A8.Apply(kept)
			}
			for at, j := range order {
				w := append(slices.Clone(want.Data), kept.Data...)[at]
				if got.Row(i)[j] != w {
					t.Fatalf("kept in %d bits: token %d, channel %d is %g, want %g", bits, i, j, got.Row(i)[j], w)
				}
			}
		}
	}
	q := quanttest.Quantize(t, solve.RTN{Format: quant.Int4(32), Scale: grid.Scale{Rule: grid.AbsMax}}, p)
	if q.Inputs(quant.A4) != quant.A4 {
		t.Error("a plain base changes its inputs")
	}
	q.ChannelScales = make([]uint16, 96)
	scale := make([]float32, 96)
	for j := range scale {
		q.ChannelScales[j] = half.ToF16(float32(j%5) + .5)
		scale[j] = float32(j%5) + .5
	}
	got, want := x.Clone(), x.Clone()
	q.Inputs(quant.A8).Apply(got)
	for i := range 2 {
		for j := range scale {
			want.Row(i)[j] /= scale[j]
		}
	}
	quant.A8.Apply(want)
	for i := range 2 {
		for j := range scale {
			want.Row(i)[j] *= scale[j]
		}
	}
	if !quanttest.Equal(got, want) {
		t.Error("channel scales do not divide inputs before the rounding")
	}
}
