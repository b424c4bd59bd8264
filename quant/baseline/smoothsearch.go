package baseline

import (
	"math"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// SmoothAlphas are the alphas that searches for SmoothScales try: 0, .05 ... 1, as
// SmoothQuant+ (Pan et al. 2023, arXiv:2312.03788).
func SmoothAlphas() []float64 {
	var list []float64
	for i := range 21 {
		list = append(list, float64(i)/20)
	}
	return list
}

// smoothThresholds is the number of thresholds between the largest and the least
// channel.
const smoothThresholds = 24

// SmoothThresholds are the thresholds of ThresholdScales that a search tries, from the
// largest of act [K], which scales nothing, down to the smallest that is not 0, or to
// 1e-4 of the largest, each the same factor below the one before. The authors walk down
// by equal steps, of which the inputs of a large model need thousands.
func SmoothThresholds(act []float32) []float64 {
	low, high := math.Inf(1), 0.0
	for _, v := range act {
		if v > 0 {
			low, high = min(low, float64(v)), max(high, float64(v))
		}
	}
	if high == 0 {
		return nil
	}
	low = max(low, 1e-4*high)
	var list []float64
	for i := range smoothThresholds + 1 {
		list = append(list, high*math.Pow(low/high, float64(i)/smoothThresholds))
	}
	return list
}

// ThresholdScales returns the scales of Outlier Suppression+ (Wei et al. 2023,
// arXiv:2304.09145), s_j = max(1, max|X_j|/t), from the largest activation of each
// channel: channels above t are brought down to it, all others stay as they are.
func ThresholdScales(act []float32, t float64) []float32 {
	s := make([]float32, len(act))
	for j, x := range act {
		s[j] = float32(max(1, float64(x)/t))
	}
	return s
}

// SmoothSite is what a search for the scales s of a site goes by: a sample of its
// inputs, and all layers that read them.
type SmoothSite struct {
	X       quant.Matrix   // [tokens,K]
	Moments *quant.Moments // of the whole calibration
	// Inputs says how inputs whose channels are at most absMax [K] are rounded.
	Inputs func(absMax []float32) quant.Activations
	Layers []SmoothLayer

	y []quant.Matrix // X·Wᵀ of each layer
}

// SmoothLayer is a layer that reads a site.
type SmoothLayer struct {
	Name    string
	Weights quant.Matrix  // W [N,K]
	Format  *quant.Format // in which W·diag(s) is rounded to nearest; nil: it stays as it is
}

// Loss is what the layers of the site lose when both inputs and weights are rounded after
// smoothing by s [K], nil for none. It is the sum over layers of
//
//	mean over tokens of ||x·Wᵀ - Q(x/s)·Q(W·diag(s))ᵀ||² / ||x·Wᵀ||²,
//
// in which every token counts the same, as it does after the norm that follows: the
// first tokens of a sequence have activations so large that nothing else would count.
// Tokens whose output is 0 are left out. Weights are rounded to nearest with scales by
// AbsMax. Products are float32, sums float64. It is not safe for concurrent use.
func (s *SmoothSite) Loss(scales []float32) (float64, error) {
	if s.y == nil {
		for _, l := range s.Layers {
			y := gemm.NewMatrix(s.X.Rows, l.Weights.Rows)
			gemm.MulNT(y, s.X, l.Weights)
			s.y = append(s.y, y)
		}
	}
	x, moments := s.X.Clone(), s.Moments
	if scales != nil {
		moments = moments.Scaled(scales)
		divideColumns(x, scales)
	}
	s.Inputs(moments.AbsMax).Apply(x)
	var sum float64
	for i, l := range s.Layers {
		w := l.Weights
		if scales != nil {
			w = timesColumns(w, scales)
		}
		var wq gemm.Source = w
		if l.Format != nil {
			q, err := solve.RTN{Format: *l.Format, Scale: grid.Scale{Rule: grid.AbsMax}}.Quantize(
				quant.Problem{Name: l.Name, Weights: w, Moments: moments})
			if err != nil {
				return 0, err
			}
			wq = q
		}
		y := gemm.NewMatrix(x.Rows, w.Rows)
		gemm.MulNT(y, x, wq)
		sum += relativeByRow(y, s.y[i])
	}
	return sum, nil
}

// divideColumns divides the columns of x by s.
func divideColumns(x quant.Matrix, s []float32) {
	for i := range x.Rows {
		row := x.Row(i)
		for j, v := range s {
			row[j] /= v
		}
	}
}

// timesColumns returns W·diag(s).
func timesColumns(w quant.Matrix, s []float32) quant.Matrix {
	out := gemm.NewMatrix(w.Rows, w.Cols)
	parallel.For(w.Rows, func(i int) error {
		dst := out.Row(i)
		for j, v := range w.Row(i) {
			dst[j] = v * s[j]
		}
		return nil
	})
	return out
}

// relativeByRow is the mean over rows of ||got - want||²/||want||², without rows of zeros.
func relativeByRow(got, want quant.Matrix) float64 {
	var sum float64
	rows := 0
	for i := range want.Rows {
		var lost, total float64
		g := got.Row(i)
		for j, v := range want.Row(i) {
			d := float64(v - g[j])
			lost += d * d
			total += float64(v) * float64(v)
		}
		if total > 0 {
			sum += lost / total
			rows++
		}
	}
	if rows == 0 {
		return 0
	}
	return sum / float64(rows)
}
