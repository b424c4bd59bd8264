package quant

import (
	"fmt"

	"github.com/mosaicquant/mosaicquant/internal/half"
)

// Residual is a block-sparse symmetric low-bit matrix [N,K] that is added to a
// dense base: MosaicQuant's second branch. The matrix is cut into blocks of
// BlockRows x BlockCols from the upper left corner; kept blocks are listed in
// block compressed sparse rows (BCSR), the columns of a block row ascending.
//
// A block that sticks out of the matrix keeps its full size; the codes outside
// are zero and are booked, as they are stored.
type Residual struct {
	N, K                 int
	BlockRows, BlockCols int
	Bits                 int // of a code; symmetric, see Format
	// RowScales says that every row of a block has a scale of its own;
	// otherwise the block has one.
	RowScales bool
	// BaseScales says that blocks have no scales: the step of a code is a ratio,
	// one number for the matrix, times the scale of the base's group that the
	// weight belongs to. The base is that of the Quantized which holds r.
	BaseScales bool
	// HalfSteps says that the ratio of BaseScales is a whole number of halves, 1 to
	// MaxHalfSteps of them, and that codes have 2 bits: base and residual sum to one small
	// integer in units of half a step, if the base is one of integers.
	HalfSteps bool
	// Index says how the places of kept blocks are stored; PerSegment is k of IndexExact,
	// otherwise 0. RowPtr and Cols list them in memory, whatever is stored.
	Index      Index
	PerSegment int
	// RowPtr [ceil(N/BlockRows)+1]: the kept blocks of block row b are
	// RowPtr[b] up to RowPtr[b+1].
	RowPtr Ints
	Cols   Ints // [blocks] block column of each kept block
	// Codes [blocks, ceil(BlockRows·BlockCols·Bits/8)]: a block starts on a
	// byte, its rows follow each other as one stream of bits, lowest first.
	Codes []byte
	// Scales [blocks] or [blocks, BlockRows], half precision; of BaseScales [1], the
	// ratio.
	Scales []uint16
}

// Grid returns the number of block rows and block columns.
func (r *Residual) Grid() (rows, cols int) {
	return CeilDiv(r.N, r.BlockRows), CeilDiv(r.K, r.BlockCols)
}

// Blocks returns the number of kept blocks.
func (r *Residual) Blocks() int { return r.Cols.Len() }

// Density is the share of blocks that are kept.
func (r *Residual) Density() float64 {
	rows, cols := r.Grid()
	return float64(r.Blocks()) / (float64(rows) * float64(cols))
}

// Block returns the packed codes and the scales of kept block i, aliasing r;
// BaseScales have none.
func (r *Residual) Block(i int) (codes []byte, scales []uint16) {
	c, s := PackedLen(r.BlockRows*r.BlockCols, r.Bits), r.ScalesPerBlock()
	return r.Codes[i*c : (i+1)*c], r.Scales[i*s : (i+1)*s]
}

// Widened returns r with codes of the given width, at least its own: other bytes
// that stand for the same values. Scales and index alias r.
func (r *Residual) Widened(bits int) *Residual {
	if r.Bits == bits {
		return r
	}
	out := *r
	count := r.BlockRows * r.BlockCols
	size := PackedLen(count, bits)
	out.Bits, out.Codes = bits, make([]byte, r.Blocks()*size)
	wide := make([]uint8, count)
	for b := range r.Blocks() {
		codes, _ := r.Block(b)
		for i := range wide {
			wide[i] = CodeAt(codes, i, r.Bits) - 1<<(r.Bits-1) + 1<<(bits-1)
		}
		PackBits(out.Codes[b*size:(b+1)*size], wide, bits)
	}
	return &out
}

func (r *Residual) ScalesPerBlock() int {
	switch {
	case r.BaseScales:
		return 0
	case r.RowScales:
		return r.BlockRows
	}
	return 1
}

// add adds the tile of r at (n0,k0) to dst; base is what r belongs to.
func (r *Residual) add(dst Matrix, base *Packed, n0, k0 int) {
	if dst.Rows == 0 || dst.Cols == 0 {
		return
	}
	br, bc := r.BlockRows, r.BlockCols
	zero := 1 << (r.Bits - 1)
	n1, k1 := n0+dst.Rows, k0+dst.Cols
	for b := n0 / br; b*br < n1; b++ {
		for i := r.RowPtr.At(b); i < r.RowPtr.At(b+1); i++ {
			kb := r.Cols.At(i) * bc
			if kb >= k1 {
				break
			}
			if kb+bc <= k0 {
				continue
			}
			codes, scales := r.Block(i)
			lo, hi := max(kb, k0), min(kb+bc, k1)
			for n := max(b*br, n0); n < min((b+1)*br, n1); n++ {
				out := dst.Row(n - n0)[lo-k0 : hi-k0]
				at := (n-b*br)*bc + lo - kb
				if r.BaseScales {
					r.addTied(out, base, codes, n, lo, at)
					continue
				}
				s := scales[0]
				if r.RowScales {
					s = scales[n-b*br]
				}
				scale := half.FromF16(s)
				for j := range out {
					out[j] += float32(int(CodeAt(codes, at+j, r.Bits))-zero) * scale
				}
			}
		}
	}
}

