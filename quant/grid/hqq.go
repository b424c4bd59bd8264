package grid

import (
	"fmt"
	"math"

	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/quant"
)

// realZero returns the grid of a group of HQQ4 from its smallest and largest weight,
// where hqq begins.
func (f Fitter) realZero(w []float32, skip []bool) (Grid, error) {
	lo, hi := ends(w, skip)
	g := Grid{kind: quant.HQQ4, Hi: 15}
	g.Bits = half.ToF16(float32((hi - lo) / 15))
	g.Scale = float64(half.FromF16(g.Bits))
	g.setOffset(lo)
	if math.IsInf(g.Scale, 0) || math.IsInf(g.Offset, 0) {
		return g, fmt.Errorf("scale and offset for weights in [%g,%g] exceed half precision", lo, hi)
	}
	return g, nil
}

// setOffset stores an offset in half precision.
func (g *Grid) setOffset(v float64) {
	g.OffsetBits = half.ToF16(float32(v))
	g.Offset = float64(half.FromF16(g.OffsetBits))
}

// hqq finds the zeros of HQQ4 by half-quadratic splitting (Badri and Shaji 2023, "Half-
// Quadratic Quantization of Large Machine Learning Models"), which minimizes Σ|w-ŵ|^.7:
// in turns it shrinks the errors e of all weights towards the large ones,
//
//	e ← sign(w-ŵ)·max(0, |w-ŵ| - |w-ŵ|^(p-1)/β), p = .7, β = 10, 10·1.01 ...
//
// and moves the zero of each group to what is then best, the mean of u - (w-e)/scale. It
// ends after 20 turns, or where the mean error of the matrix no longer falls, with the
// zeros of least mean error; the authors keep those of one turn later. Scales stay as
// they are.
func hqq(f Fitter, _ quant.Problem, w quant.Matrix, grids []Grid, skip []bool) error {
	const p, turns = .7, 20
	size, count := f.Format.Groups(w.Cols)
	zeros, next := make([]float64, len(grids)), make([]float64, len(grids))
	for i := range grids {
		if g := &grids[i]; g.Scale > 0 {
			zeros[i] = -g.Offset / g.Scale
		}
	}
	best, least, beta := zeros, math.Inf(1), 10.0
	for range turns {
		sums := make([]float64, w.Rows)
		parallel.For(w.Rows, func(i int) error {
			for g := i * count; g < (i+1)*count; g++ {
				k0 := (g - i*count) * size
				k1 := min(k0+size, w.Cols)
				scale := grids[g].Scale
				if scale == 0 {
					continue
				}
				var sum float64
				n := 0
				for k := k0; k < k1; k++ {
					if skip != nil && skip[i*w.Cols+k] {
						continue
					}
					v := float64(w.Row(i)[k])
					u := max(0, min(15, math.RoundToEven(v/scale+zeros[g])))
					d := v - (u-zeros[g])*scale
					sums[i] += math.Abs(d)
					e := max(0, math.Abs(d)-math.Pow(math.Abs(d), p-1)/beta)
					sum += u - (v-math.Copysign(e, d))/scale
					n++
				}
				next[g] = sum / float64(max(n, 1))
			}
			return nil
		})
		var sum float64
		for _, v := range sums {
			sum += v
		}
		if !(sum < least) {
			break
		}
		best, least = zeros, sum
		zeros, next = next, make([]float64, len(grids))
		beta *= 1.01
	}
	for i := range grids {
		if g := &grids[i]; g.Scale > 0 {
			g.setOffset(-best[i] * g.Scale)
			if math.IsInf(g.Offset, 0) {
				return fmt.Errorf("offset %g exceeds half precision", -best[i]*g.Scale)
			}
		}
	}
	return nil
}
