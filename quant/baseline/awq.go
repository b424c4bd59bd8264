package baseline

import (
	"math"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// AWQ scales the columns of W before another method quantizes them, so that the
// channels with large inputs are rounded more finely (Lin et al. 2023,
// arXiv:2306.00978): s_j = mean|x_j|^r over sqrt(max s · min s), r = 0, .05 ...
// .95, the r of least output error of rounding W·diag(s) to nearest. The other
// method then gets W·diag(s) with the moments of x/s. AWQ's clipping of groups is
// the scale rule SearchClip, which then applies to the scaled weights.
//
// The scales stay with the layer: they are stored in half precision, booked as
// channel scales (16/N bits per weight), and cost the layer one product per
// input. The authors fold them into the layer before, which costs nothing but
// asks all layers of an input to share them, and is not possible everywhere
// (attention outputs of grouped queries).
//
// Departure: the error is tr(E·H·Eᵀ) of the one layer, where the authors take
// that of the whole attention or MLP block.
type AWQ struct {
	Method quant.Quantizer // gets the scaled problem
	Format quant.Format    // in which the search rounds to nearest, with scales by AbsMax
}

// Quantize implements Quantizer.
func (m AWQ) Quantize(p quant.Problem) (*quant.Quantized, error) {
	rtn := solve.RTN{Format: m.Format, Scale: grid.Scale{Rule: grid.AbsMax}}
	if err := grid.Check(p, rtn.Format, rtn.Scale, true); err != nil {
		return nil, err
	}
	if m.Method == nil || len(p.Moments.MeanAbs) != p.Moments.K {
		return nil, p.Errorf("AWQ needs another method and mean inputs")
	}
	best, least := []uint16(nil), math.Inf(1)
	for i := range 20 {
		scales := awqScales(p.Moments, float64(i)/20)
		q, err := rtn.Quantize(scaled(p, scales))
		if err != nil {
			return nil, err
		}
		q.ChannelScales = scales
		if lost := quant.OutputError(p.Weights, q, p.Moments); lost < least {
			least, best = lost, scales
		}
	}
	return quantizeScaled(p, m.Method, best)
}

// awqScales returns mean|x_j|^r.
func awqScales(m *quant.Moments, r float64) []uint16 {
	s := make([]float64, m.K)
	for j, v := range m.MeanAbs {
		s[j] = math.Max(math.Pow(float64(v), r), 1e-4)
	}
	return channelScales(s)
}

// channelScales returns s over sqrt(max s · min s) in half precision.
func channelScales(s []float64) []uint16 {
	lo, hi := math.Inf(1), 0.0
	for _, v := range s {
		lo, hi = min(lo, v), max(hi, v)
	}
	scales := make([]uint16, len(s))
	for j, v := range s {
		// Beyond these bounds a scale would be subnormal or infinite.
		scales[j] = half.ToF16(float32(max(0x1p-14, min(half.MaxF16, v/math.Sqrt(lo*hi)))))
	}
	return scales
}

// scaled returns the problem of W·diag(s) and x/s.
func scaled(p quant.Problem, scales []uint16) quant.Problem {
	s := make([]float32, len(scales))
	for j, v := range scales {
		s[j] = half.FromF16(v)
	}
	w := gemm.NewMatrix(p.Weights.Rows, p.Weights.Cols)
	for i := range w.Rows {
		dst := w.Row(i)
		for j, v := range p.Weights.Row(i) {
			dst[j] = v * s[j]
		}
	}
	p.Weights = w
	if p.Moments != nil {
		p.Moments = p.Moments.Scaled(s)
	}
	if p.HeldOut != nil {
		p.HeldOut = p.HeldOut.Scaled(s)
	}
	return p
}

// quantizeScaled quantizes W·diag(s); scales that are all one are not stored.
func quantizeScaled(p quant.Problem, m quant.Quantizer, scales []uint16) (*quant.Quantized, error) {
	one := true
	for _, s := range scales {
		one = one && s == half.ToF16(1)
	}
	if one {
		return m.Quantize(p)
	}
	q, err := m.Quantize(scaled(p, scales))
	if err != nil {
		return nil, err
	}
	if q.ChannelScales != nil {
		return nil, p.Errorf("channel scales twice")
	}
	q.ChannelScales = scales
	return q, nil
}
