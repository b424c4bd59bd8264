package grid

import (
	"errors"
	"fmt"
	"math"

	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/quant"
)

// Grid is the fitted grid of one group: ŵ = level(u)·scale + offset, where the
// level of an integer code is u - zero. Codes ascend with their levels.
type Grid struct {
	kind   quant.Kind
	Bits   uint16 // scale as stored
	Scale  float64
	Zero   int // of integers; else the code whose level is nearest to 0
	Lo     int // smallest and largest u
	Hi     int
	Levels *quant.Levels // nil: integers
	// Offset is not 0 in Any4 and Bilevel only; offsetBits is as stored.
	Offset     float64
	OffsetBits uint16
	tensor     float32    // of NVFP4; of NF4DQ, that of 256 scales
	mean       float32    // of NF4DQ
	Second     *[4]uint16 // of Bilevel, shared by 16 rows
}

// Code returns the code nearest to w, ties to even. A zero scale has only the
// zero to offer.
func (g *Grid) Code(w float64) uint8 {
	if g.Scale == 0 {
		return uint8(g.Zero)
	}
	if g.Levels != nil {
		return g.Levels.Nearest((w - g.Offset) / g.Scale)
	}
	u := math.RoundToEven((w-g.Offset)/g.Scale) + float64(g.Zero)
	// Go's float-to-int conversion of huge values is not defined: clamp first.
	switch {
	case !(u > float64(g.Lo)):
		return uint8(g.Lo)
	case u > float64(g.Hi):
		return uint8(g.Hi)
	}
	return uint8(u)
}

func (g *Grid) Level(u uint8) float64 {
	if g.Levels != nil {
		return g.Levels.Value[u]
	}
	return float64(int(u) - g.Zero)
}

func (g *Grid) Value(u uint8) float64 { return g.Level(u)*g.Scale + g.Offset }

// Storable returns the scale nearest to s that g's kind can store, and how.
func (g *Grid) Storable(s float64) (bits uint16, scale float64) {
	switch g.kind {
	case quant.MXFP4:
		_, e := math.Frexp(s / 1.5) // 2^e is nearest for s in [.75, 1.5) of it
		b := half.ToE8M0(e)
		return uint16(b), half.FromE8M0(b)
	case quant.NVFP4:
		b := half.ToE4M3(s / float64(g.tensor))
		return uint16(b), g.nvScale(b)
	case quant.Bilevel: // its scale shares step and base with others
		return g.Bits, g.Scale
	case quant.NF4DQ:
		if g.tensor > 0 {
			bits = uint16(quant.Dynamic.Nearest((s - float64(g.mean)) / float64(g.tensor)))
		} else {
			bits = uint16(quant.Dynamic.Zero)
		}
		return bits, quant.DoubleDecode(uint8(bits), g.tensor, g.mean)
	}
	bits = half.ToF16(float32(s))
	return bits, float64(half.FromF16(bits))
}

func (g *Grid) nvScale(b uint8) float64 {
	return float64(float32(float64(g.tensor) * half.FromE4M3(b)))
}

// Fitter finds the grids of groups.
type Fitter struct {
	Format quant.Format
	Scale  Scale
	tensor float32 // scale of an NVFP4 matrix
}

// ForMatrix returns f for the groups of w; skip [N*K], where not nil, marks
// weights that do not count.
func (f Fitter) ForMatrix(w quant.Matrix, skip []bool) Fitter {
	if f.Format.Kind != quant.NVFP4 {
		return f
	}
	var m float32
	for i := range w.Rows {
		for k, v := range w.Row(i) {
			if skip == nil || !skip[i*w.Cols+k] {
				m = max(m, v, -v)
			}
		}
	}
	f.tensor = m / (6 * half.MaxE4M3)
	if f.Scale.Rule == FourOverSix {
		f.tensor = m / (6 * 256)
	}
	return f
}

// Fit returns the grid for the weights w of one group; that of Any4 has no
// table, those of Bilevel and NF4DQ no second level yet. h [len(w)] are the diagonal second
// moments of its columns, used by SearchHessian only, and block [len(w),len(w)]
// is H itself, used by SearchClip; skip, where not nil, marks weights that do
// not count. It reports a scale that half precision cannot hold.
func (f Fitter) Fit(w []float32, h []float64, block quant.Matrix, skip []bool) (Grid, error) {
	var lo, hi float64
	for i, x := range w {
		if skip == nil || !skip[i] {
			lo, hi = min(lo, float64(x)), max(hi, float64(x))
		}
	}
	if f.Format.Kind == quant.Any4 {
		return f.any4(w, skip)
	}
	best, err := f.grid(lo, hi)
	if err != nil || f.Scale.Rule == AbsMax || f.Scale.Rule == Ceil || best.Scale == 0 {
		return best, err
	}
	if f.Scale.Rule == FourOverSix {
		four, err := f.grid(1.5*lo, 1.5*hi)
		if err == nil && f.loss(&four, w, nil, block, skip, math.Inf(1)) < f.loss(&best, w, nil, block, skip, math.Inf(1)) {
			best = four
		}
		return best, err
	}
	first, count, step := 0, 80, .01
	switch {
	case f.Scale.Rule == SearchClip:
		if block.Rows != len(w) {
			return best, errors.New("clipping by the output needs H of one row of weights")
		}
		count, step = 10, .05
	case f.Format.Kind == quant.MXFP4:
		first = -100 // twice the range: the scale that does not clip
	}
	least, last := math.Inf(1), -1
	for i := first; i < count; i++ {
		g, err := f.grid(lo*(1-float64(i)*step), hi*(1-float64(i)*step))
		if err != nil {
			return g, err
		}
		if int(g.Bits) == last && !f.Format.Affine {
			continue
		}
		last = int(g.Bits)
		if e := f.loss(&g, w, h, block, skip, least); e < least {
			least, best = e, g
		}
	}
	return best, nil
}

