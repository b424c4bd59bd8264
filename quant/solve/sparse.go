package solve

import (
	"math"

	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
)

// Sparse is a residual in the making: blocks are chosen, codes and scales not
// yet final. The nil sparse keeps nothing.
type Sparse struct {
	Tiling    Tiling
	rowScales bool
	Pair      func(base, res *grid.Grid, w float64) (u, v uint8)
	Kept      []int
	Keep      []bool      // [blocks]
	Grids     []grid.Grid // [blocks], or [blocks, rows of a block]
	Codes     []uint8     // [N,K]
	Tied      *Tied       // nil if blocks have scales of their own
}

// NewSparse returns the residual of the kept blocks, whose codes are codes [N,K] of
// some bits, on scales [blocks] or, with rowScales, [blocks, rows of a block]. A
// weight's codes are the nearest of all pairs, or those of nearPair.
func NewSparse(t Tiling, bits int, rowScales, allPairs bool, codes []uint8, scales []uint16, kept []int) *Sparse {
	s := &Sparse{Tiling: t, rowScales: rowScales, Kept: kept, Keep: make([]bool, t.Count()),
		Grids: make([]grid.Grid, len(scales)), Codes: codes}
	for _, b := range kept {
		s.Keep[b] = true
	}
	if s.Pair = nearPair; allPairs {
		s.Pair = nearestPair
	}
	f := quant.Format{Bits: bits}
	for i, bits := range scales {
		s.Grids[i] = grid.Grid{Bits: bits, Scale: float64(half.FromF16(bits)), Zero: f.Offset(), Lo: f.Lowest(),
			Hi: f.Highest()}
	}
	return s
}

// At returns the grid of the residual at [row,col], nil where no block is kept.
func (s *Sparse) At(row, col int) *grid.Grid {
	if s == nil {
		return nil
	}
	b := row/s.Tiling.R*s.Tiling.Cols() + col/s.Tiling.C
	switch {
	case !s.Keep[b]:
		return nil
	case s.Tied != nil:
		return &s.Grids[row*s.Tied.Groups+col/s.Tied.Size]
	case s.rowScales:
		return &s.Grids[b*s.Tiling.R+row%s.Tiling.R]
	}
	return &s.Grids[b]
}

// nearPair returns the base and residual code whose sum is nearest to w. The base
// code nearest to w, or one beside it where the residual does not reach far
// enough.
func nearPair(base, res *grid.Grid, w float64) (u, v uint8) {
	u = base.Code(w)
	v = res.Code(w - base.Value(u))
	least := abs(w - base.Value(u) - res.Value(v))
	for _, near := range [2]int{int(u) - 1, int(u) + 1} {
		if near < base.Lo || near > base.Hi {
			continue
		}
		x := base.Value(uint8(near))
		y := res.Code(w - x)
		if d := abs(w - x - res.Value(y)); d < least {
			u, v, least = uint8(near), y, d
		}
	}
	return u, v
}

// nearestPair returns the pair of base and residual code whose sum is nearest to
// w, of all pairs there are.
func nearestPair(base, res *grid.Grid, w float64) (u, v uint8) {
	least := math.Inf(1)
	for y := res.Lo; y <= res.Hi; y++ {
		r := res.Value(uint8(y))
		x := base.Code(w - r)
		if d := abs(w - r - base.Value(x)); d < least {
			u, v, least = x, uint8(y), d
		}
	}
	return u, v
}

// Tied is a residual that stores no scales: a code v stands for v·ratio·s, s being the
// scale of its weight's group in the base. The ratio is one half-precision number
// for the matrix, so a block costs its codes and its index, whatever its shape.
//
// Which ratio is best depends on how far the weights of kept blocks lie beyond
// the range of their groups, which are fitted without them. In units of the
// base's step, let the base have L levels and the residual R. The sums of all
// pairs of codes are R copies of the base's grid, r·ratio apart:
//
//   - A residual that comes after its base rounds errors within ±1/2. Evenly
//     spread, they are best cut into R equal cells: ratio 1/R.
//   - m + 1/R with a whole m gives R copies that lie between each other: around 0
//     where all overlap, a grid R times as fine; further out fewer copies
//     overlap, and beyond ±(L-1)/2 a single one carries the grid to
//     ±((L-1)/2 + ratio·(R-1)/2). The L·R levels are spent on a fine middle for
//     small m, on range for large m. Where no more than two copies overlap, m + 1/2
//     spaces them evenly: 2-bit codes at 7.5 on int4 cover ±7 in steps of 1/2 and
//     reach ±14.5, which is what most layers choose.
//   - NF4 and its like are not uniform, and their copies interleave nowhere
//     exactly.
//
// So the ratio is searched among multiples of 1/(2R) steps, which hold both
// kinds of interleaving, up to the base's whole range. What counts is Σ λ_j·d², d
// being the distance of a weight to the nearest value, over groups with kept
// blocks, each with the scale that is best for this ratio: a few outliers that a
// fine middle does not reach are cheaper served by their own group's scale than by
// the ratio of all.
type Tied struct {
	Ratio        float64
	Size, Groups int // of the base
}

// Follow sets the residual's step in group g to that of its base.
func (s *Sparse) Follow(g int, base *grid.Grid) {
	if s != nil && s.Tied != nil {
		s.Grids[g].Scale = s.Tied.Ratio * base.Scale
	}
}

// addTied adds to the levels c of row n0+i of a group, which begins at column lo,
// what residual codes add to them: values move with the scale by all of it.
func (s *strip) addTied(c []float64, i, lo int) {
	if s.res == nil || s.res.Tied == nil {
		return
	}
	codes := s.rowOf(s.res.Codes, i)[lo:]
	for j := range c {
		if r := s.res.At(s.n0+i, lo+j); r != nil {
			c[j] += s.res.Tied.Ratio * r.Level(codes[j])
		}
	}
}
