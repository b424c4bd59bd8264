package grid

import (
	"fmt"
	"math"

	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/quant"
)

// power returns the grid of a group of Power4 without levels: its scale is max|w|.
func (f Fitter) power(w []float32, skip []bool) (Grid, error) {
	var m float32
	for i, x := range w {
		if skip == nil || !skip[i] {
			m = max(m, x, -x)
		}
	}
	g := Grid{kind: quant.Power4, Hi: 14, Zero: 7}
	g.Bits = half.ToF16(m)
	if g.Scale = float64(half.FromF16(g.Bits)); math.IsInf(g.Scale, 0) {
		return g, fmt.Errorf("scale %g exceeds half precision", m)
	}
	return g, nil
}

// powerExponent finds the exponent of the matrix and gives its levels to all grids.
func (f Fitter) powerExponent(p quant.Problem, w quant.Matrix, grids []Grid, skip []bool) error {
	size, count := f.Format.Groups(w.Cols)
	weight := make([]float64, w.Cols)
	for j := range weight {
		weight[j] = 1
	}
	if f.Scale.Rule == SearchHessian {
		copy(weight, p.Diag())
	}
	var best *quant.Levels
	least, exponent := math.Inf(1), 0.0
	for i := 20; i >= 10; i-- {
		a := float64(float32(i) / 20)
		l := quant.PowerLevels(a)
		sums := make([]float64, w.Rows)
		parallel.For(w.Rows, func(i int) error {
			for k, v := range w.Row(i) {
				g := &grids[i*count+k/size]
				if skip != nil && skip[i*w.Cols+k] || g.Scale == 0 {
					continue
				}
				d := float64(v) - l.Value[l.Nearest(float64(v)/g.Scale)]*g.Scale
				sums[i] += weight[k] * d * d
			}
			return nil
		})
		var sum float64
		for _, v := range sums {
			sum += v
		}
		if sum < least {
			least, best, exponent = sum, l, a
		}
	}
	for i := range grids {
		grids[i].Levels, grids[i].tensor = best, float32(exponent)
	}
	return nil
}

// spanFire finds the E4M3 scale of a group of FireQ4 and its levels.
func spanFire(f Fitter, g *Grid, lo, hi float64) error {
	g.Zero, g.Lo, g.Hi = 7, 0, 14
	b := uint8(0)
	if f.tensor > 0 {
		b = half.ToE4M3(max(-lo, hi) / (7 * float64(f.tensor)))
	}
	g.Bits, g.Scale = uint16(b), float64(f.tensor)*half.FromE4M3(b)
	g.Levels = quant.FireLevels(b)
	return nil
}

// choice returns the grid of a group of IF4: the scale of NVFP4, and of its numbers and
// integers those of less squared error, numbers where they lose the same.
func (f Fitter) choice(w []float32, skip []bool) (Grid, error) {
	g := Grid{kind: quant.IF4, Hi: 14, Zero: 7, tensor: f.tensor}
	var m float32
	for i, x := range w {
		if skip == nil || !skip[i] {
			m = max(m, x, -x)
		}
	}
	var b uint8
	if f.tensor > 0 {
		b = half.ToE4M3(float64(m) / (6 * float64(f.tensor)))
		g.Scale = g.nvScale(b)
	}
	integers := g
	g.Bits, g.Levels = uint16(b), quant.ChoiceLevels(b)
	b |= quant.IntegerChoice
	integers.Bits, integers.Levels = uint16(b), quant.ChoiceLevels(b)
	if g.squared(w, skip) > integers.squared(w, skip) {
		return integers, nil
	}
	return g, nil
}

// squared is the squared error of rounding w to g.
func (g *Grid) squared(w []float32, skip []bool) (sum float64) {
	for i, x := range w {
		if skip == nil || !skip[i] {
			d := float64(x) - g.Value(g.Code(float64(x)))
			sum += d * d
		}
	}
	return sum
}
