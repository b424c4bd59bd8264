package grid

import (
	"math"

	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
)

const (
	// leastAmplifier is the amplifier of the paper.
	leastAmplifier = 1024
	// intScaleSum is what the scales of a row may add up to: a group of 128 products of
	// ±7 and ±127 takes up to 113792 scales, and int32 ends at 2³¹-1.
	intScaleSum = (1<<31 - 1) / (128 * 7 * 127)
)

// spanIntScale notes the scale of the group until the amplifier is known.
func spanIntScale(_ Fitter, g *Grid, lo, hi float64) error {
	g.Lo, g.Scale = 1, max(-lo, hi)/7
	g.Bits = half.ToF16(float32(g.Scale)) // tells a search whether the scale has changed
	return nil
}

// intScale finds the amplifier, and makes whole numbers of all scales.
func intScale(_ Fitter, p quant.Problem, w quant.Matrix, grids []Grid, _ []bool) error {
	least := math.Inf(1)
	for i := range grids {
		if s := grids[i].Scale; s > 0 {
			least = min(least, s)
		}
	}
	amplifier := float64(leastAmplifier)
	for amplifier*least < .5 {
		amplifier *= 2
	}
	groups := len(grids) / w.Rows
	for i := range w.Rows {
		sum := 0
		for g := range grids[i*groups : (i+1)*groups] {
			gr := &grids[i*groups+g]
			gr.tensor = float32(1 / amplifier)
			gr.Bits, gr.Scale = storableIntScale(gr, gr.Scale)
			sum += int(gr.Bits)
		}
		if sum > intScaleSum {
			return p.Errorf("row %d: whole-number scales add up to %d, and with an amplifier of %g int32 holds %d",
				i, sum, amplifier, intScaleSum)
		}
	}
	return nil
}

// storableIntScale returns the whole number of steps that is nearest to s.
func storableIntScale(g *Grid, s float64) (uint16, float64) {
	if g.tensor == 0 { // until the amplifier is known
		return g.Bits, s
	}
	m := max(0, min(intScaleSum, math.RoundToEven(s/float64(g.tensor))))
	return uint16(m), m * float64(g.tensor)
}

func storeIntScale(p *quant.Packed, grids []Grid) { p.Tensor[0] = grids[0].tensor }
