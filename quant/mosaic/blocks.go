package mosaic

import (
	"math"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// Blocks say which share of a matrix has a residual, and how it is stored. The
// paper does not state block shape or residual scale; they are parameters here.
type Blocks struct {
	// Shape of a block; BlockRows 0 is all rows, so that a block is BlockCols
	// whole input channels.
	BlockRows, BlockCols int
	Density              float64 // share of blocks kept, rounded to a whole number of blocks
	Bits                 int     // of a residual code
	ResidualScale        ResidualScale
	// Index says how places are stored. With quant.IndexExact every segment keeps as many
	// blocks as Density says, which must be a whole number of quant.SegmentBlocks.
	Index quant.Index
}

// ResidualScale says where the steps of residual codes come from.
type ResidualScale uint8

const (
	PerBlock ResidualScale = iota // a block stores one, from its largest value
	PerRow                        // each row of a block stores one
	// Tied steps are the scales of the base times one ratio, which is searched:
	// blocks store none. A joint base takes part: the scales of its groups with kept
	// blocks are chosen with the ratio.
	Tied
	// HalfSteps are Tied with a ratio that is a whole number of half steps of an integer
	// base, and 2-bit codes: what rides in the codes of the base on kernels.
	HalfSteps
)

// tied says that blocks store no scales.
func (r ResidualScale) tied() bool { return r >= Tied }

var absMax = grid.Scale{Rule: grid.AbsMax}

// Count returns how many of blocks blocks are kept.
func (m Blocks) Count(blocks int) int { return int(math.Round(m.Density * float64(blocks))) }

// perSegment is how many blocks of each segment are kept with quant.IndexExact, 0 if the
// density is no whole number of them.
func (m Blocks) perSegment() int {
	k := m.Density * quant.SegmentBlocks
	if r := math.Round(k); math.Abs(k-r) < 1e-9 {
		return int(r)
	}
	return 0
}

// check reports numbers out of range and what p lacks, and returns the blocks of p.
func (m Blocks) check(p quant.Problem, moments bool) (t solve.Tiling, err error) {
	if err := grid.Check(p, quant.Format{Bits: m.Bits}, absMax, moments); err != nil {
		return t, err
	}
	if m.BlockRows == 0 {
		m.BlockRows = p.Weights.Rows
	}
	if m.BlockRows < 1 || m.BlockCols < 1 || m.BlockRows > 1<<20 || m.BlockCols > 1<<20 {
		return t, p.Errorf("residual block %dx%d", m.BlockRows, m.BlockCols)
	}
	if !(m.Density >= 0 && m.Density <= 1) {
		return t, p.Errorf("residual density %g outside [0,1]", m.Density)
	}
	if m.Index == quant.IndexExact && m.perSegment() == 0 {
		return t, p.Errorf("residual density %g is not one or more of every %d blocks", m.Density, quant.SegmentBlocks)
	}
	if m.ResidualScale == HalfSteps && m.Bits != 2 {
		return t, p.Errorf("residual codes of %d bits in half steps, want 2", m.Bits)
	}
	return solve.Tiling{N: p.Weights.Rows, K: p.Weights.Cols, R: m.BlockRows, C: m.BlockCols}, nil
}

// checkBase reports a base that the scales of the residual do not go with.
func (m Blocks) checkBase(p quant.Problem, f quant.Format) error {
	if m.ResidualScale == HalfSteps && f.Kind != quant.Integer && f.Kind != quant.Bilevel {
		return p.Errorf("residual in half steps on %s, which is no base of integers", f)
	}
	return nil
}

// stored returns a residual on t without blocks.
func (m Blocks) stored(t solve.Tiling) *quant.Residual {
	r := &quant.Residual{
		N: t.N, K: t.K, BlockRows: t.R, BlockCols: t.C, Bits: m.Bits,
		RowScales: m.ResidualScale == PerRow, BaseScales: m.ResidualScale.tied(),
		HalfSteps: m.ResidualScale == HalfSteps, Index: m.Index,
	}
	if m.Index == quant.IndexExact {
		r.PerSegment = m.perSegment()
	}
	return r
}

// bytes returns what one more kept block stores: its codes, scales and index.
func (m Blocks) bytes(t solve.Tiling) int {
	var index int
	switch m.Index {
	case quant.IndexRows:
		index = quant.IntWidth(t.Cols() - 1)
	case quant.IndexGaps:
		index = 1 // four bits for each fifteen blocks passed, rounded up
	case quant.IndexBitmap, quant.IndexExact: // as large whatever is kept
	}
	return quant.PackedLen(t.R*t.C, m.Bits) + 2*m.stored(t).ScalesPerBlock() + index
}

// largest returns the blocks of the largest scores, ascending: count of all of them, or
// those of each segment.
func (m Blocks) largest(t solve.Tiling, scores []float64, count int) []int {
	if m.Index != quant.IndexExact {
		return solve.Largest(scores, count)
	}
	var kept []int
	for row := 0; row < len(scores); row += t.Cols() {
		for at := 0; at < t.Cols(); at += quant.SegmentBlocks {
			segment := scores[row+at : row+min(at+quant.SegmentBlocks, t.Cols())]
			for _, b := range solve.Largest(segment, min(m.perSegment(), len(segment))) {
				kept = append(kept, row+at+b)
			}
		}
	}
	return kept
}

// quantizedResidual is Q(R) on all blocks.
type quantizedResidual struct {
	codes  []uint8      // [N,K]
	scales []uint16     // [blocks, scales per block], or the ratio to the base's scales
	values quant.Matrix // [N,K] Q(R)
}

// residual quantizes R on every block with scales of its own, or with those of
// base. h [K] are the weights of columns, nil without.
func (m Blocks) residual(p quant.Problem, t solve.Tiling, r quant.Matrix, h []float64,
	base baseScales) (quantizedResidual, error) {
	f := quant.Format{Bits: m.Bits}
	if m.ResidualScale.tied() {
		return tiedResidual(t, r, h, f, base, m.ResidualScale), nil
	}
	per, rowScales := 1, m.ResidualScale == PerRow
	if rowScales {
		per = t.R
	}
	q := quantizedResidual{
		codes: make([]uint8, t.N*t.K), scales: make([]uint16, t.Count()*per), values: gemm.NewMatrix(t.N, t.K),
	}
	fit := grid.Fitter{Format: f, Scale: absMax}
	err := parallel.For(t.Count(), func(b int) error {
		n0, n1, k0, k1 := t.Bounds(b)
		step := n1 - n0
		if rowScales {
			step = 1
		}
		for i := n0; i < n1; i += step {
			var w []float32
			var hb []float64
			for a := i; a < i+step; a++ {
				w = append(w, r.Row(a)[k0:k1]...)
				if h != nil {
					hb = append(hb, h[k0:k1]...)
				}
			}
			g, err := fit.Fit(w, hb, quant.Matrix{}, nil)
			if err != nil {
				return p.Errorf("residual at row %d, column %d: %w", i, k0, err)
			}
			at := b * per
			if rowScales {
				at += i - n0
			}
			q.scales[at] = g.Bits
			for a := i; a < i+step; a++ {
				for j := k0; j < k1; j++ {
					u := g.Code(float64(r.Row(a)[j]))
					q.codes[a*t.K+j] = u
					q.values.Row(a)[j] = float32(g.Value(u))
				}
			}
		}
		return nil
	})
	return q, err
}

// gather stores the kept blocks, whose indices ascend.
func (m Blocks) gather(t solve.Tiling, q quantizedResidual, kept []int) *quant.Residual {
	r := m.stored(t)
	per := r.ScalesPerBlock()
	size := quant.PackedLen(t.R*t.C, m.Bits)
	r.Codes = make([]byte, len(kept)*size)
	ptr := make([]int, quant.CeilDiv(t.N, t.R)+1)
	cols := make([]int, len(kept))
	block := make([]uint8, t.R*t.C)
	for i, b := range kept {
		ptr[b/t.Cols()+1]++
		cols[i] = b % t.Cols()
		for j := range block {
			block[j] = 1 << (m.Bits - 1)
		}
		n0, n1, k0, k1 := t.Bounds(b)
		for n := n0; n < n1; n++ {
			copy(block[(n-n0)*t.C:], q.codes[n*t.K+k0:n*t.K+k1])
		}
		quant.PackBits(r.Codes[i*size:(i+1)*size], block, m.Bits)
		r.Scales = append(r.Scales, q.scales[b*per:(b+1)*per]...)
	}
	if r.BaseScales {
		r.Scales = q.scales
	}
	for b := range len(ptr) - 1 {
		ptr[b+1] += ptr[b]
	}
	r.RowPtr, r.Cols = quant.NewInts(ptr, len(kept)), quant.NewInts(cols, t.Cols()-1)
	return r
}