// grid spans lo..hi, lo <= 0 <= hi.
func (f Fitter) grid(lo, hi float64) (Grid, error) {
	g := Grid{kind: f.Format.Kind, Lo: f.Format.Lowest(), Hi: f.Format.Highest(), Zero: f.Format.Offset(),
		Levels: quant.FixedLevels[f.Format.Kind], tensor: f.tensor}
	m := max(-lo, hi)
	var s float64
	switch g.kind {
	case quant.MXFP4:
		g.Zero = int(g.Levels.Zero)
		e := -127 // of an empty group; there is no scale of zero
		if m > 0 {
			_, e = math.Frexp(m)
			e -= 1 + 2
			if f.Scale.Rule == Ceil && m > math.Ldexp(6, e) {
				e++
			}
		}
		g.Bits = uint16(half.ToE8M0(e))
		g.Scale = half.FromE8M0(uint8(g.Bits))
		return g, nil
	case quant.NVFP4:
		g.Zero = int(g.Levels.Zero)
		if f.tensor > 0 {
			b := half.ToE4M3(m / (6 * float64(f.tensor)))
			g.Bits, g.Scale = uint16(b), g.nvScale(b)
		}
		return g, nil
	case quant.Bilevel:
		g.Zero, g.Offset, g.Scale = 0, lo, (hi-lo)/float64(g.Hi)
		return g, nil
	case quant.Integer:
		s = m / float64(f.Format.Offset()-1)
		if f.Format.Affine {
			s = (hi - lo) / float64(g.Hi)
		}
	case quant.NF4DQ:
		g.Zero, g.Scale = int(g.Levels.Zero), m
		g.Bits = half.ToF16(float32(m)) // until all are known
		return g, nil
	default:
		g.Zero = int(g.Levels.Zero)
		s = m / g.Levels.Value[g.Hi]
	}
	g.Bits = half.ToF16(float32(s))
	g.Scale = float64(half.FromF16(g.Bits))
	if math.IsInf(g.Scale, 0) {
		return g, fmt.Errorf("scale %g for weights in [%g,%g] exceeds half precision", s, lo, hi)
	}
	if f.Format.Affine {
		g.Zero = 0
		if g.Scale > 0 {
			g.Zero = int(min(float64(g.Hi), math.RoundToEven(-lo/g.Scale)))
		}
	}
	return g, nil
}

// loss is the error of rounding w to g, given up once it reaches limit.
func (f Fitter) loss(g *Grid, w []float32, h []float64, block quant.Matrix, skip []bool, limit float64) float64 {
	if f.Scale.Rule == SearchClip {
		return outputLoss(g, w, block, skip)
	}
	var sum float64
	hessian := f.Scale.Rule == SearchHessian
	for i, x := range w {
		if skip != nil && skip[i] {
			continue
		}
		d := float64(x) - g.Value(g.Code(float64(x)))
		switch {
		case hessian:
			sum += h[i] * d * d
		case f.Scale.Norm == 2, f.Scale.Rule == FourOverSix:
			sum += d * d
		default:
			sum += math.Pow(math.Abs(d), f.Scale.Norm)
		}
		if sum >= limit {
			break
		}
	}
	return sum
}

// outputLoss is δ·H·δᵀ for the errors δ of rounding w to g.
func outputLoss(g *Grid, w []float32, h quant.Matrix, skip []bool) float64 {
	d := make([]float32, len(w))
	for i, x := range w {
		if skip == nil || !skip[i] {
			d[i] = x - float32(g.Value(g.Code(float64(x))))
		}
	}
	var sum float64
	for i, x := range d {
		if x == 0 {
			continue
		}
		row := h.Row(i)
		var a, b float32 // two sums, so that one addition need not wait for the other
		j := 0
		for ; j+1 < len(d); j += 2 {
			a += row[j] * d[j]
			b += row[j+1] * d[j+1]
		}
		if j < len(d) {
			a += row[j] * d[j]
		}
		sum += float64(x) * float64(a+b)
	}
	return sum
}

// FitAll fits the grids [N, groups] of all groups of w. skip [N*K], where not
// nil, marks weights that do not count.
func FitAll(p quant.Problem, w quant.Matrix, f Fitter, skip []bool) ([]Grid, error) {
	size, count := f.Format.Groups(w.Cols)
	h := p.Diag()
	f = f.ForMatrix(w, skip)
	var full quant.Matrix
	if f.Scale.Rule == SearchClip {
		full = p.Moments.Float32()
	}
	grids := make([]Grid, w.Rows*count)
	err := parallel.For(w.Rows, func(i int) error {
		row := w.Row(i)
		for g := range count {
			k0, k1 := g*size, min((g+1)*size, w.Cols)
			var hg []float64
			if h != nil {
				hg = h[k0:k1]
			}
			var block quant.Matrix
			if full.Rows > 0 {
				block = full.View(k0, k1, k0, k1)
			}
			var sg []bool
			if skip != nil {
				sg = skip[i*w.Cols+k0 : i*w.Cols+k1]
			}
			var err error
			if grids[i*count+g], err = f.Fit(row[k0:k1], hg, block, sg); err != nil {
				return p.Errorf("row %d, group %d: %w", i, g, err)
			}
		}
		return nil
	})
	if err == nil {
		switch f.Format.Kind {
		case quant.Any4:
			err = f.any4Tables(p, w, grids, skip)
		case quant.Bilevel:
			err = bilevel(p, w.Rows, grids)
		case quant.NF4DQ:
			err = double(p, grids)
		}
	}
	return grids, err
}
