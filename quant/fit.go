package quant

import (
	"fmt"
	"math"
)

// grid is the fitted grid of one group: ŵ = (u - zero)·scale.
type grid struct {
	bits  uint16  // scale as stored
	scale float64 // value of bits
	zero  int
	lo    int // smallest and largest u
	hi    int
}

// code returns the code nearest to w, ties to even. A zero scale has only the
// zero to offer.
func (g *grid) code(w float64) uint8 {
	if g.scale == 0 {
		return uint8(g.zero)
	}
	u := math.RoundToEven(w/g.scale) + float64(g.zero)
	// Go's float-to-int conversion of huge values is not defined: clamp first.
	return uint8(max(float64(g.lo), min(float64(g.hi), u)))
}

func (g *grid) value(u uint8) float64 { return float64(int(u)-g.zero) * g.scale }

// fitter finds the grids of groups.
type fitter struct {
	format Format
	scale  Scale
}

// fit returns the grid for the weights w of one group. h [len(w)] are the
// diagonal second moments of its columns, used by SearchHessian only; skip,
// where not nil, marks weights that do not count. It reports a scale that half
// precision cannot hold.
func (f fitter) fit(w []float32, h []float64, skip []bool) (grid, error) {
	var lo, hi float64
	for i, x := range w {
		if skip == nil || !skip[i] {
			lo, hi = min(lo, float64(x)), max(hi, float64(x))
		}
	}
	best, err := f.grid(lo, hi)
	if err != nil || f.scale.Rule == AbsMax || best.scale == 0 {
		return best, err
	}
	least := math.Inf(1)
	for i := range 80 {
		p := 1 - float64(i)/100
		g, err := f.grid(lo*p, hi*p)
		if err != nil {
			return g, err
		}
		if e := f.loss(&g, w, h, skip, least); e < least {
			least, best = e, g
		}
	}
	return best, nil
}

// grid spans lo..hi, lo <= 0 <= hi.
func (f fitter) grid(lo, hi float64) (grid, error) {
	g := grid{lo: f.format.lowest(), hi: f.format.highest(), zero: f.format.offset()}
	s := max(-lo, hi) / float64(f.format.offset()-1)
	if f.format.Affine {
		s = (hi - lo) / float64(g.hi)
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
func (f fitter) loss(g *grid, w []float32, h []float64, skip []bool, limit float64) float64 {
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
		case f.scale.Norm == 2:
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
