package quant

import "math"

// doubleBlock is how many scales of NF4DQ share a largest magnitude.
const doubleBlock = 256

// dynamic are the 256 levels of bitsandbytes' signed dynamic map (Dettmers 2015,
// arXiv:1511.04561): 2^i of each sign in the decade from 10^(i-7) to 10^(i-6), i =
// 0..6, each in the middle of one of as many equal parts, and 0 and 1.
var dynamic = func() *levels {
	var values []float64
	for i := 6; i >= 0; i-- {
		n := 1 << i
		for j := n - 1; j >= 0; j-- {
			values = append(values, -dynamicLevel(i, j, n))
		}
	}
	values = append(values, 0)
	for i := range 7 {
		for j := range 1 << i {
			values = append(values, dynamicLevel(i, j, 1<<i))
		}
	}
	return newLevels(append(values, 1))
}()

// dynamicLevel is the middle of part j of n of the decade i.
func dynamicLevel(i, j, n int) float64 {
	return float64(float32(math.Pow10(i-6) * (.1 + .9*(float64(j)+.5)/float64(n))))
}

// double rounds the scales of all fitted groups, row after row, as QLoRA's double
// quantization does: less their mean, to a level of dynamic times the largest
// magnitude of doubleBlock consecutive ones. Mean and magnitudes are float32.
func double(p Problem, grids []grid) error {
	var sum float64
	for i := range grids {
		sum += grids[i].scale
	}
	mean := float32(sum / float64(len(grids)))
	if mean-mean != 0 {
		return p.errorf("mean scale %g exceeds float32", sum/float64(len(grids)))
	}
	for b := 0; b < len(grids); b += doubleBlock {
		block := grids[b:min(b+doubleBlock, len(grids))]
		var m float64
		for i := range block {
			m = max(m, math.Abs(block[i].scale-float64(mean)))
		}
		for i := range block {
			g := &block[i]
			g.mean, g.tensor = mean, float32(m)
			g.bits, g.scale = g.storable(g.scale)
		}
	}
	return nil
}

// doubleDecode returns the scale of a code.
func doubleDecode(code uint8, largest, mean float32) float64 {
	return float64(float32(dynamic.value[code]*float64(largest)) + mean)
}
