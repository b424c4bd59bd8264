package cuda

import (
	"encoding/binary"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/quant"
)

// Unpack reads the buffers back into quant's canonical form. Codes of the base
// that outliers replace come back as zero, and so do codes outside of the matrix.
func (l *Layout) Unpack() *quant.Quantized {
	o := orders[l.Scheme]
	rowLen, groups := (l.K+1)/2, 1
	if l.format.Group > 0 {
		groups = l.K / l.format.Group
	}
	b := &quant.Packed{N: l.N, K: l.K, Format: l.format, Codes: make([]byte, l.N*rowLen),
		Scales: make([]uint16, l.N*groups)}
	parallel.Each(ceilDiv(l.N, panelRows), func(p int) {
		for n := p * panelRows; n < min((p+1)*panelRows, l.N); n++ {
			for k := range l.K {
				at, shift := o.nibble(n%panelRows, k%tileCols)
				code := l.W[(p*l.Tiles+k/tileCols)*tileBytes+at]>>shift&15 ^ o.flip
				b.Codes[n*rowLen+k>>1] |= code << (k & 1 * 4)
			}
			for g := range groups {
				b.Scales[n*groups+g] = binary.LittleEndian.Uint16(l.S[2*((p*l.groups()+g)*panelRows+n%panelRows):])
			}
		}
	})
	q := &quant.Quantized{Base: b}
	if l.Rides() {
		q.Residual = l.unpackRiding()
	} else if l.residual != nil {
		q.Residual = l.unpackResidual(o)
	}
	if l.outliers != nil {
		q.Outliers = l.unpackOutliers()
	}
	return q
}

func (l *Layout) unpackResidual(o *order) *quant.Residual {
	r := *l.residual
	blockLen, each := (r.BlockRows*r.BlockCols*r.Bits+7)/8, 1
	if r.RowScales {
		each = r.BlockRows
	}
	r.Codes, r.Scales = make([]byte, r.Blocks()*blockLen), make([]uint16, r.Blocks()*each)
	zero := byte(1) << (r.Bits - 1)
	parallel.Each(r.RowPtr.Len()-1, func(br int) {
		codes := make([]byte, r.BlockRows*r.BlockCols)
		for b := r.RowPtr.At(br); b < r.RowPtr.At(br+1); b++ {
			for i := range codes {
				codes[i] = zero
			}
			scales := r.Scales[b*each : (b+1)*each]
			l.eachPiece(br, r.Cols.At(b), func(p, j, s, row, col int) {
				t := l.tile(p, j, s)
				for i := range l.pieceRows(br, row) {
					in := (row + i) % r.BlockRows
					scales[in%each] = l.scale(t, (row+i)%panelRows)
					for c := range l.pieceCols(col) {
						at, shift := l.place(o, (row+i)%panelRows, s, col%cellCols+c)
						u := l.codesOf(t)[at]>>shift&15 ^ o.flip
						codes[in*r.BlockCols+col%r.BlockCols+c] = u - zeroCode + zero
					}
				}
			})
			for i, c := range codes {
				putCode(r.Codes[b*blockLen:], i, r.Bits, c)
			}
		}
	})
	return &r
}

func (l *Layout) unpackOutliers() *quant.Outliers {
	x := *l.outliers
	x.Values = make([]uint16, len(l.Values)/2)
	for i := range x.Values {
		x.Values[i] = binary.LittleEndian.Uint16(l.Values[2*i:])
	}
	ints := func(src []byte, width int) quant.Ints {
		v := quant.Ints{Width: width, Data: make([]byte, 0, len(src)/4*width)}
		for ; len(src) > 0; src = src[4:] {
			v.Data = append(v.Data, src[:width]...)
		}
		return v
	}
	x.RowPtr, x.Cols = ints(l.Ptr, x.RowPtr.Width), ints(l.Cols, x.Cols.Width)
	return &x
}

// widen returns a half as a float32.
func widen(h uint16) float32 {
	var v [1]float32
	gemm.DecodeF16(v[:], []byte{byte(h), byte(h >> 8)})
	return v[0]
}
