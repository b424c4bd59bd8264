package baseline

import (
	"errors"
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/mat"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// SVDQuant keeps the Rank largest singular components of W in half precision and
// quantizes the remainder (Li et al. 2024, arXiv:2411.05007). With Smooth it first
// scales columns by s_j = max|x_j|^a / max|w_j|^b, (a,b) = (i/20,0) or
// (i/20,1-i/20), i = 1..20, or not at all, whatever leaves the least output error
// with the low-rank branch and the remainder rounded to nearest. Then the branch
// is found again for what the remainder's codes lack, and the remainder quantized
// again, up to Rounds times and as long as the output error falls.
//
// Departures: the error is tr(E·H·Eᵀ), which does not see rounded activations;
// layers that share their inputs do not share a branch; channel scales are stored
// and booked, as in AWQ; and under rounded activations both branches read the
// rounded input, where the authors' low-rank branch reads it in 16 bits. The
// singular vectors come from a randomized subspace iteration.
type SVDQuant struct {
	Base   quant.Quantizer // RTN or GPTQ, of the remainder
	Rank   int
	Smooth bool
	Rounds int
}

// Quantize implements Quantizer.
func (m SVDQuant) Quantize(p quant.Problem) (*quant.Quantized, error) {
	n, k := p.Weights.Dims()
	if err := checkBase(p, m.Base, func(f quant.Format) quant.Format { return f }); err != nil {
		return nil, err
	}
	if m.Rank < 1 || m.Rank > min(n, k) {
		return nil, p.Errorf("rank %d outside 1..%d", m.Rank, min(n, k))
	}
	if m.Rounds < 0 {
		return nil, p.Errorf("%d rounds", m.Rounds)
	}
	if !m.Smooth {
		return m.alternate(p)
	}
	scales, err := m.smoothing(p)
	if err != nil {
		return nil, err
	}
	return quantizeScaled(p, alternation{m}, scales)
}

// alternation is SVDQuant after smoothing.
type alternation struct{ SVDQuant }

// Quantize implements Quantizer.
func (a alternation) Quantize(p quant.Problem) (*quant.Quantized, error) { return a.alternate(p) }

// smoothing returns the channel scales of least output error.
func (m SVDQuant) smoothing(p quant.Problem) ([]uint16, error) {
	k := p.Weights.Cols
	if len(p.Moments.AbsMax) != k {
		return nil, p.Errorf("smoothing needs the largest input of each channel, and has none")
	}
	largest := make([]float64, k)
	for i := range p.Weights.Rows {
		for j, v := range p.Weights.Row(i) {
			largest[j] = max(largest[j], math.Abs(float64(v)))
		}
	}
	search := SVDQuant{Base: nearest(m.Base), Rank: m.Rank}
	var best []uint16
	least := math.Inf(1)
	for i := range 41 {
		a, b := float64((i+1)/2)/20, 0.0
		if i%2 == 0 && i > 0 {
			b = 1 - a
		}
		s := make([]float64, k)
		for j := range s {
			x, w := math.Max(float64(p.Moments.AbsMax[j]), 1e-5), math.Max(largest[j], 1e-5)
			s[j] = math.Pow(x, a) / math.Pow(w, b)
		}
		scales := channelScales(s)
		q, err := search.alternate(scaled(p, scales))
		if err != nil {
			return nil, err
		}
		q.ChannelScales = scales
		if lost := quant.OutputError(p.Weights, q, p.Moments); lost < least {
			least, best = lost, scales
		}
	}
	return best, nil
}

var (
	errNoEigen = errors.New("low-rank branch: the eigenvalues of its Gram matrix were not found")
	errLowRank = errors.New("low-rank branch exceeds half precision")
)

// nearest is RTN with the format of a base.
func nearest(base quant.Quantizer) quant.Quantizer {
	if g, ok := base.(solve.GPTQ); ok {
		return solve.RTN{Format: g.Format, Scale: g.Scale}
	}
	return base
}

// alternate finds branch and remainder.
func (m SVDQuant) alternate(p quant.Problem) (*quant.Quantized, error) {
	draw := rand.New(rand.NewPCG(p.Seed, 0))
	w := p.Weights
	target := w // of the branch
	var best *quant.Quantized
	least := math.Inf(1)
	for range m.Rounds + 1 {
		l, err := lowRank(target, m.Rank, draw)
		if err != nil {
			return nil, p.Errorf("%w", err)
		}
		rest := w.Clone()
		branch := gemm.NewMatrix(w.Rows, w.Cols)
		l.Add(branch, 0, 0)
		for i := range rest.Data {
			rest.Data[i] -= branch.Data[i]
		}
		p.Weights = rest
		q, err := m.Base.Quantize(p)
		if err != nil {
			return nil, err
		}
		q.LowRank = l
		lost := quant.OutputError(w, q, p.Moments)
		if !(lost < least) {
			break
		}
		best, least = q, lost
		target = quant.Difference(w, q.Base)
	}
	return best, nil
}

// lowRank returns the best approximation of w of the given rank: randomized
// subspace iteration (Halko, Martinsson and Tropp 2011, arXiv:0909.4061) with 8
// vectors more than asked for and 8 iterations, products in float32. The left
// factor has the singular vectors, the right one those times the values.
func lowRank(w quant.Matrix, rank int, draw *rand.Rand) (*quant.LowRank, error) {
	n, k := w.Dims()
	wide := min(rank+8, n, k)
	right := gemm.NewMatrix(wide, k) // rows are vectors
	for i := range right.Data {
		right.Data[i] = float32(draw.NormFloat64())
	}
	left := gemm.NewMatrix(wide, n)
	for range 8 {
		orthonormalize(right)
		gemm.Gemm(false, true, 1, right, w, 0, left)
		orthonormalize(left)
		gemm.Gemm(false, false, 1, left, w, 0, right)
	}
	// W ~ leftᵀ·right; turn the vectors so that right has orthogonal rows.
	gram := mat.NewSymDense(wide, nil)
	for i := range wide {
		for j := i; j < wide; j++ {
			var s float64
			b := right.Row(j)
			for t, v := range right.Row(i) {
				s += float64(v) * float64(b[t])
			}
			gram.SetSym(i, j, s)
		}
	}
	var eigen mat.EigenSym
	if !eigen.Factorize(gram, true) {
		return nil, errNoEigen
	}
	var vectors mat.Dense
	eigen.VectorsTo(&vectors)
	l := &quant.LowRank{N: n, K: k, Rank: rank, Left: make([]uint16, n*rank), Right: make([]uint16, rank*k)}
	for r := range rank {
		col := wide - 1 - r // values ascend
		turn := func(m quant.Matrix, store func(i int, v float64)) {
			for i := range m.Cols {
				var s float64
				for t := range wide {
					s += vectors.At(t, col) * float64(m.Row(t)[i])
				}
				store(i, s)
			}
		}
		turn(left, func(i int, v float64) { l.Left[i*rank+r] = half.ToF16(float32(v)) })
		turn(right, func(i int, v float64) { l.Right[r*k+i] = half.ToF16(float32(v)) })
	}
	for _, h := range l.Right {
		if h&0x7c00 == 0x7c00 {
			return nil, errLowRank
		}
	}
	return l, nil
}

// orthonormalize turns the rows of m into an orthonormal basis of their span, by
// Gram-Schmidt, twice; rows that add nothing become zero.
func orthonormalize(m quant.Matrix) {
	for i := range m.Rows {
		a := m.Row(i)
		before := math.Sqrt(rowDot(a, a))
		for range 2 {
			for j := range i {
				b := m.Row(j)
				if s := float32(rowDot(a, b)); s != 0 {
					gemm.Axpy(-s, b, a)
				}
			}
		}
		norm := math.Sqrt(rowDot(a, a))
		if !(norm > 1e-6*before) {
			clear(a)
			continue
		}
		for t := range a {
			a[t] = float32(float64(a[t]) / norm)
		}
	}
}

func rowDot(a, b []float32) float64 {
	var s float64
	for i, v := range a {
		s += float64(v) * float64(b[i])
	}
	return s
}