// cut returns r, of BaseScales, with blocks of so many columns, which divide those of r, in
// block sparse rows. Parts of a block beyond the matrix are left out.
func (r *Residual) cut(cols int) *Residual {
	out := *r
	out.BlockCols, out.Index, out.PerSegment, out.Codes = cols, IndexRows, 0, nil
	places := make([][]int, r.RowPtr.Len()-1)
	codes := make([]uint8, r.BlockRows*cols)
	for row := range places {
		for b := r.RowPtr.At(row); b < r.RowPtr.At(row+1); b++ {
			block, _ := r.Block(b)
			for c := 0; c < r.BlockCols && r.Cols.At(b)*r.BlockCols+c < r.K; c += cols {
				places[row] = append(places[row], (r.Cols.At(b)*r.BlockCols+c)/cols)
				for i := range codes {
					codes[i] = CodeAt(block, i/cols*r.BlockCols+c+i%cols, r.Bits)
				}
				packed := make([]byte, PackedLen(len(codes), r.Bits))
				PackBits(packed, codes, r.Bits)
				out.Codes = append(out.Codes, packed...)
			}
		}
	}
	out.SetPlaces(places)
	return &out
}

func gcd(a, b int) int {
	for b > 0 {
		a, b = b, a%b
	}
	return a
}

func CeilDiv(a, b int) int { return (a + b - 1) / b }

// MaxHalfSteps is the largest ratio of HalfSteps, in half steps.
const MaxHalfSteps = 16

// InHalfSteps is a ratio, a half-precision number, as a whole number of half steps: 1 to
// MaxHalfSteps, or 0 if it is none of them.
func InHalfSteps(ratio uint16) int {
	if h := 2 * half.FromF16(ratio); h >= 1 && h <= MaxHalfSteps && h == float32(int(h)) {
		return int(h)
	}
	return 0
}

// maxRatio is above every ratio there is: base grids span 255 steps at most.
const maxRatio = 256

// addTied adds codes, from the one at on, to a part of row n that begins at column
// k, with BaseScales.
func (r *Residual) addTied(out []float32, base *Packed, codes []byte, n, k, at int) {
	size, groups := base.Format.Groups(base.K)
	ratio := float64(half.FromF16(r.Scales[0]))
	zero := 1 << (r.Bits - 1)
	last, step := -1, float32(0)
	for j := range out {
		if g := (k + j) / size; g != last {
			s, _ := base.Scale(n, g, groups)
			last, step = g, float32(ratio*s)
		}
		out[j] += float32(int(CodeAt(codes, at+j, r.Bits))-zero) * step
	}
}

// RowScaled returns r, which must belong to base, in a form with scales of its
// own: as it is, or, with BaseScales, with the steps of each row of a block as
// RowScales, rounded to half precision (a relative 2^-11 at most, which r as
// stored does not lose). Blocks that lie in several groups of the base are cut where
// groups end. It reports steps beyond half precision. Codes and index alias r, if
// blocks are not cut.
func (r *Residual) RowScaled(base *Packed) (*Residual, error) {
	if !r.BaseScales {
		return r, nil
	}
	size, groups := base.Format.Groups(base.K)
	if size%r.BlockCols != 0 && size < r.K {
		r = r.cut(gcd(size, r.BlockCols))
	}
	out := *r
	out.BaseScales, out.HalfSteps, out.RowScales = false, false, true
	out.Scales = make([]uint16, r.Blocks()*r.BlockRows)
	ratio := float64(half.FromF16(r.Scales[0]))
	for b := range r.RowPtr.Len() - 1 {
		for i := r.RowPtr.At(b); i < r.RowPtr.At(b+1); i++ {
			k0 := r.Cols.At(i) * r.BlockCols
			for n := b * r.BlockRows; n < min((b+1)*r.BlockRows, r.N); n++ {
				s, _ := base.Scale(n, k0/size, groups)
				bits := half.ToF16(float32(ratio * s))
				if bits&0x7c00 == 0x7c00 {
					return nil, fmt.Errorf("quant: residual step %g at row %d, column %d exceeds half precision", ratio*s, n, k0)
				}
				out.Scales[i*r.BlockRows+n-b*r.BlockRows] = bits
			}
		}
	}
	return &out, nil
}
