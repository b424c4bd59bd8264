package mosaic

import (
	"hash/fnv"
	"math"
	"math/rand/v2"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// Criterion scores a block of the residual; the blocks of the largest score
// are kept.
type Criterion string

const (
	CriterionDelta  Criterion = "delta"  // [Σ h_j R² - Σ h_j (R-Q(R))²]₊, MosaicQuant's S_B
	CriterionDiag   Criterion = "diag"   // Σ h_j R²
	CriterionError  Criterion = "error"  // Σ R²
	CriterionWeight Criterion = "weight" // Σ |W|
	CriterionRandom Criterion = "random" // drawn from the seed and the layer's name
	// Full is the exact fall of tr(E·H·Eᵀ) if the block alone is kept, the
	// cross terms with the rest of its rows included; it may be negative.
	CriterionFull Criterion = "full"
	// Greedy is Full with the scores of a block row brought up to date after
	// each block taken from it; the better of both choices.
	CriterionGreedy Criterion = "greedy"
	// Oracle is Greedy under the moments of held-out activations Xₒ: the measured
	// fall of ||Xₒ·Eᵀ||², measured again after each block. Choices that do not know
	// these activations come close at best (greedy search is nearly optimal, not
	// quite): it is a bound to compare with, no method.
	CriterionOracle Criterion = "oracle"
	// Relief counts what a block's absence gives its group, a smaller scale; it
	// belongs to a joint residual, whose base is fitted without its blocks.
	CriterionRelief Criterion = "relief"
)

// Mosaic adds to the dense base Q(W) of another method the quantized residual
// Q(R), R = W - Q(W), on the blocks that a criterion ranks highest
// (MosaicQuant, arXiv 2606.15652). Scores are not thresholded: the budget is
// spent to the last block, so that equal densities cost equal bits.
//
// The paper does not state block shape, residual scale or base group; they are
// parameters here.
type Mosaic struct {
	Base quant.Quantizer // a plain base: RTN or GPTQ
	// Shape of a block; BlockRows 0 is all rows, so that a block is BlockCols
	// whole input channels.
	BlockRows, BlockCols int
	Density              float64 // share of blocks kept, rounded to a whole number of blocks
	Criterion            Criterion
	Bits                 int // of a residual code
	RowScales            bool
	// BaseScales ties the residual's steps to the scales of the base, by a ratio
	// that is searched: blocks store none. A joint base takes part: the scales of
	// its groups with kept blocks are chosen with the ratio.
	BaseScales bool
	// Scale is the rule of residual scales. SearchHessian weighs by h.
	Scale grid.Scale
	// Joint quantizes base and residual together in the column loop of a GPTQ
	// base, our own step beyond the paper.
	Joint bool
	// AllPairs lets a joint residual find the nearest of all pairs of base and
	// residual code. Without it only base codes beside the weight are tried, which
	// misses pairs where the residual's step is larger than the base's: grids that
	// are shifted by the residual lie between each other, and are finer together.
	AllPairs bool
	// Refine is a number of rounds of coordinate descent over base and residual
	// of a joint result.
	Refine int
}

// NewMosaic returns Mosaic with 4-bit absmax residuals chosen by delta.
func NewMosaic(base quant.Quantizer, rows, cols int, density float64) Mosaic {
	return Mosaic{Base: base, BlockRows: rows, BlockCols: cols, Density: density,
		Criterion: CriterionDelta, Bits: 4, Scale: grid.Scale{Rule: grid.AbsMax}}
}

// check reports settings that do not exist, and returns m with the number of
// rows of its blocks.
func (m Mosaic) check(p quant.Problem) (Mosaic, error) {
	f := quant.Format{Bits: m.Bits}
	needs := m.Criterion == CriterionDelta || m.Criterion == CriterionDiag || m.Criterion == CriterionFull || m.Criterion == CriterionGreedy || m.Criterion == CriterionOracle
	if err := grid.Check(p, f, m.Scale, needs); err != nil {
		return m, err
	}
	switch m.Criterion {
	case CriterionDelta, CriterionDiag, CriterionError, CriterionWeight, CriterionRandom, CriterionFull, CriterionGreedy, CriterionOracle, CriterionRelief:
	default:
		return m, p.Errorf("unknown criterion %q", m.Criterion)
	}
	if m.Criterion == CriterionOracle && (p.HeldOut == nil || p.HeldOut.K != p.Weights.Cols) {
		return m, p.Errorf("criterion %q needs moments of held-out activations", CriterionOracle)
	}
	if m.BlockRows == 0 {
		m.BlockRows = p.Weights.Rows
	}
	if m.BlockRows < 1 || m.BlockCols < 1 || m.BlockRows > 1<<20 || m.BlockCols > 1<<20 {
		return m, p.Errorf("residual block %dx%d", m.BlockRows, m.BlockCols)
	}
	if !(m.Density >= 0 && m.Density <= 1) {
		return m, p.Errorf("residual density %g outside [0,1]", m.Density)
	}
	if m.Base == nil {
		return m, p.Errorf("mosaic has no base method")
	}
	if m.BaseScales && m.RowScales {
		return m, p.Errorf("residual scales of rows and of the base together")
	}
	if m.AllPairs && !m.Joint {
		return m, p.Errorf("pairs of codes need a joint residual")
	}
	if m.Refine < 0 || m.Refine > 0 && !m.Joint {
		return m, p.Errorf("%d rounds of refinement: they need a joint residual", m.Refine)
	}
	if m.Criterion == CriterionRelief && !m.Joint {
		return m, p.Errorf("criterion %q needs a joint residual", CriterionRelief)
	}
	return m, nil
}

// Quantize implements Quantizer.
func (m Mosaic) Quantize(p quant.Problem) (*quant.Quantized, error) {
	m, err := m.check(p)
	if err != nil {
		return nil, err
	}
	f := quant.Format{Bits: m.Bits}
	if m.Joint {
		return m.joint(p, f)
	}
	q, err := m.Base.Quantize(p)
	if err != nil {
		return nil, err
	}
	if !q.Plain() {
		return nil, p.Errorf("mosaic needs a plain dense base")
	}
	t := solve.Tiling{N: p.Weights.Rows, K: p.Weights.Cols, R: m.BlockRows, C: m.BlockCols}
	count := int(math.Round(m.Density * float64(t.Count())))
	if count == 0 {
		return q, nil
	}
	e := quant.Difference(p.Weights, q.Base)
	h := p.Diag()
	res, err := m.residual(p, t, e, h, f, packedScales(q.Base))
	if err != nil {
		return nil, err
	}
	q.Residual = gather(t, res, m.choose(p, t, e, h, res, count), m)
	return q, nil
}

// candidates returns the residual of p on all blocks, and the error E of the
// base that it is for. m is a residual that comes after its base.
func (m Mosaic) candidates(p quant.Problem) (t solve.Tiling, e quant.Matrix, res quantizedResidual, err error) {
	if m.Joint {
		return t, e, res, p.Errorf("blocks of a joint residual have no scores before their base")
	}
	m.Density = 0
	base, err := m.Quantize(p)
	if err != nil {
		return t, e, res, err
	}
	if m.BlockRows == 0 {
		m.BlockRows = p.Weights.Rows
	}
	t = solve.Tiling{N: p.Weights.Rows, K: p.Weights.Cols, R: m.BlockRows, C: m.BlockCols}
	e = quant.Difference(p.Weights, base)
	res, err = m.residual(p, t, e, p.Diag(), quant.Format{Bits: m.Bits}, packedScales(base.Base))
	return t, e, res, err
}

// quantizedResidual is Q(R) on all blocks.
type quantizedResidual struct {
	codes  []uint8      // [N,K]
	scales []uint16     // [blocks, scales per block], or the ratio to the base's scales
	values quant.Matrix // [N,K] Q(R)
}

// residual quantizes R on every block with scales of its own, or with those of
// base. h [K] are the weights of columns, nil without.
func (m Mosaic) residual(p quant.Problem, t solve.Tiling, r quant.Matrix, h []float64, f quant.Format, base baseScales) (quantizedResidual, error) {
	if m.BaseScales {
		return tiedResidual(t, r, h, f, base), nil
	}
	per := 1
	if m.RowScales {
		per = m.BlockRows
	}
	q := quantizedResidual{codes: make([]uint8, t.N*t.K), scales: make([]uint16, t.Count()*per), values: gemm.NewMatrix(t.N, t.K)}
	fit := grid.Fitter{Format: f, Scale: m.Scale}
	err := parallel.For(t.Count(), func(b int) error {
		n0, n1, k0, k1 := t.Bounds(b)
		step := n1 - n0
		if m.RowScales {
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
			if m.RowScales {
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

// choose returns the indices of the count blocks to keep, ascending.
func (m Mosaic) choose(p quant.Problem, t solve.Tiling, e quant.Matrix, h []float64, q quantizedResidual, count int) []int {
	switch m.Criterion {
	case CriterionGreedy:
		return greedy(p, t, e, q, count)
	case CriterionOracle:
		p.Moments = p.HeldOut
		return greedy(p, t, e, q, count)
	}
	return solve.Largest(m.score(p, t, e, h, q), count)
}

// score returns the score of every block. Greedy and Oracle, whose scores change
// with the blocks taken, have none.
func (m Mosaic) score(p quant.Problem, t solve.Tiling, e quant.Matrix, h []float64, q quantizedResidual) []float64 {
	s := make([]float64, t.Count())
	if m.Criterion == CriterionRandom {
		name := fnv.New64a()
		name.Write([]byte(p.Name))
		draw := rand.New(rand.NewPCG(p.Seed, name.Sum64()))
		for b := range s {
			s[b] = draw.Float64()
		}
		return s
	}
	if m.Criterion == CriterionFull {
		return fullGain(t, e, q.values, p.Moments.Float32())
	}
	parallel.For(len(s), func(b int) error {
		n0, n1, k0, k1 := t.Bounds(b)
		var sum float64
		for i := n0; i < n1; i++ {
			er, qr, wr := e.Row(i), q.values.Row(i), p.Weights.Row(i)
			for j := k0; j < k1; j++ {
				r := float64(er[j])
				switch m.Criterion {
				case CriterionDelta:
					d := r - float64(qr[j])
					sum += h[j] * (r*r - d*d)
				case CriterionDiag:
					sum += h[j] * r * r
				case CriterionError:
					sum += r * r
				case CriterionWeight:
					sum += math.Abs(float64(wr[j]))
				}
			}
		}
		s[b] = sum
		if m.Criterion == CriterionDelta {
			s[b] = max(0, sum)
		}
		return nil
	})
	return s
}

// fullGain returns, for each block B alone, tr(E·H·Eᵀ) before minus after E
// loses Q_B: Σ over its rows of 2·q·(H·e)_B - q·H_BB·qᵀ. Products are float32,
// sums float64; memory is three matrices like W.
func fullGain(t solve.Tiling, e, q, h quant.Matrix) []float64 {
	eh := gemm.NewMatrix(t.N, t.K)
	gemm.Gemm(false, false, 1, e, h, 0, eh)
	qh := gemm.NewMatrix(t.N, t.K) // row i, columns of block b: q_B·H_BB
	for k0 := 0; k0 < t.K; k0 += t.C {
		k1 := min(k0+t.C, t.K)
		gemm.Gemm(false, false, 1, q.View(0, t.N, k0, k1), h.View(k0, k1, k0, k1), 0, qh.View(0, t.N, k0, k1))
	}
	s := make([]float64, t.Count())
	parallel.For(len(s), func(b int) error {
		n0, n1, k0, k1 := t.Bounds(b)
		for i := n0; i < n1; i++ {
			for j := k0; j < k1; j++ {
				s[b] += float64(q.Row(i)[j]) * (2*float64(eh.Row(i)[j]) - float64(qh.Row(i)[j]))
			}
		}
		return nil
	})
	return s
}

// gather stores the kept blocks, whose indices ascend.
func gather(t solve.Tiling, q quantizedResidual, kept []int, m Mosaic) *quant.Residual {
	r := &quant.Residual{N: t.N, K: t.K, BlockRows: t.R, BlockCols: t.C, Bits: m.Bits, RowScales: m.RowScales, BaseScales: m.BaseScales}
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
	if m.BaseScales {
		r.Scales = q.scales
	}
	for b := range len(ptr) - 1 {
		ptr[b+1] += ptr[b]
	}
	r.RowPtr, r.Cols = quant.NewInts(ptr, len(kept)), quant.NewInts(cols, t.Cols()-1)
	return r
}
