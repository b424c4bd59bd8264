package grid

import (
	"math"

	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
)

// kindFit is how grids of a kind of format are fitted; the table beside it is that
// of package quant, which says how they are stored.
type kindFit struct {
	// span makes g span lo..hi, lo <= 0 <= hi.
	span func(f Fitter, g *Grid, lo, hi float64) error
	// group fits a group without a search; nil: by span.
	group func(f Fitter, w []float32, skip []bool) (Grid, error)
	// storable returns the scale nearest to s that g can store, and how; nil: in half
	// precision.
	storable func(g *Grid, s float64) (bits uint16, scale float64)
	// tensor is the scale of a matrix whose largest weight is m; nil: none.
	tensor func(s Scale, m float32) float32
	// finish completes the fitted grids of all groups; nil: they are complete.
	finish func(f Fitter, p quant.Problem, w quant.Matrix, grids []Grid, skip []bool) error
	// store puts into p what the arrays of scales and zeros do not hold; nil: nothing.
	store func(p *quant.Packed, grids []Grid)
	// zero is the stored zero of a group; nil: g.Zero.
	zero func(g *Grid) uint8
	own  ScaleRule // a rule that belongs to this kind alone
	// first is the step of a search that begins below the range (see Fit).
	first int
	// rowLevels says that each row has levels of its own: rules weigh them.
	rowLevels bool
	// fixed says that no rule finds scales but the kind's own, which is AbsMax.
	fixed bool
}

// fits is the table of fits, by kind. A kind beyond it has constant levels and
// half-precision scales, as NF4 has.
var fits = [...]kindFit{
	quant.Integer: {span: spanIntegers},
	quant.NF4:     {span: spanLevels},
	quant.FP4:     {span: spanLevels},
	quant.BnbFP4:  {span: spanLevels},
	quant.MXFP4:   {span: spanMX, storable: storableMX, own: Ceil, first: -100}, // to twice the range, which does not clip
	quant.NVFP4:   {span: spanNV, storable: storableNV, own: FourOverSix, tensor: tensorNV, store: storeNV},
	quant.Any4:    {group: Fitter.any4, finish: Fitter.any4Tables, store: storeAny4, rowLevels: true},
	quant.Bilevel: {span: spanBilevel, finish: bilevel, store: storeBilevel,
		storable: func(g *Grid, _ float64) (uint16, float64) { return g.Bits, g.Scale }, // shares step and base with others
		zero:     func(g *Grid) uint8 { return uint8(g.OffsetBits) }},
	quant.NVINT4: {span: spanNV, storable: storableNV, store: storeNV,
		tensor: func(_ Scale, m float32) float32 { return m / (7 * half.MaxE4M3) }},
	quant.MXINT4:     {span: spanMX, storable: storableMX, own: Ceil, first: -100},
	quant.MXINT8:     {span: spanMX, storable: storableMX, own: Ceil, first: -100},
	quant.MXFP8:      {span: spanMX, storable: storableMX, own: Ceil, first: -100},
	quant.FP8Weights: {span: spanLevels},
	quant.FP6:        {span: spanLevels},
	quant.FP6E2M3:    {span: spanLevels},
	quant.SEQ4: {span: func(_ Fitter, g *Grid, lo, hi float64) error {
		g.Zero = int(g.Levels.Zero)
		return g.setHalf(max(-lo, hi)/8, lo, hi)
	}},
	quant.IntScale4: {span: spanIntScale, storable: storableIntScale, finish: intScale, store: storeIntScale},
	quant.QoQ4:      {span: spanQoQ, storable: storableQoQ, finish: qoq, store: storeQoQ},
	quant.AnyFew:    {group: Fitter.any4, finish: Fitter.any4Tables, store: storeAny4, rowLevels: true},
	quant.Power4: {group: Fitter.power, finish: Fitter.powerExponent, rowLevels: true,
		store: func(p *quant.Packed, grids []Grid) { p.Tensor[0] = grids[0].tensor }},
	quant.FireQ4: {span: spanFire, store: storeNV,
		tensor:   func(_ Scale, m float32) float32 { return m / half.MaxE4M3 },
		storable: func(g *Grid, _ float64) (uint16, float64) { return g.Bits, g.Scale }}, // levels depend on it
	quant.SDR4: {span: spanShift, finish: shift, fixed: true,
		storable: func(g *Grid, _ float64) (uint16, float64) { return g.Bits, g.Scale },
		store:    storeQoQ},
	quant.IF4: {group: Fitter.choice, tensor: tensorNV, store: storeNV, fixed: true,
		storable: func(g *Grid, _ float64) (uint16, float64) { return g.Bits, g.Scale }},
	quant.MXFP6:     {span: spanMX, storable: storableMX, own: Ceil, first: -100},
	quant.MXFP6E2M3: {span: spanMX, storable: storableMX, own: Ceil, first: -100},
	quant.FP8E5M2:   {span: spanLevels},
	quant.HQQ4: {group: Fitter.realZero, finish: hqq, fixed: true,
		store: func(p *quant.Packed, grids []Grid) {
			for i := range grids {
				p.Offsets[i] = grids[i].OffsetBits
			}
		}},
	quant.NF4DQ: {span: spanDouble, storable: storableDouble, finish: double, store: storeDouble},
}

var levelFit = kindFit{span: spanLevels}

func fitOf(k quant.Kind) *kindFit {
	if int(k) < len(fits) {
		return &fits[k]
	}
	return &levelFit
}

