package grid

import (
	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/quant"
)

// Pack stores codes [N,K] and their grids [N, groups].
func Pack(n, k int, f quant.Format, codes []uint8, grids []Grid) *quant.Packed {
	_, groups := f.Groups(k)
	p := quant.NewPacked(n, k, f)
	fit := fitOf(f.Kind)
	wire := []uint8(nil)
	if l := f.Kind.Levels(); l != nil {
		wire = l.Wire
	}
	parallel.For(n, func(i int) error {
		row := codes[i*k : (i+1)*k]
		if wire != nil {
			row = make([]uint8, k)
			for j, u := range codes[i*k : (i+1)*k] {
				row[j] = wire[u]
			}
		}
		packRow(p.Codes, i, row, f.Bits)
		scales, zeros := make([]uint8, groups), make([]uint8, groups)
		for g := range groups {
			gr := &grids[i*groups+g]
			if p.Scales != nil {
				p.Scales[i*groups+g] = gr.Bits
			}
			scales[g], zeros[g] = uint8(gr.Bits), uint8(gr.Zero)
			if fit.zero != nil {
				zeros[g] = fit.zero(gr)
			}
		}
		if p.ScaleBytes != nil {
			packRow(p.ScaleBytes, i, scales, f.ScaleBits())
		}
		if p.Zeros != nil {
			packRow(p.Zeros, i, zeros, f.ZeroBits())
		}
		return nil
	})
	if fit.store != nil {
		fit.store(p, grids)
	}
	return p
}

// packRow packs codes as row i of dst.
func packRow(dst []byte, i int, codes []uint8, bits int) {
	n := quant.PackedLen(len(codes), bits)
	quant.PackBits(dst[i*n:(i+1)*n], codes, bits)
}
