package zipper

import (
	"fmt"
	"math/bits"

	"github.com/mosaicquant/mosaicquant/quant"
)

const (
	panelRows = 16
	cellCols  = 8
	cellBytes = panelRows * cellCols / 2
	// tileCols is the least width of a tile.
	tileCols = 128
	// maxK keeps the integer sums of a row, at most 15·127·K, below 2³¹.
	maxK = 1 << 20
	// maxOffset is the largest first cell that the head of a strip can hold.
	maxOffset = 1<<12 - 1
	zeroCode  = 8
)

// shape describes a stream to the kernels; they read it as an array of ints,
// so _gen/panel.go lists the same fields.
type shape struct {
	groups     int // of a panel; 0 in a stream of strips alone
	tileGroups int
	groupCells int
	strips     int // 1 if tiles carry a count and strips
	stripRows  int
	stripCells int
	stripHead  int // bytes of head and scales
	fullChunks int // of a strip
	chunkCells int
	tailCells  int // of the last chunk, 0 if all are full
	tailBytes  int
	tailMask   int // a bit for every dword of the last chunk
	rowMask    int // stripRows ones
	sums       int // bytes from an activation to the sums of its token
}

// grid maps columns of W to positions in the padded stream.
type grid struct{ k, group int }

func newGrid(f quant.Format, k int) grid {
	if f.Group == 0 {
		return grid{k, k}
	}
	return grid{k, f.Group}
}

func (g grid) groups() int     { return g.k / g.group }
func (g grid) groupCells() int { return ceilDiv(g.group, cellCols) }
func (g grid) cells() int      { return g.groups() * g.groupCells() }

// position returns where column k lies, cellCols positions to a cell.
func (g grid) position(k int) int {
	return k/g.group*g.groupCells()*cellCols + k%g.group
}

// column returns the column at a position, or -1 in the padding.
func (g grid) column(position int) int {
	width := g.groupCells() * cellCols
	k, in := position/width*g.group, position%width
	if in >= g.group || k >= g.k {
		return -1
	}
	return k + in
}

// denseShape is the shape of a stream without strips.
func denseShape(g grid) shape {
	return shape{groups: g.groups(), groupCells: g.groupCells(),
		tileGroups: max(1, tileCols/(g.groupCells()*cellCols))}
}

// tileCells is the number of cells between the starts of two tiles.
func (s *shape) tileCells() int { return s.tileGroups * s.groupCells }

// zip adds strips of r's blocks to every tile of s.
func (s *shape) zip(g grid, r *quant.Residual) {
	s.strips = 1
	s.stripRows = min(panelRows, r.BlockRows&-r.BlockRows)
	for k := 0; k < g.k; k += r.BlockCols {
		last := g.position(min(k+r.BlockCols, g.k) - 1)
		s.stripCells = max(s.stripCells, last/cellCols-g.position(k)/cellCols+1)
	}
	s.stripHead = 2 + 2
	if r.RowScales {
		s.stripHead = 2 + 2*s.stripRows
	}
	s.chunkCells = panelRows / s.stripRows
	s.fullChunks = s.stripCells / s.chunkCells
	s.tailCells = s.stripCells % s.chunkCells
	s.tailBytes = 4 * s.stripRows * s.tailCells
	s.tailMask = 1<<(s.stripRows*s.tailCells) - 1
	s.rowMask = 1<<s.stripRows - 1
}

// stripBytes is the size of a strip with its head.
func (s *shape) stripBytes() int { return s.stripHead + 4*s.stripRows*s.stripCells }

// laneTable tells the kernels of narrow strips about lane l = q·stripRows+row of
// a chunk, 16 lanes for each of: the dword of the activations that it meets, q;
// its scale in the strip; the first row of the strip of row l; and -1 if it
// lies in the last chunk, which is not full, else 0.
type laneTable [4 * panelRows]int32

func (s *shape) laneTable(rowScales bool) (t laneTable) {
	if s.strips == 0 {
		return t
	}
	shift := bits.TrailingZeros(uint(s.stripRows))
	for l := range panelRows {
		t[l] = int32(l >> shift)
		if rowScales {
			t[panelRows+l] = int32(l & (s.stripRows - 1))
		}
		t[2*panelRows+l] = int32(l &^ (s.stripRows - 1))
		t[3*panelRows+l] = -int32(s.tailMask >> l & 1)
	}
	return t
}

// check reports what the stream cannot hold.
func check(q *quant.Quantized) error {
	b := q.Base
	if b.Format.Bits != 4 || b.Format.Affine {
		return fmt.Errorf("zipper: base format %s: only symmetric int4 has kernels", b.Format)
	}
	if b.N < 1 || b.K < 1 || b.K > maxK {
		return fmt.Errorf("zipper: weights of %dx%d, want at least 1x1 and at most %d columns", b.N, b.K, maxK)
	}
	if b.Format.Group > 0 && b.K%b.Format.Group != 0 {
		return fmt.Errorf("zipper: K=%d not divisible by group %d", b.K, b.Format.Group)
	}
	if q.Outliers != nil {
		return fmt.Errorf("zipper: %d outliers: only block residuals have kernels", q.Outliers.Count())
	}
	r := q.Residual
	if r == nil {
		return nil
	}
	if r.N != b.N || r.K != b.K {
		return fmt.Errorf("zipper: residual of %dx%d on a base of %dx%d", r.N, r.K, b.N, b.K)
	}
	if r.Bits != 4 {
		return fmt.Errorf("zipper: residual bits=%d: only 4 have kernels", r.Bits)
	}
	if r.BlockCols%cellCols != 0 {
		return fmt.Errorf("zipper: residual block %dx%d: columns are not a multiple of %d", r.BlockRows, r.BlockCols, cellCols)
	}
	return nil
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }
