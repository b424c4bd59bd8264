package grid

import (
	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/quant"
)

// Pack stores codes [N,K] and their grids [N, groups].
func Pack(n, k int, f quant.Format, codes []uint8, grids []Grid) *quant.Packed {
	_, groups := f.Groups(k)
	p := &quant.Packed{N: n, K: k, Format: f, Codes: make([]byte, n*quant.PackedLen(k, f.Bits))}
	zeroBits := f.Bits
	switch f.Kind {
	case quant.MXFP4, quant.NVFP4, quant.NF4DQ:
		p.ScaleBytes = make([]byte, n*groups)
	case quant.Bilevel:
		zeroBits = quant.BilevelBits
		p.ScaleBytes = make([]byte, n*quant.PackedLen(groups, quant.BilevelBits))
		p.Second = make([]uint16, quant.CeilDiv(n, quant.BilevelRows)*groups*4)
	default:
		p.Scales = make([]uint16, n*groups)
	}
	switch f.Kind {
	case quant.NVFP4:
		p.Tensor = []float32{grids[0].tensor}
	case quant.NF4DQ:
		p.Tensor = []float32{grids[0].mean}
		for g := 0; g < len(grids); g += quant.DoubleBlock {
			p.Tensor = append(p.Tensor, grids[g].tensor)
		}
	case quant.Any4:
		p.Offsets, p.Tables = make([]uint16, n*groups), make([]uint16, n*16)
	case quant.Integer, quant.Bilevel:
		if f.Affine {
			p.Zeros = make([]byte, n*quant.PackedLen(groups, zeroBits))
		}
	}
	parallel.For(n, func(i int) error {
		row := codes[i*k : (i+1)*k]
		if l := quant.FixedLevels[f.Kind]; l != nil && l.Wire != nil {
			wire := make([]uint8, k)
			for j, u := range row {
				wire[j] = l.Wire[u]
			}
			row = wire
		}
		packRow(p.Codes, i, row, f.Bits)
		scales, zeros := make([]uint8, groups), make([]uint8, groups)
		for g := range groups {
			gr := &grids[i*groups+g]
			scales[g], zeros[g] = uint8(gr.Bits), uint8(gr.Zero)
			if p.Scales != nil {
				p.Scales[i*groups+g] = gr.Bits
			}
			switch f.Kind {
			case quant.Any4:
				p.Offsets[i*groups+g] = gr.OffsetBits
			case quant.Bilevel:
				zeros[g] = uint8(gr.OffsetBits)
				if i%quant.BilevelRows == 0 {
					copy(p.Second[(i/quant.BilevelRows*groups+g)*4:], gr.Second[:])
				}
			}
		}
		switch {
		case f.Kind == quant.Bilevel:
			packRow(p.ScaleBytes, i, scales, quant.BilevelBits)
		case p.ScaleBytes != nil:
			copy(p.ScaleBytes[i*groups:], scales)
		}
		if p.Zeros != nil {
			packRow(p.Zeros, i, zeros, zeroBits)
		}
		if p.Tables != nil {
			for u, v := range grids[i*groups].Levels.Value {
				p.Tables[i*16+u] = half.ToF16(float32(v))
			}
		}
		return nil
	})
	return p
}

// packRow packs codes as row i of dst.
func packRow(dst []byte, i int, codes []uint8, bits int) {
	n := quant.PackedLen(len(codes), bits)
	quant.PackBits(dst[i*n:(i+1)*n], codes, bits)
}
