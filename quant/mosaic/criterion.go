package mosaic

import (
	"hash/fnv"
	"math"
	"math/rand/v2"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// Criterion chooses the blocks of a residual that is laid on a finished base.
// Those there are: CriterionDelta, CriterionDiag, CriterionError, CriterionWeight,
// CriterionRandom, CriterionFull, CriterionGreedy and CriterionOracle.
type Criterion interface {
	String() string
	needs() (moments, heldOut bool)
	// single returns the score of every block taken alone; nil without.
	single(c candidates) []float64
	// fixed reports whether these scores hold whatever other blocks are taken. The
	// blocks kept are then those of the largest scores.
	fixed() bool
	// choose returns the count blocks to keep, ascending.
	choose(c candidates, count int) []int
}

// JointCriterion chooses the blocks of a residual that is quantized together with
// its base. Those there are: CriterionDelta, CriterionDiag, CriterionError,
// CriterionWeight, CriterionRandom and CriterionRelief. Criteria that look at the
// full H are none: losses of GPTQ's loop add up without cross terms, which is delta.
type JointCriterion interface {
	String() string
	// blocksOf returns the count blocks to keep, ascending; scoresOf the scores of all,
	// of which those are the largest. s is ready to run without residual.
	blocksOf(m Joint, s *solve.Pass, t solve.Tiling, lambda []float64, count int) ([]int, error)
	scoresOf(m Joint, s *solve.Pass, t solve.Tiling, lambda []float64) ([]float64, error)
}

// The criteria that sum over the weights of a block. They go with both methods.
var (
	CriterionDelta  = additive{"delta"}  // [Σ h_j R² - Σ h_j (R-Q(R))²]₊, MosaicQuant's S_B
	CriterionDiag   = additive{"diag"}   // Σ h_j R²
	CriterionError  = additive{"error"}  // Σ R²
	CriterionWeight = additive{"weight"} // Σ |W|
	CriterionRandom = additive{"random"} // drawn from the seed and the layer's name
)

// The criteria that look at the full H, for a residual on a finished base.
var (
	// CriterionFull is the exact fall of tr(E·H·Eᵀ) if the block alone is kept, the
	// cross terms with the rest of its rows included; it may be negative.
	CriterionFull full
	// CriterionGreedy is CriterionFull with the scores of a block row brought up to
	// date after each block taken from it; the better of both choices.
	CriterionGreedy greedyChoice
	// CriterionOracle is CriterionGreedy under the moments of held-out activations Xₒ:
	// the fall of ||Xₒ·Eᵀ||², measured again after each block. It is an approximate
	// upper bound (greedy search is nearly optimal) for choices that do not know these
	// activations. It is for comparison and is not a method.
	CriterionOracle oracle
)

// CriterionRelief scores how much finer the grid of a group becomes without the weights
// of the block. It is for a joint residual only, whose base is fitted without its blocks.
var CriterionRelief reliefChoice

// Criteria are all criteria of Mosaic, JointCriteria those of Joint.
var (
	Criteria = []Criterion{CriterionDelta, CriterionDiag, CriterionError, CriterionWeight, CriterionRandom,
		CriterionFull, CriterionGreedy, CriterionOracle}
	JointCriteria = []JointCriterion{CriterionDelta, CriterionDiag, CriterionError, CriterionWeight, CriterionRandom,
		CriterionRelief}
)

// candidates are a residual on all blocks of a layer, and what criteria look at.
type candidates struct {
	p quant.Problem
	t solve.Tiling
	e quant.Matrix // [N,K] errors without residual
	h []float64    // [K] weights of columns: the diagonal of H, or λ of a joint residual; nil without
	q quantizedResidual
}

type additive struct{ rule string }

func (a additive) String() string { return a.rule }
func (a additive) needs() (moments, heldOut bool) {
	return a == CriterionDelta || a == CriterionDiag, false
}
func (a additive) fixed() bool                          { return true }
func (a additive) choose(c candidates, count int) []int { return solve.Largest(a.single(c), count) }

func (a additive) single(c candidates) []float64 {
	s := make([]float64, c.t.Count())
	if a == CriterionRandom {
		name := fnv.New64a()
		name.Write([]byte(c.p.Name))
		draw := rand.New(rand.NewPCG(c.p.Seed, name.Sum64()))
		for b := range s {
			s[b] = draw.Float64()
		}
		return s
	}
	parallel.For(len(s), func(b int) error {
		n0, n1, k0, k1 := c.t.Bounds(b)
		var sum float64
		for i := n0; i < n1; i++ {
			er, qr, wr := c.e.Row(i), c.q.values.Row(i), c.p.Weights.Row(i)
			for j := k0; j < k1; j++ {
				r := float64(er[j])
				switch a {
				case CriterionDelta:
					d := r - float64(qr[j])
					sum += c.h[j] * (r*r - d*d)
				case CriterionDiag:
					sum += c.h[j] * r * r
				case CriterionError:
					sum += r * r
				case CriterionWeight:
					sum += math.Abs(float64(wr[j]))
				}
			}
		}
		s[b] = sum
		if a == CriterionDelta {
			s[b] = max(0, sum)
		}
		return nil
	})
	return s
}

func (a additive) blocksOf(m Joint, s *solve.Pass, t solve.Tiling, lambda []float64, count int) ([]int, error) {
	scores, err := a.scoresOf(m, s, t, lambda)
	if err != nil {
		return nil, err
	}
	return solve.Largest(scores, count), nil
}

// scoresOf: delta is what a block takes off the loop's own tr(E·H·Eᵀ).
func (a additive) scoresOf(m Joint, s *solve.Pass, t solve.Tiling, lambda []float64) ([]float64, error) {
	c, err := m.candidates(s, t, lambda)
	if err != nil {
		return nil, err
	}
	return a.single(c), nil
}

type full struct{}

func (full) String() string                         { return "full" }
func (full) needs() (moments, heldOut bool)         { return true, false }
func (full) fixed() bool                            { return true }
func (f full) choose(c candidates, count int) []int { return solve.Largest(f.single(c), count) }

func (full) single(c candidates) []float64 {
	return fullGain(c.t, c.e, c.q.values, c.p.Moments.Float32())
}

type greedyChoice struct{}

func (greedyChoice) String() string                 { return "greedy" }
func (greedyChoice) needs() (moments, heldOut bool) { return true, false }
func (greedyChoice) fixed() bool                    { return false }
func (greedyChoice) single(candidates) []float64    { return nil }

func (greedyChoice) choose(c candidates, count int) []int { return greedy(c.p, c.t, c.e, c.q, count) }

type oracle struct{}

func (oracle) String() string                 { return "oracle" }
func (oracle) needs() (moments, heldOut bool) { return true, true }
func (oracle) fixed() bool                    { return false }

func (oracle) single(c candidates) []float64 {
	return fullGain(c.t, c.e, c.q.values, c.p.HeldOut.Float32())
}

func (oracle) choose(c candidates, count int) []int {
	c.p.Moments = c.p.HeldOut
	return CriterionGreedy.choose(c, count)
}

type reliefChoice struct{}

func (reliefChoice) String() string { return "relief" }

func (reliefChoice) blocksOf(_ Joint, s *solve.Pass, t solve.Tiling, lambda []float64, count int) ([]int, error) {
	return relief(s.Problem, s.Fitter, t, lambda, count)
}

func (reliefChoice) scoresOf(_ Joint, s *solve.Pass, t solve.Tiling, lambda []float64) ([]float64, error) {
	return reliefScores(s.Problem, s.Fitter, t, lambda)
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
