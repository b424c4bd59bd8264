package quant

import (
	"errors"
	"fmt"

	"github.com/mosaicquant/mosaicquant/internal/half"
)

// The limits of a Codebook matrix: weights of a vector, and bits of an index into a
// codebook.
const (
	MaxVector       = 8
	MaxCodebookBits = 12
)

// Codebooks are the vectors that the codes of a matrix choose from. There is one
// codebook for every Format.Group columns, 0: one for the matrix.
type Codebooks struct {
	Vector int // weights of a vector: consecutive rows of one column
	// First and Second are the bits of the index into a codebook and into that of what
	// it leaves; Second 0: there is none. Together they are Vector·Format.Bits bits.
	First, Second int
	// Values [books, (2^First+2^Second)·Vector], half precision: of each codebook the
	// vectors of the first, and those of the second if there is one.
	Values []uint16
	// Scales [N], half precision, multiply rows; nil: ones.
	Scales []uint16
}

// entries is the number of vectors of a codebook and its second together.
func (c *Codebooks) entries() int {
	if c.Second > 0 {
		return 1<<c.First + 1<<c.Second
	}
	return 1 << c.First
}

// Validate reports codebooks that do not belong to a matrix [n,k] of format f.
func (c *Codebooks) Validate(n, k int, f Format) error {
	if err := c.Fits(n, f.Bits); err != nil {
		return err
	}
	_, books := f.Groups(k)
	if want := books * c.entries() * c.Vector; len(c.Values) != want {
		return fmt.Errorf("%d values of codebooks, want %d", len(c.Values), want)
	}
	if len(c.Scales) != 0 && len(c.Scales) != n {
		return fmt.Errorf("%d scales of %d rows", len(c.Scales), n)
	}
	return nil
}

// Fits reports sizes that do not exist, and vectors that do not divide n rows.
func (c *Codebooks) Fits(n, bits int) error {
	switch {
	case c.Vector < 1 || c.Vector > MaxVector:
		return fmt.Errorf("vectors of %d weights, want 1 to %d", c.Vector, MaxVector)
	case c.First < 1 || c.First > MaxCodebookBits || c.Second < 0 || c.Second > MaxCodebookBits:
		return fmt.Errorf("codebooks of %d and %d bits, want up to %d", c.First, c.Second, MaxCodebookBits)
	case c.First+c.Second != c.Vector*bits:
		return fmt.Errorf("codebooks of %d and %d bits for vectors of %d weights of %d bits", c.First, c.Second, c.Vector, bits)
	case n%c.Vector != 0:
		return fmt.Errorf("N=%d not divisible by the %d rows of a vector", n, c.Vector)
	}
	return nil
}

// NewCodebook returns the matrix [n,k] whose codes [N/Vector, K] choose vectors: the low
// First bits are the index into the first codebook, those above it the index into the
// second.
func NewCodebook(n, k int, f Format, c Codebooks, codes []uint32) (*Packed, error) {
	if err := errors.Join(f.Validate(), c.Validate(n, k, f)); err != nil {
		return nil, err
	}
	if f.Kind != Codebook || len(codes) != n/c.Vector*k {
		return nil, fmt.Errorf("%d codes of %s for [%d,%d] in vectors of %d", len(codes), f, n, k, c.Vector)
	}
	p := NewPacked(n, k, f)
	p.Scales = c.Scales
	p.Tables = append([]uint16{uint16(c.Vector), uint16(c.First)}, c.Values...)
	rowLen, width := c.Vector*PackedLen(k, f.Bits), c.Vector*f.Bits
	for i := range n / c.Vector {
		packWide(p.Codes[i*rowLen:(i+1)*rowLen], codes[i*k:(i+1)*k], width)
	}
	return p, nil
}

// codebooks returns the codebooks of a Codebook matrix as they are stored.
func (p *Packed) codebooks() (c Codebooks, err error) {
	if len(p.Tables) < 2 {
		return c, errors.New("a codebook without its sizes")
	}
	c = Codebooks{Vector: int(p.Tables[0]), First: int(p.Tables[1]), Values: p.Tables[2:], Scales: p.Scales}
	c.Second = c.Vector*p.Format.Bits - c.First
	return c, nil
}

func validCodebook(p *Packed) error {
	c, err := p.codebooks()
	if err != nil {
		return err
	}
	return c.Validate(p.N, p.K, p.Format)
}

// loadCodebook decodes a tile of Ŵ into dst.
func (p *Packed) loadCodebook(dst Matrix, n0, k0 int) {
	c, _ := p.codebooks() // NewCodebook and the binary form have checked it
	size, _ := p.Format.Groups(p.K)
	rowLen, width := c.Vector*PackedLen(p.K, p.Format.Bits), c.Vector*p.Format.Bits
	for i := 0; i < dst.Rows; {
		vector := (n0 + i) / c.Vector
		end := min(dst.Rows, (vector+1)*c.Vector-n0)
		codes := p.Codes[vector*rowLen : (vector+1)*rowLen]
		for j := range dst.Cols {
			book := c.Values[(k0+j)/size*c.entries()*c.Vector:]
			code := wideAt(codes, k0+j, width)
			first := book[int(code&(1<<c.First-1))*c.Vector:]
			var second []uint16
			if c.Second > 0 {
				second = book[(1<<c.First+int(code>>c.First))*c.Vector:]
			}
			for r := i; r < end; r++ {
				at := (n0 + r) % c.Vector
				v := half.FromF16(first[at])
				if second != nil {
					v += half.FromF16(second[at])
				}
				if len(c.Scales) > 0 {
					v *= half.FromF16(c.Scales[n0+r])
				}
				dst.Row(r)[j] = v
			}
		}
		i = end
	}
}

// packWide stores codes of up to 32 bits into dst, which must be zero, as PackBits does.
func packWide(dst []byte, codes []uint32, bits int) {
	for i, c := range codes {
		at := i * bits
		for v := uint64(c) << (at & 7); v > 0; v >>= 8 {
			dst[at>>3] |= byte(v)
			at += 8
		}
	}
}

// wideAt returns code i that packWide stored.
func wideAt(src []byte, i, bits int) uint32 {
	at := i * bits
	var v uint64
	for b := at >> 3; b<<3 < at+bits; b++ {
		v |= uint64(src[b]) << (b<<3 - at&^7)
	}
	return uint32(v >> (at & 7) & (1<<bits - 1))
}
