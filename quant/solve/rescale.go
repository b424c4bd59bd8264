package solve

import (
	"math"

	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
)

// The steps of refine that move scales.

// baseScales moves the scales of all groups that lie within columns c0..c1-1.
func (s *strip) baseScales() {
	n, k := s.Problem.Weights.Dims()
	size, _ := s.Fitter.Format.Groups(k)
	groups := len(s.Grids) / n
	for at := quant.CeilDiv(s.c0, size) * size; at < s.c1 && min(at+size, k) <= s.c1; at += size {
		end := min(at+size, k)
		if rows := s.Fitter.Format.SharedRows(); rows > 1 {
			for i := 0; i < len(s.gradient); i += rows {
				s.bilevel(i, min(i+rows, len(s.gradient)), at, end)
			}
			continue
		}
		for i := range s.gradient {
			g := (s.n0+i)*groups + at/size
			s.scale(&s.Grids[g], s.codes, i, i+1, at, end)
			s.res.Follow(g, &s.Grids[g])
		}
	}
}

// residualScales moves the scales of all kept blocks that lie within columns
// c0..c1-1.
func (s *strip) residualScales() {
	k := s.Problem.Weights.Cols
	rows, c := s.res.Tiling.R, s.res.Tiling.C
	if s.res.rowScales {
		rows = 1
	}
	for at := quant.CeilDiv(s.c0, c) * c; at < s.c1 && min(at+c, k) <= s.c1; at += c {
		for i := 0; i < len(s.gradient); i += rows {
			if r := s.res.At(s.n0+i, at); r != nil {
				s.scale(r, s.res.Codes, i, min(i+rows, len(s.gradient)), at, min(at+c, k))
			}
		}
	}
}

// scale moves the scale of codes [rows i0..i1-1, columns lo..hi-1] on grid g.
func (s *strip) scale(g *grid.Grid, codes []uint8, i0, i1, lo, hi int) {
	var slope, curve float64
	c := make([]float64, hi-lo)
	levels := func(i int) {
		for j, u := range s.rowOf(codes, i)[lo:hi] {
			c[j] = g.Level(u)
		}
		s.addTied(c, i, lo)
	}
	for i := i0; i < i1; i++ {
		levels(i)
		for j, v := range c {
			if v != 0 {
				slope += v * s.gradient[i][lo+j-s.c0]
				curve += v * dot(s.row(lo + j)[lo-s.c0:hi-s.c0], c)
			}
		}
	}
	if !(curve > 0) || g.Scale == 0 {
		return
	}
	bits, to := g.Storable(g.Scale + slope/curve)
	delta := to - g.Scale
	if !(to > 0) || math.IsInf(to, 0) || !(delta*(2*slope-delta*curve) > margin*delta*delta*curve) {
		return
	}
	for i := i0; i < i1; i++ {
		levels(i)
		for j, v := range c {
			s.move(i, lo+j, delta*v, s.c0)
		}
	}
	g.Bits, g.Scale = bits, to
}

// line is a Bilevel group, whose values are u·scale + offset, as a quadratic
// form in scale and offset: if they move by x and y, the objective falls by
// 2·(x·u + y·one) - x²·uu - 2·x·y·u1 - y²·oneone.
type line struct {
	grid            *grid.Grid
	u, one          float64 // codes·gradient, and the sum of the gradient
	uu, u1, oneone  float64 // codes·H·codes, codes·H·1 and 1·H·1
	scale0, offset0 float64 // before any step
}

// gain is the fall of the objective, and the curvature part of it, if scale and
// offset become these.
func (l *line) gain(scale, offset float64) (gain, curve float64) {
	x, y := scale-l.grid.Scale, offset-l.grid.Offset
	curve = x*x*l.uu + 2*x*y*l.u1 + y*y*l.oneone
	return 2*(x*l.u+y*l.one) - curve, curve
}

// set moves scale and offset.
func (l *line) set(scale, offset float64) {
	x, y := scale-l.grid.Scale, offset-l.grid.Offset
	l.u -= x*l.uu + y*l.u1
	l.one -= x*l.u1 + y*l.oneone
	l.grid.Scale, l.grid.Offset = scale, offset
}

