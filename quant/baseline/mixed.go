package baseline

import (
	"fmt"
	"math"
	"sort"
	"strings"

	"gonum.org/v1/gonum/mat"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// ChannelScore ranks input channels.
type ChannelScore string

const (
	ByAbsMax ChannelScore = "absmax" // largest |x_j| of the calibration: LLM.int8(), QUIK
	ByEnergy ChannelScore = "energy" // Σ x_j²: Atom
	// ByError is h_j·||W_j - Q(W_j)||², what rounding the channel to nearest in the format and
	// by the rule of the base loses at the output: OWQ (Lee et al. 2023, arXiv:2306.02272).
	ByError ChannelScore = "error"
)

// Mixed keeps whole input channels in 16 or 8 bits and quantizes the others with
// a base method. It is, with these settings,
//
//   - LLM.int8() (Dettmers et al. 2022, arXiv:2208.07339): int8 rows rounded to
//     nearest, channels whose inputs reach Threshold 6 in 16 bits. The paper looks
//     for such channels in each batch; here they are those of the calibration, and
//     their weights are stored in half precision too, as in the paper and not as
//     in bitsandbytes, which rounds them to int8 and back, and lets them stretch
//     the scales of their rows.
//   - QUIK (Ashkboos et al. 2023, arXiv:2310.09259): GPTQ, a share of channels by
//     AbsMax in 16 bits, and with Int8Down the layers called down_proj in 8 bits,
//     inputs included. The authors round inputs asymmetrically and keep the
//     channels of down_proj in proportion to its width, as a share does too.
//   - Atom (Zhao et al. 2023, arXiv:2310.19102): GPTQ, a share of channels by
//     Energy in 8 bits (one scale per row), and Reorder, which sorts the channels
//     by energy, so that a group has alike ones. The authors clip by constant
//     ratios, share scales between two rows, and fold the order into the layers
//     before, where here it is stored and booked.
//   - OWQ (Lee et al. 2023, arXiv:2306.02272): GPTQ, a share of channels by Error in 16
//     bits, of every layer alike, where the authors keep more in attention.
//
// The authors of QUIK and Atom take the other channels by ascending score, and fit
// groups inside the loop; here order and groups are those of Base.
//
// The kept channels come last in GPTQ's order, as QUIK has it, and take up the
// errors of all others: the base sees the Schur complement of their part of H,
// and they are set to the weights that are then best. Under rounded activations
// the kept channels stay in 16 bits or have a scale of 8 bits of their own per
// token (Quantized.Inputs).
type Mixed struct {
	Base      quant.Quantizer // RTN or GPTQ
	Score     ChannelScore
	Share     float64 // of the channels kept, in [0,1); rounded to a whole number, see whole
	Threshold float64 // > 0, in place of Share: channels whose largest |x| reaches it, see whole
	Bits      int     // of kept weights: 16 or 8
	Reorder   bool
	Int8Down  bool
}

// Quantize implements Quantizer.
func (m Mixed) Quantize(p quant.Problem) (*quant.Quantized, error) {
	switch {
	case m.Score != ByAbsMax && m.Score != ByEnergy && m.Score != ByError:
		return nil, p.Errorf("unknown channel score %q", m.Score)
	case !(m.Share >= 0 && m.Share < 1) || !(m.Threshold >= 0) || m.Share > 0 && m.Threshold > 0:
		return nil, p.Errorf("kept channels: share %g, threshold %g", m.Share, m.Threshold)
	case m.Bits != 8 && m.Bits != 16:
		return nil, p.Errorf("kept channels of %d bits, want 8 or 16", m.Bits)
	}
	bits := 0
	if m.Int8Down && strings.HasSuffix(p.Name, "down_proj") {
		m.Base, bits = int8Rows(m.Base), 8
	}
	// Groups must divide what is left of K; the base checks that itself.
	free := func(f quant.Format) quant.Format {
		if f.Kind.FixedGroup() == 0 {
			f.Group = 0
		}
		return f
	}
	if err := checkBase(p, m.Base, free); err != nil {
		return nil, err
	}
	order, count, err := m.channels(p)
	if err != nil {
		return nil, err
	}
	q, err := m.split(p, order, count)
	if err != nil {
		return nil, err
	}
	q.InputBits = bits
	return q, nil
}

// int8Rows is the base with a symmetric 8-bit scale per row.
func int8Rows(base quant.Quantizer) quant.Quantizer {
	switch b := base.(type) {
	case solve.RTN:
		b.Format = quant.Format{Bits: 8}
		return b
	case solve.GPTQ:
		b.Format = quant.Format{Bits: 8}
		return b
	}
	return base
}

// checkBase checks p for a base that is RTN or GPTQ, whose format is changed
// by adapt before.
func checkBase(p quant.Problem, base quant.Quantizer, adapt func(quant.Format) quant.Format) error {
	switch b := base.(type) {
	case solve.RTN:
		return grid.Check(p, adapt(b.Format), b.Scale, true)
	case solve.GPTQ:
		return grid.Check(p, adapt(b.Format), b.Scale, true)
	}
	return p.Errorf("needs a base of RTN or GPTQ, got %T", base)
}

// channels returns the channels by position, the count kept ones last.
func (m Mixed) channels(p quant.Problem) (order []int, count int, err error) {
	k := p.Weights.Cols
	score := p.Diag()
	if m.Score == ByError {
		if err := m.errors(p, score); err != nil {
			return nil, 0, err
		}
	}
	if m.Score == ByAbsMax || m.Threshold > 0 {
		if len(p.Moments.AbsMax) != k {
			return nil, 0, p.Errorf("needs the largest input of each channel, and has none")
		}
		for j, v := range p.Moments.AbsMax {
			score[j] = float64(v)
		}
	}
	share := m.Share * float64(k)
	for _, v := range score {
		if m.Threshold > 0 && v >= m.Threshold {
			share++
		}
	}
	count = m.whole(share, k)
	if count == k {
		return nil, 0, p.Errorf("all %d channels would be kept", k)
	}
	if err := m.Fits(k); err != nil {
		return nil, 0, p.Errorf("%w", err)
	}
	order = make([]int, k)
	for j := range order {
		order[j] = j
	}
	sort.SliceStable(order, func(a, b int) bool { return score[order[a]] < score[order[b]] })
	if !m.Reorder {
		sort.Ints(order[:k-count])
		sort.Ints(order[k-count:])
	}
	return order, count, nil
}

// errors multiplies h of each channel by what rounding its weights to nearest loses.
func (m Mixed) errors(p quant.Problem, h []float64) error {
	var rtn solve.RTN
	switch b := m.Base.(type) {
	case solve.RTN:
		rtn = b
	case solve.GPTQ:
		rtn = solve.RTN{Format: b.Format, Scale: b.Scale}
	}
	q, err := rtn.Quantize(p)
	if err != nil {
		return err
	}
	lost := make([]float64, len(h))
	e := quant.Difference(p.Weights, q)
	for i := range e.Rows {
		for j, v := range e.Row(i) {
			lost[j] += float64(v) * float64(v)
		}
	}
	for j := range h {
		h[j] *= lost[j]
	}
	return nil
}

// group is the size of groups that the format of the base prescribes, 1 for none.
func (m Mixed) group() int {
	switch b := m.Base.(type) {
	case solve.RTN:
		return max(1, b.Format.Kind.FixedGroup())
	case solve.GPTQ:
		return max(1, b.Format.Kind.FixedGroup())
	}
	return 1
}

// whole returns how many of k channels are kept, where so many shall be. Where the
// format of the base prescribes groups, K less the kept channels must be made of them:
// a share is rounded to what leaves whole groups, and channels above a threshold are
// joined by the next ones.
func (m Mixed) whole(channels float64, k int) int {
	g := m.group()
	if channels == 0 && k%g == 0 {
		return 0
	}
	groups := (channels - float64(k%g)) / float64(g)
	if m.Threshold > 0 {
		groups = math.Ceil(groups)
	} else {
		groups = math.Round(groups)
	}
	return k%g + g*max(0, int(groups))
}

// Fits reports a row length k of which Share keeps all channels, or none where Reorder
// needs one. What a threshold keeps is not known beforehand.
func (m Mixed) Fits(k int) error {
	if g := m.group(); m.Score == ByError && k%g != 0 {
		return fmt.Errorf("errors of channels are compared in whole groups of %d, which do not divide K=%d", g, k)
	}
	if m.Threshold > 0 {
		return nil
	}
	switch count := m.whole(m.Share*float64(k), k); {
	case count == k:
		return fmt.Errorf("all %d channels would be kept", k)
	case count == 0 && m.Reorder:
		return fmt.Errorf("reordering needs a kept channel, and %g %% of %d are none", 100*m.Share, k)
	}
	return nil
}

// split quantizes the first K-count channels of order with the base and keeps
// the others.
func (m Mixed) split(p quant.Problem, order []int, count int) (*quant.Quantized, error) {
	if count == 0 {
		return m.Base.Quantize(p)
	}
	n, k := p.Weights.Dims()
	inner := k - count
	gptq, learned := m.Base.(solve.GPTQ)
	sub := quant.Problem{Name: p.Name, Seed: p.Seed, Weights: pickColumns(p, order[:inner]),
		Moments: p.Moments.Channels(order[:inner])}
	var update *mat.Dense // [K-count,count]: what errors of the base add to the kept
	base := m.Base
	if learned {
		var damp, live float64 // as in newFactor
		for _, h := range p.Diag() {
			if h > 0 {
				damp, live = damp+h*gptq.Damping, live+1
			}
		}
		damp /= max(live, 1)
		var err error
		if update, err = eliminate(sub.Moments, p.Moments, order[:inner], order[inner:], damp); err != nil {
			return nil, p.Errorf("%w", err)
		}
		gptq.Damping = 0 // it is in H already
		base = gptq
	}
	q, err := base.Quantize(sub)
	if err != nil {
		return nil, fmt.Errorf("%w (%d of %d channels are kept)", err, count, k)
	}
	kept := pickColumns(p, order[inner:])
	if update != nil {
		e := quant.Difference(sub.Weights, q.Base)
		u := gemm.NewMatrix(inner, count)
		for i := range inner {
			for j := range count {
				u.Row(i)[j] = float32(update.At(i, j))
			}
		}
		gemm.Gemm(false, false, 1, e, u, 1, kept)
	}
	c := quant.NewColumns(n, count, order, m.Reorder)
	if m.Bits == 8 {
		rows := solve.RTN{Format: quant.Format{Bits: 8}, Scale: grid.Scale{Rule: grid.AbsMax}}
		r, err := rows.Quantize(quant.Problem{Name: p.Name, Weights: kept})
		if err != nil {
			return nil, err
		}
		c.Packed = r.Base
	} else {
		c.Half = make([]uint16, n*count)
		for i := range n {
			for j, v := range kept.Row(i) {
				h := half.ToF16(v)
				if h&0x7c00 == 0x7c00 {
					return nil, p.Errorf("kept weight [%d,%d] = %g exceeds half precision", i, order[inner+j], v)
				}
				c.Half[i*count+j] = h
			}
		}
	}
	q.Columns = c
	return q, nil
}

// columns returns W with the given columns only, in their order.
func pickColumns(p quant.Problem, order []int) quant.Matrix {
	w := gemm.NewMatrix(p.Weights.Rows, len(order))
	for i := range w.Rows {
		src, dst := p.Weights.Row(i), w.Row(i)
		for t, j := range order {
			dst[t] = src[j]
		}
	}
	return w
}

// eliminate turns the moments of the channels base, damped, into their Schur
// complement H_bb - H_bk·H_kk⁻¹·H_kb, the loss that is left where the channels
// kept answer the errors of base as well as they can; the answer to errors E is
// to add E·H_bk·H_kk⁻¹, which is returned.
func eliminate(m, full *quant.Moments, base, kept []int, damp float64) (*mat.Dense, error) {
	b, k := len(base), len(kept)
	kk := mat.NewSymDense(k, nil)
	cross := mat.NewDense(k, b, nil)
	for x, i := range kept {
		for y := x; y < k; y++ {
			kk.SetSym(x, y, full.H[i*full.K+kept[y]])
		}
		kk.SetSym(x, x, kk.At(x, x)+damp)
		for y, j := range base {
			cross.Set(x, y, full.H[i*full.K+j])
		}
	}
	var chol mat.Cholesky
	if !chol.Factorize(kk) {
		return nil, fmt.Errorf("%w: second moments of the kept channels", solve.ErrSingular)
	}
	var solved mat.Dense // [k,b]
	if err := chol.SolveTo(&solved, cross); err != nil {
		return nil, fmt.Errorf("%w: second moments of the kept channels: %v", solve.ErrSingular, err)
	}
	var drop mat.Dense
	drop.Mul(cross.T(), &solved)
	for i := range b {
		for j := i; j < b; j++ {
			v := m.H[i*b+j] - (drop.At(i, j)+drop.At(j, i))/2
			if i == j {
				v += damp
			}
			m.H[i*b+j], m.H[j*b+i] = v, v
		}
	}
	return mat.DenseCopyOf(solved.T()), nil
}
