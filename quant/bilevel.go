package quant

import "math"

// Rows that share a second level, and the width of a code of the first.
const (
	bilevelRows = 16
	bilevelBits = 3
)

// bilevel rounds scales and zeros of the fitted groups of all rows to the codes
// of their second level: each is base + step·code over 16 rows.
func bilevel(p Problem, rows int, grids []grid) error {
	count := len(grids) / rows
	return parallel(ceilDiv(rows, bilevelRows)*count, func(b int) error {
		first, g := b/count*bilevelRows, b%count
		end := min(first+bilevelRows, rows)
		scale, zero := make([]float64, 0, bilevelRows), make([]float64, 0, bilevelRows)
		for i := first; i < end; i++ {
			gr := &grids[i*count+g]
			scale = append(scale, gr.scale)
			z := 0.0
			if gr.scale > 0 {
				z = -gr.offset / gr.scale
			}
			zero = append(zero, z)
		}
		second := new([4]uint16)
		scaleCode := secondLevel(scale, second[:2])
		zeroCode := secondLevel(zero, second[2:])
		if second[0]&0x7c00 == 0x7c00 || second[1]&0x7c00 == 0x7c00 {
			return p.errorf("rows %d to %d, group %d: scales exceed half precision", first, end-1, g)
		}
		for i := first; i < end; i++ {
			gr := &grids[i*count+g]
			gr.second, gr.bits, gr.offsetBits = second, uint16(scaleCode[i-first]), uint16(zeroCode[i-first])
			gr.scale, gr.offset = bilevelDecode(second[:], scaleCode[i-first], zeroCode[i-first])
		}
		return nil
	})
}

// secondLevel quantizes v to base + step·code and stores step and base.
func secondLevel(v []float64, store []uint16) []uint8 {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, x := range v {
		lo, hi = min(lo, x), max(hi, x)
	}
	const top = 1<<bilevelBits - 1
	store[0], store[1] = toF16(float32((hi-lo)/top)), toF16(float32(lo))
	step, base := float64(fromF16(store[0])), float64(fromF16(store[1]))
	codes := make([]uint8, len(v))
	for i, x := range v {
		if step > 0 {
			codes[i] = uint8(max(0, min(top, math.RoundToEven((x-base)/step))))
		}
	}
	return codes
}

// bilevelDecode returns scale and offset of a group, as float32 numbers.
func bilevelDecode(second []uint16, scaleCode, zeroCode uint8) (scale, offset float64) {
	at := func(s []uint16, code uint8) float64 {
		return float64(fromF16(s[1])) + float64(code)*float64(fromF16(s[0]))
	}
	scale = float64(float32(at(second[:2], scaleCode)))
	return scale, float64(float32(-at(second[2:], zeroCode) * scale))
}
