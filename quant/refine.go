package quant

import (
	"math"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// refine lowers tr(E·H·Eᵀ) by rounds of cyclic coordinate descent over all that
// is stored, under the full H without damping (QuantEase, arXiv:2309.01885, who
// descend over the codes of a plain base). The coordinates are, from left to
// right: the scale of each base group and of each kept residual block, which
// moves to the stored number nearest its optimum, and then the code of
// each weight, base and residual code together. A step is taken only if it
// lowers the objective by more than rounding could feign, so no round raises it.
//
// Columns are taken in blocks of at most 128: inside a block every step sees
// all steps before it, and the columns after it are updated by one product. A
// scale whose weights do not lie within one block stays as it is. A round costs
// 1.5·N·K² multiplications, H in float32 and two matrices like W.
func (s *pass) refine(rounds int, res *sparse) {
	if rounds == 0 {
		return
	}
	n, k := s.problem.Weights.Dims()
	size, _ := s.fitter.format.groups(k)
	width := blockColumns
	if size < width {
		width = width / size * size
	}
	unit := 1 // rows that share a scale go together
	if res != nil && !res.rowScales {
		unit = res.t.r
	}
	h := s.problem.Moments.float32()
	e, g := gemm.NewMatrix(n, k), gemm.NewMatrix(n, k)
	step := gemm.NewMatrix(n, width)
	for range rounds {
		parallel(n, func(i int) error {
			for j, w := range s.problem.Weights.Row(i) {
				e.Row(i)[j] = float32(float64(w) - s.value(res, i, j))
			}
			return nil
		})
		gemm.Gemm(false, false, 1, e, h, 0, g)
		for c0 := 0; c0 < k; c0 += width {
			c1 := min(c0+width, k)
			d := descent{pass: s, res: res, c0: c0, c1: c1, h: make([]float64, (c1-c0)*(c1-c0))}
			for j := c0; j < c1; j++ {
				copy(d.row(j), s.problem.Moments.H[j*k+c0:j*k+c1])
			}
			parallel(ceilDiv(n, unit), func(b int) error {
				d.rows(b*unit, min((b+1)*unit, n), g, step)
				return nil
			})
			if c1 < k {
				gemm.Gemm(false, false, 1, step.View(0, n, 0, c1-c0), h.View(c0, c1, c1, k), 1, g.View(0, n, c1, k))
			}
		}
	}
}

// value is what weight [i,j] is stored as.
func (s *pass) value(res *sparse, i, j int) float64 {
	n, k := s.problem.Weights.Dims()
	size, _ := s.fitter.format.groups(k)
	v := s.grids[i*(len(s.grids)/n)+j/size].value(s.codes[i*k+j])
	if r := res.grid(i, j); r != nil {
		v += r.value(res.codes[i*k+j])
	}
	return v
}

// descent is one round over the columns c0..c1-1.
type descent struct {
	*pass
	res    *sparse
	c0, c1 int
	h      []float64 // H of these columns
}

// row returns the row of H for column j.
func (d *descent) row(j int) []float64 {
	w := d.c1 - d.c0
	return d.h[(j-d.c0)*w : (j-d.c0+1)*w]
}

// margin is the share of a step's curvature that its gain must exceed: gradients
// carry float32 errors of some 2^-24·√K of it.
const margin = 1e-4

// rows descends over rows n0..n1-1. g [N,K] is E·H; what the steps add to E is
// left in change [N, c1-c0].
func (d *descent) rows(n0, n1 int, g, change Matrix) {
	n, k := d.problem.Weights.Dims()
	size, _ := d.fitter.format.groups(k)
	groups := len(d.grids) / n
	width := d.c1 - d.c0
	gradient := make([][]float64, n1-n0)
	for i := range gradient {
		gradient[i] = make([]float64, width)
		for j, v := range g.Row(n0 + i)[d.c0:d.c1] {
			gradient[i][j] = float64(v)
		}
		clear(change.Row(n0 + i)[:width])
	}
	// move adds delta to the stored weight [n0+i,j]; gradients are still needed
	// from column from on.
	move := func(i, j int, delta float64, from int) {
		if delta == 0 {
			return
		}
		change.Row(n0 + i)[j-d.c0] -= float32(delta)
		gi := gradient[i][from-d.c0:]
		for t, h := range d.row(j)[from-d.c0:] {
			gi[t] -= delta * h
		}
	}
	// scale moves the scale of codes [rows, columns lo..hi-1] on grid s.
	scale := func(s *grid, codes []uint8, rows [2]int, lo, hi int) {
		var slope, curve float64
		c := make([]float64, hi-lo)
		for i := rows[0]; i < rows[1]; i++ {
			for j := range c {
				c[j] = s.level(codes[(n0+i)*k+lo+j])
			}
			for j, v := range c {
				if v != 0 {
					slope += v * gradient[i][lo+j-d.c0]
					curve += v * dot(d.row(lo + j)[lo-d.c0:hi-d.c0], c)
				}
			}
		}
		if !(curve > 0) || s.scale == 0 {
			return
		}
		bits, to := s.storable(s.scale + slope/curve)
		delta := to - s.scale
		if !(to > 0) || math.IsInf(to, 0) || !(delta*(2*slope-delta*curve) > margin*delta*delta*curve) {
			return
		}
		for i := rows[0]; i < rows[1]; i++ {
			for j := lo; j < hi; j++ {
				move(i, j, delta*s.level(codes[(n0+i)*k+j]), d.c0)
			}
		}
		s.bits, s.scale = bits, to
	}

	for at := d.c0 / size * size; at < d.c1; at += size {
		if at < d.c0 || at+size > d.c1 {
			continue
		}
		for i := range gradient {
			scale(&d.grids[(n0+i)*groups+at/size], d.codes, [2]int{i, i + 1}, at, at+size)
		}
	}
	if d.res != nil {
		c := d.res.t.c
		for at := ceilDiv(d.c0, c) * c; at < d.c1 && min(at+c, k) <= d.c1; at += c {
			end := min(at+c, k)
			for i := 0; i < len(gradient); i++ {
				r := d.res.grid(n0+i, at)
				rows := [2]int{i, i + 1}
				if !d.res.rowScales {
					rows[1] = len(gradient)
					i = rows[1]
				}
				if r != nil {
					scale(r, d.res.codes, rows, at, end)
				}
			}
		}
	}
	for i := range gradient {
		codes := d.codes[(n0+i)*k : (n0+i+1)*k]
		for j := d.c0; j < d.c1; j++ {
			curve := d.row(j)[j-d.c0]
			if curve == 0 {
				continue
			}
			b, r := &d.grids[(n0+i)*groups+j/size], d.res.grid(n0+i, j)
			slope := gradient[i][j-d.c0]
			if r == nil {
				now := b.value(codes[j])
				u := b.code(now + slope/curve)
				delta := b.value(u) - now
				if delta*(2*slope-delta*curve) > margin*delta*delta*curve {
					codes[j] = u
					move(i, j, delta, j)
				}
				continue
			}
			rc := &d.res.codes[(n0+i)*k+j]
			now := b.value(codes[j]) + r.value(*rc)
			u, v := nearestPair(b, r, now+slope/curve)
			delta := b.value(u) + r.value(v) - now
			if delta*(2*slope-delta*curve) > margin*delta*delta*curve {
				codes[j], *rc = u, v
				move(i, j, delta, j)
			}
		}
	}
}

// nearestPair returns the base and residual code whose sum is nearest to w. The
// base code nearest to w, or one beside it where the residual does not reach
// far enough.
func nearestPair(base, res *grid, w float64) (u, v uint8) {
	u = base.code(w)
	v = res.code(w - base.value(u))
	least := abs(w - base.value(u) - res.value(v))
	for _, near := range [2]int{int(u) - 1, int(u) + 1} {
		if near < base.lo || near > base.hi {
			continue
		}
		x := base.value(uint8(near))
		y := res.code(w - x)
		if d := abs(w - x - res.value(y)); d < least {
			u, v, least = uint8(near), y, d
		}
	}
	return u, v
}

func abs(x float64) float64 { return max(x, -x) }
