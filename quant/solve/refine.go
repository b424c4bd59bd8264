package solve

import (
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/quant"
)

// Refine lowers tr(E·H·Eᵀ) by rounds of cyclic coordinate descent over all that
// is stored, under the full H without damping (QuantEase, arXiv:2309.01885, who
// descend over the codes of a plain base). The coordinates are, from left to
// right: the scale of each base group and of each kept residual block, which
// moves to the stored number nearest its optimum, and then the code of each
// weight, base and residual code together. Residual steps that are tied to the
// base's scales move with them. In a Bilevel base the two codes and
// the second level of a group take the place of its scale. A step is taken only
// if it lowers the objective by more than rounding could feign, so no round
// raises it.
//
// Columns are taken in blocks of at most 128: inside a block every step sees
// all steps before it, and the columns after it are updated by one product. A
// scale whose weights do not lie within one block stays as it is. A round costs
// 1.5·N·K² multiplications, H in float32 and two matrices like W.
func (s *Pass) Refine(rounds int, res *Sparse) {
	if rounds == 0 {
		return
	}
	n, k := s.Problem.Weights.Dims()
	size, _ := s.Fitter.Format.Groups(k)
	width := blockColumns
	if size < width {
		width = width / size * size
	}
	unit := 1 // rows that share a scale go together
	if res != nil && !res.rowScales && res.Tied == nil {
		unit = res.Tiling.R
	}
	unit = lcm(unit, s.Fitter.Format.SharedRows())
	h := s.Problem.Moments.Float32()
	e, g := gemm.NewMatrix(n, k), gemm.NewMatrix(n, k)
	step := gemm.NewMatrix(n, width)
	for range rounds {
		parallel.For(n, func(i int) error {
			for j, w := range s.Problem.Weights.Row(i) {
				e.Row(i)[j] = float32(float64(w) - s.value(res, i, j))
			}
			return nil
		})
		gemm.Gemm(false, false, 1, e, h, 0, g)
		for c0 := 0; c0 < k; c0 += width {
			c1 := min(c0+width, k)
			d := descent{Pass: s, res: res, c0: c0, c1: c1, h: make([]float64, (c1-c0)*(c1-c0))}
			for j := c0; j < c1; j++ {
				copy(d.row(j), s.Problem.Moments.H[j*k+c0:j*k+c1])
			}
			parallel.For(quant.CeilDiv(n, unit), func(b int) error {
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
func (s *Pass) value(res *Sparse, i, j int) float64 {
	n, k := s.Problem.Weights.Dims()
	size, _ := s.Fitter.Format.Groups(k)
	v := s.Grids[i*(len(s.Grids)/n)+j/size].Value(s.codes[i*k+j])
	if r := res.At(i, j); r != nil {
		v += r.Value(res.Codes[i*k+j])
	}
	return v
}

// descent is one round over the columns c0..c1-1.
type descent struct {
	*Pass
	res    *Sparse
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

// rows descends over rows n0..n1-1, which share no scale with others. g [N,K] is
// E·H; what the steps add to E is left in change [N, c1-c0].
func (d *descent) rows(n0, n1 int, g, change quant.Matrix) {
	s := &strip{descent: d, n0: n0, gradient: make([][]float64, n1-n0), change: change}
	for i := range s.gradient {
		s.gradient[i] = make([]float64, d.c1-d.c0)
		for j, v := range g.Row(n0 + i)[d.c0:d.c1] {
			s.gradient[i][j] = float64(v)
		}
		clear(change.Row(n0 + i)[:d.c1-d.c0])
	}
	s.baseScales()
	if d.res != nil && d.res.Tied == nil {
		s.residualScales()
	}
	for i := range s.gradient {
		s.rowCodes(i)
	}
}

// strip is a descent over some rows.
type strip struct {
	*descent
	n0       int
	gradient [][]float64  // [rows, columns c0..c1-1] of E·H
	change   quant.Matrix // [N, c1-c0]
}

// rowOf returns the codes of row n0+i of a matrix of codes.
func (s *strip) rowOf(codes []uint8, i int) []uint8 {
	k := s.Problem.Weights.Cols
	return codes[(s.n0+i)*k : (s.n0+i+1)*k]
}

// move adds delta to the stored weight [n0+i,j]; gradients are still needed from
// column from on.
func (s *strip) move(i, j int, delta float64, from int) {
	if delta == 0 {
		return
	}
	s.change.Row(s.n0 + i)[j-s.c0] -= float32(delta)
	gi := s.gradient[i][from-s.c0:]
	for t, h := range s.row(j)[from-s.c0:] {
		gi[t] -= delta * h
	}
}

// rowCodes takes the steps of the codes of row n0+i.
func (s *strip) rowCodes(i int) {
	n, _ := s.Problem.Weights.Dims()
	size, _ := s.Fitter.Format.Groups(s.Problem.Weights.Cols)
	grids := s.Grids[(s.n0+i)*(len(s.Grids)/n):]
	codes := s.rowOf(s.codes, i)
	for j := s.c0; j < s.c1; j++ {
		curve := s.row(j)[j-s.c0]
		if curve == 0 {
			continue
		}
		b, r := &grids[j/size], s.res.At(s.n0+i, j)
		slope := s.gradient[i][j-s.c0]
		if r == nil {
			now := b.Value(codes[j])
			u := b.Code(now + slope/curve)
			delta := b.Value(u) - now
			if delta*(2*slope-delta*curve) > margin*delta*delta*curve {
				codes[j] = u
				s.move(i, j, delta, j)
			}
			continue
		}
		rc := &s.rowOf(s.res.Codes, i)[j]
		now := b.Value(codes[j]) + r.Value(*rc)
		u, v := s.res.Pair(b, r, now+slope/curve)
		delta := b.Value(u) + r.Value(v) - now
		if delta*(2*slope-delta*curve) > margin*delta*delta*curve {
			codes[j], *rc = u, v
			s.move(i, j, delta, j)
		}
	}
}

func abs(x float64) float64 { return max(x, -x) }
