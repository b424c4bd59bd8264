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
	tensor     float32    // of NVFP4; of NF4DQ, that of 256 scales; of QoQ4, the step of the row
	mean       float32    // of NF4DQ
	lo         float64    // of QoQ4: the least weight
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
	if f := fitOf(g.kind).storable; f != nil {
		return f(g, s)
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
	tensor := fitOf(f.Format.Kind).tensor
	if tensor == nil {
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
	f.tensor = tensor(f.Scale, m)
	return f
}

// Fit returns the grid for the weights w of one group; that of Any4 has no
// table, those of Bilevel and NF4DQ no second level yet. h [len(w)] are the diagonal second
// moments of its columns, used by SearchHessian only, and block [len(w),len(w)]
// is H itself, used by SearchClip; skip, where not nil, marks weights that do
// not count. It reports a scale that half precision cannot hold.
func (f Fitter) Fit(w []float32, h []float64, block quant.Matrix, skip []bool) (Grid, error) {
	var lo, hi float64
	lowest, highest := -1, -1 // where they are; -1 where no weight that counts is on that side
	for i, x := range w {
		if skip != nil && skip[i] {
			continue
		}
		if x := float64(x); x < lo {
			lo, lowest = x, i
		} else if x > hi {
			hi, highest = x, i
		}
	}
	if group := fitOf(f.Format.Kind).group; group != nil {
		return group(f, w, skip)
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
	first, count, step := fitOf(f.Format.Kind).first, 80, .01
	if f.Scale.Rule == SearchClip {
		if block.Rows != len(w) {
			return best, errors.New("clipping by the output needs H of one row of weights")
		}
		first, count, step = 0, 10, .05
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
		if max(f.clipped(&g, w, h, lowest), f.clipped(&g, w, h, highest)) >= least {
			break // and so do all narrower grids
		}
		if e := f.loss(&g, w, h, block, skip, least); e < least {
			least, best = e, g
		}
	}
	return best, nil
}

// grid spans lo..hi, lo <= 0 <= hi.
func (f Fitter) grid(lo, hi float64) (Grid, error) {
	g := Grid{kind: f.Format.Kind, Lo: f.Format.Lowest(), Hi: f.Format.Highest(), Zero: f.Format.Offset(),
		Levels: f.Format.Kind.Levels(), tensor: f.tensor}
	err := fitOf(g.kind).span(f, &g, lo, hi)
	return g, err
}

func errScale(s, lo, hi float64) error {
	return fmt.Errorf("scale %g for weights in [%g,%g] exceeds half precision", s, lo, hi)
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

// clipped is what weight i of w, the lowest or the highest, loses beyond the end of g,
// where the rule counts weights one by one; else 0, as for i < 0. It is not above loss, and of
// grids of the same levels it does not fall as the scale does.
func (f Fitter) clipped(g *Grid, w []float32, h []float64, i int) float64 {
	if i < 0 || f.Format.Affine || g.Levels != f.Format.Kind.Levels() {
		return 0
	}
	x, end := float64(w[i]), g.Value(uint8(g.Hi))
	if x < 0 {
		end = g.Value(uint8(g.Lo))
	}
	d := x - end
	switch {
	case d*x <= 0:
		return 0 // it is inside
	case f.Scale.Rule == SearchHessian:
		return h[i] * d * d
	case f.Scale.Norm == 2:
		return d * d
	}
	return 0
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
	if finish := fitOf(f.Format.Kind).finish; err == nil && finish != nil {
		err = finish(f, p, w, grids, skip)
	}
	return grids, err
}
