package quant

import (
	"github.com/mosaicquant/mosaicquant/internal/half"
)

// Columns are whole input channels of W [N,K] that are kept apart from the dense
// base, which then is [N, K-Count]: the outlier columns of LLM.int8(), QUIK and
// Atom.
type Columns struct {
	N, K, Count int
	// Index lists the kept channels, ascending; or, where Reordered, all K: those
	// of the base in the order of its columns, and then the kept ones.
	Index     Ints
	Reordered bool
	// The weights of the kept channels, [N,Count]: half precision, or packed.
	Half   []uint16
	Packed *Packed

	position []int // of each channel: a column of the base, or K-Count + a kept one
}

// NewColumns keeps the last count channels of order [K].
func NewColumns(n, count int, order []int, reordered bool) *Columns {
	c := &Columns{N: n, K: len(order), Count: count, Reordered: reordered}
	if !reordered {
		order = order[c.K-count:]
	}
	c.Index = NewInts(order, c.K-1)
	c.place()
	return c
}

// place finds the position of each channel.
func (c *Columns) place() {
	c.position = make([]int, c.K)
	if c.Reordered {
		for i := range c.K {
			c.position[c.Index.At(i)] = i
		}
		return
	}
	for i := range c.Count {
		c.position[c.Index.At(i)] = c.K - c.Count + i
	}
	next := 0
	for j, p := range c.position {
		if p == 0 { // kept positions are not 0, unless all are kept
			c.position[j] = next
			next++
		}
	}
}

// order returns the channels by position.
func (c *Columns) order() []int {
	o := make([]int, c.K)
	for j, p := range c.position {
		o[p] = j
	}
	return o
}

// load decodes a tile of base and kept channels.
func (c *Columns) load(dst Matrix, base *Packed, n0, k0 int) {
	inner := c.K - c.Count
	for j := 0; j < dst.Cols; {
		p := c.position[k0+j]
		// A run of channels that stand side by side on their side.
		end := j + 1
		for end < dst.Cols && c.position[k0+end] == p+end-j && (p >= inner) == (p+end-j >= inner) {
			end++
		}
		out := dst.View(0, dst.Rows, j, end)
		switch {
		case p < inner:
			base.Load(out, n0, p)
		case c.Packed != nil:
			c.Packed.Load(out, n0, p-inner)
		default:
			for i := range out.Rows {
				src := c.Half[(n0+i)*c.Count+p-inner:]
				for t, row := 0, out.Row(i); t < len(row); t++ {
					row[t] = half.FromF16(src[t])
				}
			}
		}
		j = end
	}
}

// LowRank is the product Left [N,Rank] · Right [Rank,K] of half-precision
// factors.
type LowRank struct {
	N, K, Rank  int
	Left, Right []uint16
}

// Add adds the tile at (n0,k0) to dst.
func (l *LowRank) Add(dst Matrix, n0, k0 int) {
	right := make([]float32, l.Rank*dst.Cols)
	for r := range l.Rank {
		for j := range dst.Cols {
			right[r*dst.Cols+j] = half.FromF16(l.Right[r*l.K+k0+j])
		}
	}
	for i := range dst.Rows {
		row := dst.Row(i)
		for r := range l.Rank {
			a := half.FromF16(l.Left[(n0+i)*l.Rank+r])
			for j, v := range right[r*dst.Cols : (r+1)*dst.Cols] {
				row[j] += float32(a * v)
			}
		}
	}
}
