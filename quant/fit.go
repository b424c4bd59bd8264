package quant

import (
	"errors"
	"fmt"
	"math"
)

// grid is the fitted grid of one group: ŵ = level(u)·scale + offset, where the
// level of an integer code is u - zero. Codes ascend with their levels.
type grid struct {
	kind   Kind
	bits   uint16 // scale as stored
	scale  float64
	zero   int // of integers; else the code whose level is nearest to 0
	lo     int // smallest and largest u
	hi     int
	levels *levels // nil: integers
	// offset is not 0 in Any4 and Bilevel only; offsetBits is as stored.
	offset     float64
	offsetBits uint16
	tensor     float32    // of NVFP4; of NF4DQ, that of 256 scales
	mean       float32    // of NF4DQ
	second     *[4]uint16 // of Bilevel, shared by 16 rows
}

// code returns the code nearest to w, ties to even. A zero scale has only the
// zero to offer.
func (g *grid) code(w float64) uint8 {
	if g.scale == 0 {
		return uint8(g.zero)
	}
	if g.levels != nil {
		return g.levels.nearest((w - g.offset) / g.scale)
	}
	u := math.RoundToEven((w-g.offset)/g.scale) + float64(g.zero)
	// Go's float-to-int conversion of huge values is not defined: clamp first.
	switch {
	case !(u > float64(g.lo)):
		return uint8(g.lo)
	case u > float64(g.hi):
		return uint8(g.hi)
	}
	return uint8(u)
}

func (g *grid) level(u uint8) float64 {
	if g.levels != nil {
		return g.levels.value[u]
	}
	return float64(int(u) - g.zero)
}

func (g *grid) value(u uint8) float64 { return g.level(u)*g.scale + g.offset }

// storable returns the scale nearest to s that g's kind can store, and how.
func (g *grid) storable(s float64) (bits uint16, scale float64) {
	switch g.kind {
	case MXFP4:
		_, e := math.Frexp(s / 1.5) // 2^e is nearest for s in [.75, 1.5) of it
		b := toE8M0(e)
		return uint16(b), fromE8M0(b)
	case NVFP4:
		b := toE4M3(s / float64(g.tensor))
		return uint16(b), g.nvScale(b)
	case Bilevel: // its scale shares step and base with others
		return g.bits, g.scale
	case NF4DQ:
		if g.tensor > 0 {
			bits = uint16(dynamic.nearest((s - float64(g.mean)) / float64(g.tensor)))
		} else {
			bits = uint16(dynamic.zero)
		}
		return bits, doubleDecode(uint8(bits), g.tensor, g.mean)
	}
	bits = toF16(float32(s))
	return bits, float64(fromF16(bits))
}

func (g *grid) nvScale(b uint8) float64 {
	return float64(float32(float64(g.tensor) * fromE4M3(b)))
}

// fitter finds the grids of groups.
type fitter struct {
	format Format
	scale  Scale
	tensor float32 // scale of an NVFP4 matrix
}