// bilevel takes the steps of a Bilevel group of rows i0..i1-1, which share a
// second level, in columns lo..hi-1. First each row's pair of codes for scale
// and zero becomes the best of all pairs; then step and base of the scales, and
// those of the zeros, move to the half-precision numbers nearest their optimum.
func (s *strip) bilevel(i0, i1, lo, hi int) {
	of, groups := s.Fitter.Format.Groups(s.Problem.Weights.Cols)
	group, size := lo/of, hi-lo
	ones := make([]float64, size) // H·1
	var oneone float64
	for j := range ones {
		for _, v := range s.row(lo + j)[lo-s.c0 : hi-s.c0] {
			ones[j] += v
		}
		oneone += ones[j]
	}
	if !(oneone > 0) {
		return
	}
	lines := make([]line, i1-i0)
	u := make([]float64, size)
	levels := func(i int) {
		for j, code := range s.rowOf(s.codes, i)[lo:hi] {
			u[j] = float64(code)
		}
		s.addTied(u, i, lo)
	}
	for i := range lines {
		l := &lines[i]
		*l = line{grid: &s.Grids[(s.n0+i0+i)*groups+group], oneone: oneone}
		l.scale0, l.offset0 = l.grid.Scale, l.grid.Offset
		levels(i0 + i)
		for j, g := range s.gradient[i0+i][lo-s.c0 : hi-s.c0] {
			l.u += u[j] * g
			l.one += g
			l.u1 += u[j] * ones[j]
			if u[j] != 0 {
				l.uu += u[j] * dot(s.row(lo + j)[lo-s.c0:hi-s.c0], u)
			}
		}
	}
	second := *lines[0].grid.Second
	for i := range lines {
		lines[i].chooseCodes(second[:])
	}
	for level := 0; level < 4; level += 2 {
		to := second
		to[level], to[level+1] = refit(lines, second[level], second[level+1], level == 2)
		var gain, curve float64
		valid := true
		for i := range lines {
			g := lines[i].grid
			scale, offset := quant.BilevelDecode(to[:], uint8(g.Bits), uint8(g.OffsetBits))
			a, b := lines[i].gain(scale, offset)
			gain, curve = gain+a, curve+b
			valid = valid && scale > 0
		}
		if valid && gain > margin*curve {
			second = to
			for i := range lines {
				lines[i].set(quant.BilevelDecode(to[:], uint8(lines[i].grid.Bits), uint8(lines[i].grid.OffsetBits)))
			}
		}
	}
	for i := range lines {
		l := &lines[i]
		l.grid.Second = &second
		levels(i0 + i)
		for j, v := range u {
			s.move(i0+i, lo+j, v*(l.grid.Scale-l.scale0)+(l.grid.Offset-l.offset0), s.c0)
		}
		s.res.Follow((s.n0+i0+i)*groups+group, l.grid)
	}
}

// chooseCodes sets the codes of scale and zero to the best there are.
func (l *line) chooseCodes(second []uint16) {
	best, at := 0.0, -1
	for c := range 1 << (2 * quant.BilevelBits) {
		scale, offset := quant.BilevelDecode(second, uint8(c>>quant.BilevelBits), uint8(c&(1<<quant.BilevelBits-1)))
		if gain, curve := l.gain(scale, offset); scale > 0 && gain > best && gain > margin*curve {
			best, at = gain, c
		}
	}
	if at < 0 {
		return
	}
	l.set(quant.BilevelDecode(second, uint8(at>>quant.BilevelBits), uint8(at&(1<<quant.BilevelBits-1))))
	l.grid.Bits, l.grid.OffsetBits = uint16(at>>quant.BilevelBits), uint16(at&(1<<quant.BilevelBits-1))
}

// refit returns step and base of the scales, or of the zeros, where the
// objective is least, as half-precision numbers. It is given those of now.
func refit(lines []line, step, base uint16, zeros bool) (newStep, newBase uint16) {
	// The objective is Σ curve·d² - 2·slope·d over the rows, d = x + code·y being
	// the move of a row's scale or zero.
	var c, ck, ckk, s, sk float64
	for i := range lines {
		l := &lines[i]
		g := l.grid
		zero := 0.0
		if g.Scale != 0 {
			zero = -g.Offset / g.Scale
		}
		code := float64(g.Bits)
		slope, curve := l.u-zero*l.one, l.uu-2*zero*l.u1+zero*zero*l.oneone
		if zeros {
			code = float64(g.OffsetBits)
			slope, curve = -g.Scale*l.one, g.Scale*g.Scale*l.oneone
		}
		c, ck, ckk = c+curve, ck+code*curve, ckk+code*code*curve
		s, sk = s+slope, sk+code*slope
	}
	if !(c > 0) {
		return step, base
	}
	x, y := s/c, 0.0
	if det := c*ckk - ck*ck; det > 1e-9*c*ckk {
		x, y = (s*ckk-sk*ck)/det, (c*sk-ck*s)/det
	}
	return half.ToF16(float32(float64(half.FromF16(step)) + y)), half.ToF16(float32(float64(half.FromF16(base)) + x))
}

func lcm(a, b int) int {
	x, y := a, b
	for y != 0 {
		x, y = y, x%y
	}
	return a / x * b
}
