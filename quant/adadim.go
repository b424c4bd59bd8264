package quant

import (
	"errors"
	"fmt"

	"github.com/mosaicquant/mosaicquant/internal/half"
)

// Groups of an AdaDim matrix: Format.Group weights along K in a row, or along N in a column.
const (
	AlongRows uint16 = iota
	AlongColumns
)

// NewAdaDim returns the matrix [n,k] of affine codes [N,K] with the scales and zeros of its
// groups: [N, groups] along rows, [K, groups] along columns.
func NewAdaDim(n, k int, f Format, along uint16, codes []uint8, scales []uint16, zeros []uint8) (*Packed, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	if f.Kind != AdaDim || len(codes) != n*k || along > AlongColumns {
		return nil, fmt.Errorf("%d codes of %s for [%d,%d]", len(codes), f, n, k)
	}
	p := NewPacked(n, k, f)
	p.Tables[0], p.Scales = along, scales
	for i := range n {
		l := PackedLen(k, f.Bits)
		PackBits(p.Codes[i*l:(i+1)*l], codes[i*k:(i+1)*k], f.Bits)
	}
	lines, groups := p.lines()
	if len(scales) != lines*groups || len(zeros) != lines*groups {
		return nil, fmt.Errorf("%d scales and %d zeros of %d groups", len(scales), len(zeros), lines*groups)
	}
	l := PackedLen(groups, f.Bits)
	p.Zeros = make([]byte, lines*l)
	for i := range lines {
		PackBits(p.Zeros[i*l:(i+1)*l], zeros[i*groups:(i+1)*groups], f.Bits)
	}
	return p, nil
}

// lines returns how many rows or columns an AdaDim matrix has, along which its groups lie,
// and the groups of each.
func (p *Packed) lines() (lines, groups int) {
	if p.Tables[0] == AlongColumns {
		_, groups = p.Format.Groups(p.N)
		return p.K, groups
	}
	_, groups = p.Format.Groups(p.K)
	return p.N, groups
}

func validAdaDim(p *Packed) error {
	if p.Tables[0] > AlongColumns {
		return fmt.Errorf("groups along %d, want 0 or 1", p.Tables[0])
	}
	lines, groups := p.lines()
	if len(p.Scales) != lines*groups || len(p.Zeros) != lines*PackedLen(groups, p.Format.Bits) {
		return errors.New("scales or zeros of another number of groups")
	}
	return nil
}

// loadAdaDim decodes a tile of Ŵ into dst.
func (p *Packed) loadAdaDim(dst Matrix, n0, k0 int) {
	bits := p.Format.Bits
	_, groups := p.lines()
	rowLen, zeroLen := PackedLen(p.K, bits), PackedLen(groups, bits)
	size, _ := p.Format.Groups(p.K)
	across, _ := p.Format.Groups(p.N)
	for i := range dst.Rows {
		n := n0 + i
		codes := p.Codes[n*rowLen : (n+1)*rowLen]
		for j := range dst.Cols {
			k := k0 + j
			line, g := n, k/size
			if p.Tables[0] == AlongColumns {
				line, g = k, n/across
			}
			zero := CodeAt(p.Zeros[line*zeroLen:(line+1)*zeroLen], g, bits)
			dst.Row(i)[j] = float32(int(CodeAt(codes, k, bits))-int(zero)) * half.FromF16(p.Scales[line*groups+g])
		}
	}
}