// matrix returns f for the groups of w; skip [N*K], where not nil, marks
// weights that do not count.
func (f fitter) matrix(w Matrix, skip []bool) fitter {
	if f.format.Kind != NVFP4 {
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
	f.tensor = m / (6 * maxE4M3)
	if f.scale.Rule == FourOverSix {
		f.tensor = m / (6 * 256)
	}
	return f
}

// fit returns the grid for the weights w of one group; that of Any4 has no
// table, those of Bilevel and NF4DQ no second level yet. h [len(w)] are the diagonal second
// moments of its columns, used by SearchHessian only, and block [len(w),len(w)]
// is H itself, used by SearchClip; skip, where not nil, marks weights that do
// not count. It reports a scale that half precision cannot hold.
func (f fitter) fit(w []float32, h []float64, block Matrix, skip []bool) (grid, error) {
	var lo, hi float64
	for i, x := range w {
		if skip == nil || !skip[i] {
			lo, hi = min(lo, float64(x)), max(hi, float64(x))
		}
	}
	if f.format.Kind == Any4 {
		return f.any4(w, skip)
	}
	best, err := f.grid(lo, hi)
	if err != nil || f.scale.Rule == AbsMax || f.scale.Rule == Ceil || best.scale == 0 {
		return best, err
	}
	if f.scale.Rule == FourOverSix {
		four, err := f.grid(1.5*lo, 1.5*hi)
		if err == nil && f.loss(&four, w, nil, block, skip, math.Inf(1)) < f.loss(&best, w, nil, block, skip, math.Inf(1)) {
			best = four
		}
		return best, err
	}
	first, count, step := 0, 80, .01
	switch {
	case f.scale.Rule == SearchClip:
		if block.Rows != len(w) {
			return best, errors.New("clipping by the output needs H of one row of weights")
		}
		count, step = 10, .05
	case f.format.Kind == MXFP4:
		first = -100 // twice the range: the scale that does not clip
	}
	least, last := math.Inf(1), -1
	for i := first; i < count; i++ {
		g, err := f.grid(lo*(1-float64(i)*step), hi*(1-float64(i)*step))
		if err != nil {
			return g, err
		}
		if int(g.bits) == last && !f.format.Affine {
			continue
		}
		last = int(g.bits)
		if e := f.loss(&g, w, h, block, skip, least); e < least {
			least, best = e, g
		}
	}
	return best, nil
}

// grid spans lo..hi, lo <= 0 <= hi.
func (f fitter) grid(lo, hi float64) (grid, error) {
	g := grid{kind: f.format.Kind, lo: f.format.lowest(), hi: f.format.highest(), zero: f.format.offset(),
		levels: fixedLevels[f.format.Kind], tensor: f.tensor}
	m := max(-lo, hi)
	var s float64
	switch g.kind {
	case MXFP4:
		g.zero = int(g.levels.zero)
		e := -127 // of an empty group; there is no scale of zero
		if m > 0 {
			_, e = math.Frexp(m)
			e -= 1 + 2
			if f.scale.Rule == Ceil && m > math.Ldexp(6, e) {
				e++
			}
		}
		g.bits = uint16(toE8M0(e))
		g.scale = fromE8M0(uint8(g.bits))
		return g, nil
	case NVFP4:
		g.zero = int(g.levels.zero)
		if f.tensor > 0 {
			b := toE4M3(m / (6 * float64(f.tensor)))
			g.bits, g.scale = uint16(b), g.nvScale(b)
		}
		return g, nil
	case Bilevel:
		g.zero, g.offset, g.scale = 0, lo, (hi-lo)/float64(g.hi)
		return g, nil
	case Integer:
		s = m / float64(f.format.offset()-1)
		if f.format.Affine {
			s = (hi - lo) / float64(g.hi)
		}
	case NF4DQ:
		g.zero, g.scale = int(g.levels.zero), m
		g.bits = toF16(float32(m)) // until all are known
		return g, nil
	default:
		g.zero = int(g.levels.zero)
		s = m / g.levels.value[g.hi]
	}
	g.bits = toF16(float32(s))
	g.scale = float64(fromF16(g.bits))
	if math.IsInf(g.scale, 0) {
		return g, fmt.Errorf("scale %g for weights in [%g,%g] exceeds half precision", s, lo, hi)
	}
	if f.format.Affine {
		g.zero = 0
		if g.scale > 0 {
			g.zero = int(min(float64(g.hi), math.RoundToEven(-lo/g.scale)))
		}
	}
	return g, nil
}

// loss is the error of rounding w to g, given up once it reaches limit.
func (f fitter) loss(g *grid, w []float32, h []float64, block Matrix, skip []bool, limit float64) float64 {
	if f.scale.Rule == SearchClip {
		return outputLoss(g, w, block, skip)
	}
	var sum float64
	hessian := f.scale.Rule == SearchHessian
	for i, x := range w {
		if skip != nil && skip[i] {
			continue
		}
		d := float64(x) - g.value(g.code(float64(x)))
		switch {
		case hessian:
			sum += h[i] * d * d
		case f.scale.Norm == 2, f.scale.Rule == FourOverSix:
			sum += d * d
		default:
			sum += math.Pow(math.Abs(d), f.scale.Norm)
		}
		if sum >= limit {
			break
		}
	}
	return sum
}

// outputLoss is δ·H·δᵀ for the errors δ of rounding w to g.
func outputLoss(g *grid, w []float32, h Matrix, skip []bool) float64 {
	d := make([]float32, len(w))
	for i, x := range w {
		if skip == nil || !skip[i] {
			d[i] = x - float32(g.value(g.code(float64(x))))
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
