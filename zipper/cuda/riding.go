package cuda

import (
	"encoding/binary"

	f16 "github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/quant"
)

// A residual tied to the scales of the base, whose ratio is a whole number of half steps,
// rides in the codes where kernels have room for it: base and residual of a weight are one
// number before anything is multiplied. It has no scales, no sums and no products of its own.

// Sizes of a riding residual in kernels/ABI.md.
const (
	segmentCols = 128 // columns of which each row keeps as many blocks
	blockCols   = 8
	mostRiding  = 4 // blocks that a row keeps
)

// formRides is a bit of rform. Above it are the blocks that a row keeps in a segment, and
// the ratio in half steps.
const (
	formRides     = 1 << 2
	ridingShift   = 8
	halfStepShift = 16
)

// rides reports whether the residual of q, which may be nil, rides under a scheme.
func rides(q *quant.Quantized, scheme Scheme) bool {
	r, g := q.Residual, q.Base.Format.Group
	switch {
	case r == nil || scheme == W4A4 || !r.BaseScales || r.Bits != 2 || r.BlockRows != 1 || r.BlockCols != blockCols:
		return false
	case r.Index != quant.IndexExact || r.PerSegment < 1 || r.PerSegment > mostRiding:
		return false
	case g != 32 && g != 64 && g%segmentCols != 0:
		return false
	case ceilDiv(r.K, tileCols)%(segmentCols/tileCols) != 0: // rows of activations end in a segment's middle
		return false
	case quant.InHalfSteps(r.Scales[0]) == 0:
		return false
	}
	for _, b := range r.Codes {
		if (b|b>>1)&0x55 != 0x55 { // a code of 0 stands for -2
			return false
		}
	}
	return true
}

// Rides reports whether the residual rides in the operand of the base: there is one
// kernel for both, and none for the residual alone.
func (l *Layout) Rides() bool { return l.RForm&formRides != 0 }

// perSegment is how many blocks a row keeps of each segment.
func (l *Layout) perSegment() int { return l.RForm >> ridingShift & 0xff }

// recordBytes is the size of what a panel keeps of a segment.
func (l *Layout) recordBytes() int { return (l.perSegment()*(2*panelRows+panelRows/2) + 15) &^ 15 }

// record returns what panel p keeps of a segment.
func (l *Layout) record(p, segment int) []byte {
	size := l.recordBytes()
	return l.R[(p*(l.Tiles*tileCols/segmentCols)+segment)*size:][:size]
}

// packRiding writes the records of r.
func (l *Layout) packRiding(r *quant.Residual) {
	meta := *r
	meta.Codes, meta.Scales = nil, nil
	l.residual = &meta
	l.RForm = formRides | r.PerSegment<<ridingShift | quant.InHalfSteps(r.Scales[0])<<halfStepShift
	segments := l.Tiles * tileCols / segmentCols
	l.R = make([]byte, l.Panels*segments*l.recordBytes())
	parallel.Each(l.Panels, func(p int) {
		for row := range panelRows {
			var at, end int
			if n := p*panelRows + row; n < l.N {
				at, end = r.RowPtr.At(n), r.RowPtr.At(n+1)
			}
			for s := range segments {
				var taken uint16
				slot := 0
				for ; at < end && r.Cols.At(at)/quant.SegmentBlocks == s; at++ {
					place := r.Cols.At(at) % quant.SegmentBlocks
					l.putBlock(p, s, slot*panelRows+row, place, binary.LittleEndian.Uint16(r.Codes[2*at:]))
					taken |= 1 << place
					slot++
				}
				// What a row lacks are blocks of zeros. Places differ, so that no two lanes add to one.
				for place := 0; slot < l.perSegment(); place++ {
					if taken>>place&1 == 0 {
						l.putBlock(p, s, slot*panelRows+row, place, ridingZeros)
						slot++
					}
				}
			}
		}
	})
}

// ridingZeros are eight codes of 2 bits that stand for 0.
const ridingZeros = 0xaaaa

// putBlock writes entry i of a record: eight codes of 2 bits, and their place.
func (l *Layout) putBlock(p, segment, i, place int, codes uint16) {
	record := l.record(p, segment)
	binary.LittleEndian.PutUint16(record[2*i:], toWord(codes))
	record[2*panelRows*l.perSegment()+i/2] |= byte(turn(place)) << (i % 2 * 4)
}

// blockAt is the inverse of putBlock.
func (l *Layout) blockAt(p, segment, i int) (place int, codes uint16) {
	record := l.record(p, segment)
	stored := int(record[2*panelRows*l.perSegment()+i/2] >> (i % 2 * 4) & 15)
	return turn(stored), fromWord(binary.LittleEndian.Uint16(record[2*i:]))
}

// turn exchanges the lower two bits of a place. Kernels read it as an offset.
func turn(place int) int { return place&12 | place&1<<1 | place>>1&1 }

// toWord reorders 8 codes of 2 bits: nibble i of the word has those of columns i and, above,
// 4+i, as numbers in two's complement. fromWord is its inverse.
func toWord(codes uint16) (word uint16) {
	codes ^= ridingZeros
	for i := range 4 {
		word |= (codes>>(2*i)&3 | codes>>(8+2*i)&3<<2) << (4 * i)
	}
	return word
}

func fromWord(word uint16) (codes uint16) {
	for i := range 4 {
		nibble := word >> (4 * i) & 15
		codes |= nibble&3<<(2*i) | nibble>>2<<(8+2*i)
	}
	return codes ^ ridingZeros
}

// unpackRiding reads the records back.
func (l *Layout) unpackRiding() *quant.Residual {
	r := *l.residual
	r.Codes, r.Scales = make([]byte, 2*r.Blocks()), []uint16{f16.ToF16(float32(l.RForm>>halfStepShift&0xff) / 2)}
	parallel.Each(l.N, func(n int) {
		slot, segment := 0, -1
		for b := r.RowPtr.At(n); b < r.RowPtr.At(n+1); b++ {
			if s := r.Cols.At(b) / quant.SegmentBlocks; s != segment {
				slot, segment = 0, s
			}
			_, codes := l.blockAt(n/panelRows, segment, slot*panelRows+n%panelRows)
			binary.LittleEndian.PutUint16(r.Codes[2*b:], codes)
			slot++
		}
	})
	return &r
}