// Together says that the grids of f are complete only when all groups of a matrix
// are fitted, as rows or groups share something that is found last.
func Together(f quant.Format) bool { return fitOf(f.Kind).finish != nil }

// Shared says that groups of f have a scale or a table in common, so that the grids
// of one fit cannot stand among those of another.
func Shared(f quant.Format) bool { return Together(f) || fitOf(f.Kind).tensor != nil }

// Own returns the rule that belongs to the kind of f alone, empty without one.
func Own(f quant.Format) ScaleRule { return fitOf(f.Kind).own }

// RowLevels says that each row of f has levels of its own.
func RowLevels(f quant.Format) bool { return fitOf(f.Kind).rowLevels }

// Fixed says that no rule finds scales of f but its own, which is AbsMax.
func Fixed(f quant.Format) bool { return fitOf(f.Kind).fixed }

// setHalf stores the scale s in half precision.
func (g *Grid) setHalf(s, lo, hi float64) error {
	g.Bits = half.ToF16(float32(s))
	g.Scale = float64(half.FromF16(g.Bits))
	if math.IsInf(g.Scale, 0) {
		return errScale(s, lo, hi)
	}
	return nil
}

func spanIntegers(f Fitter, g *Grid, lo, hi float64) error {
	if !f.Format.Affine {
		return g.setHalf(max(-lo, hi)/float64(f.Format.Offset()-1), lo, hi)
	}
	if err := g.setHalf((hi-lo)/float64(g.Hi), lo, hi); err != nil {
		return err
	}
	g.Zero = 0
	if g.Scale > 0 {
		g.Zero = int(min(float64(g.Hi), math.RoundToEven(-lo/g.Scale)))
	}
	return nil
}

func spanLevels(_ Fitter, g *Grid, lo, hi float64) error {
	g.Zero = int(g.Levels.Zero)
	return g.setHalf(max(-lo, hi)/g.Levels.Value[g.Hi], lo, hi)
}

func spanMX(f Fitter, g *Grid, lo, hi float64) error {
	g.Zero = int(g.Levels.Zero)
	e := -127 // of an empty group; there is no scale of zero
	if m := max(-lo, hi); m > 0 {
		_, e = math.Frexp(m)
		_, top := math.Frexp(g.Levels.Value[g.Hi])
		e -= top
		if f.Scale.Rule == Ceil && m > math.Ldexp(g.Levels.Value[g.Hi], e) {
			e++
		}
	}
	g.Bits = uint16(half.ToE8M0(e))
	g.Scale = half.FromE8M0(uint8(g.Bits))
	return nil
}

func storableMX(_ *Grid, s float64) (uint16, float64) {
	_, e := math.Frexp(s / 1.5) // 2^e is nearest for s in [.75, 1.5) of it
	b := half.ToE8M0(e)
	return uint16(b), half.FromE8M0(b)
}

func tensorNV(s Scale, m float32) float32 {
	if s.Rule == FourOverSix {
		return m / (6 * 256)
	}
	return m / (6 * half.MaxE4M3)
}

func spanNV(f Fitter, g *Grid, lo, hi float64) error {
	g.Zero = int(g.Levels.Zero)
	if f.tensor > 0 {
		b := half.ToE4M3(max(-lo, hi) / (g.Levels.Value[g.Hi] * float64(f.tensor)))
		g.Bits, g.Scale = uint16(b), g.nvScale(b)
	}
	return nil
}

func storableNV(g *Grid, s float64) (uint16, float64) {
	b := half.ToE4M3(s / float64(g.tensor))
	return uint16(b), g.nvScale(b)
}

func storeNV(p *quant.Packed, grids []Grid) { p.Tensor[0] = grids[0].tensor }

func spanBilevel(_ Fitter, g *Grid, lo, hi float64) error {
	g.Zero, g.Offset, g.Scale = 0, lo, (hi-lo)/float64(g.Hi)
	return nil
}

func storeBilevel(p *quant.Packed, grids []Grid) {
	groups := len(grids) / p.N
	for i := 0; i < p.N; i += quant.BilevelRows {
		for g := range groups {
			copy(p.Second[(i/quant.BilevelRows*groups+g)*4:], grids[i*groups+g].Second[:])
		}
	}
}

func spanDouble(_ Fitter, g *Grid, lo, hi float64) error {
	m := max(-lo, hi)
	g.Zero, g.Scale = int(g.Levels.Zero), m
	g.Bits = half.ToF16(float32(m)) // until all are known
	return nil
}

func storableDouble(g *Grid, s float64) (bits uint16, scale float64) {
	if g.tensor > 0 {
		bits = uint16(quant.Dynamic.Nearest((s - float64(g.mean)) / float64(g.tensor)))
	} else {
		bits = uint16(quant.Dynamic.Zero)
	}
	return bits, quant.DoubleDecode(uint8(bits), g.tensor, g.mean)
}

func storeDouble(p *quant.Packed, grids []Grid) {
	p.Tensor[0] = grids[0].mean
	for b := range p.Tensor[1:] {
		p.Tensor[1+b] = grids[b*quant.DoubleBlock].tensor
	}
}

func storeAny4(p *quant.Packed, grids []Grid) {
	for i := range grids {
		p.Offsets[i] = grids[i].OffsetBits
	}
	groups := len(grids) / p.N
	for i := range p.N {
		for u, v := range grids[i*groups].Levels.Value {
			p.Tables[i<<p.Format.Bits+u] = half.ToF16(float32(v))
		}
	}
}
