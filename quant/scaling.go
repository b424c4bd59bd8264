package quant

import "github.com/mosaicquant/mosaicquant/internal/half"

// halfScales has one half-precision scale for each group.
var halfScales = scaling{of: HalfScaling, scale: halfScale,
	arrays: func(_ Format, n, groups int) counts { return counts{scales: n * groups} }}

func halfScale(p *Packed, n, g, groups int) (scale, offset float64) {
	return float64(half.FromF16(p.Scales[n*groups+g])), 0
}

// integerScales is halfScales with the zeros of affine formats.
var integerScales = scaling{of: HalfScaling, scale: halfScale,
	arrays: func(f Format, n, groups int) counts {
		if f.Affine {
			return counts{scales: n * groups, zeros: n * PackedLen(groups, f.Bits)}
		}
		return counts{scales: n * groups}
	}}

// offsetScales has scale and offset in half precision, and 16 levels for each row.
var offsetScales = scaling{of: OffsetScaling,
	arrays: func(_ Format, n, groups int) counts {
		return counts{scales: n * groups, offsets: n * groups, tables: n * 16}
	},
	scale: func(p *Packed, n, g, groups int) (float64, float64) {
		at := n*groups + g
		return float64(half.FromF16(p.Scales[at])), float64(half.FromF16(p.Offsets[at]))
	}}

// tableScales is offsetScales for tables of fewer levels.
var tableScales = scaling{of: OffsetScaling, scale: offsetScales.scale,
	arrays: func(f Format, n, groups int) counts {
		return counts{scales: n * groups, offsets: n * groups, tables: n << f.Bits}
	}}

// realZeros is offsetScales without tables.
var realZeros = scaling{of: OffsetScaling, scale: offsetScales.scale,
	arrays: func(_ Format, n, groups int) counts { return counts{scales: n * groups, offsets: n * groups} }}

// powerScales is halfScales with an exponent for the matrix.
var powerScales = scaling{of: HalfScaling, scale: halfScale,
	arrays: func(_ Format, n, groups int) counts { return counts{scales: n * groups, tensor: 1} }}

// fireScales is e4m3Scales with products that no kernel has.
var fireScales = scaling{scaleBits: 8, validScale: e4m3Scales.validScale, arrays: e4m3Scales.arrays,
	scale: func(p *Packed, n, g, groups int) (float64, float64) {
		return float64(p.Tensor[0]) * half.FromE4M3(p.ScaleBytes[n*groups+g]), 0
	}}

// choiceScales is e4m3Scales with a choice of levels in the sign bit.
var choiceScales = scaling{of: ChoiceScaling, scaleBits: 8, arrays: e4m3Scales.arrays,
	validScale: func(b byte) bool { return b&^IntegerChoice <= 0x7e }, scale: choiceScale}

func choiceScale(p *Packed, n, g, groups int) (scale, offset float64) {
	return float64(float32(float64(p.Tensor[0]) * half.FromE4M3(p.ScaleBytes[n*groups+g]&^IntegerChoice))), 0
}

// shiftScales has a shift of 4 bits for each group, and a half-precision step for each row.
var shiftScales = scaling{of: ShiftScaling, scaleBits: 4,
	arrays: func(_ Format, n, groups int) counts {
		return counts{scaleBytes: n * PackedLen(groups, 4), second: n}
	},
	scale: func(p *Packed, n, g, groups int) (float64, float64) {
		l := PackedLen(groups, 4)
		shift := CodeAt(p.ScaleBytes[n*l:(n+1)*l], g, 4)
		return float64(half.FromF16(p.Second[n])) * float64(int(1)<<shift), 0
	}}

// e8m0Scales has a power of two in a byte for each group.
var e8m0Scales = scaling{of: E8M0Scaling, scaleBits: 8, scale: e8m0Scale,
	validScale: func(b byte) bool { return b <= 127+half.MaxE8M0 },
	arrays:     func(_ Format, n, groups int) counts { return counts{scaleBytes: n * groups} }}

func e8m0Scale(p *Packed, n, g, groups int) (scale, offset float64) {
	return half.FromE8M0(p.ScaleBytes[n*groups+g]), 0
}

// e4m3Scales has an E4M3 number in a byte for each group, in units of one float32.
var e4m3Scales = scaling{of: E4M3Scaling, scaleBits: 8,
	validScale: func(b byte) bool { return b <= 0x7e },
	arrays:     func(_ Format, n, groups int) counts { return counts{scaleBytes: n * groups, tensor: 1} },
	scale: func(p *Packed, n, g, groups int) (float64, float64) {
		return float64(float32(float64(p.Tensor[0]) * half.FromE4M3(p.ScaleBytes[n*groups+g]))), 0
	}}

// bilevelScales has codes of 3 bits for scale and zero of each group, and 4
// half-precision numbers for each group of 16 rows.
var bilevelScales = scaling{of: BilevelScaling, scaleBits: BilevelBits, zeroBits: BilevelBits, sharedRows: BilevelRows,
	arrays: func(_ Format, n, groups int) counts {
		codes := n * PackedLen(groups, BilevelBits)
		return counts{scaleBytes: codes, zeros: codes, second: CeilDiv(n, BilevelRows) * groups * 4}
	},
	scale: func(p *Packed, n, g, groups int) (float64, float64) {
		l := PackedLen(groups, BilevelBits)
		second := p.Second[(n/BilevelRows*groups+g)*4:]
		return BilevelDecode(second[:4],
			CodeAt(p.ScaleBytes[n*l:(n+1)*l], g, BilevelBits), CodeAt(p.Zeros[n*l:(n+1)*l], g, BilevelBits))
	}}

// doubleScales has a byte for each group, a float32 for 256 of them, and one float32
// for their mean.
var doubleScales = scaling{of: DoubleScaling, scaleBits: 8, mean: true,
	arrays: func(_ Format, n, groups int) counts {
		return counts{scaleBytes: n * groups, tensor: 1 + CeilDiv(n*groups, DoubleBlock)}
	},
	scale: func(p *Packed, n, g, groups int) (float64, float64) {
		at := n*groups + g
		return DoubleDecode(p.ScaleBytes[at], p.Tensor[1+at/DoubleBlock], p.Tensor[0]), 0
	}}

// wholeScales has a whole number of 16 bits for each group, in units of one float32.
var wholeScales = scaling{of: WholeScaling,
	arrays: func(_ Format, n, groups int) counts { return counts{scales: n * groups, tensor: 1} },
	scale: func(p *Packed, n, g, groups int) (float64, float64) {
		return float64(p.Scales[n*groups+g]) * float64(p.Tensor[0]), 0
	}}

// qoqScales has a whole number in a byte and a zero of 4 bits for each group, in units
// of a half-precision number for each row.
var qoqScales = scaling{of: QoQScaling, scaleBits: 8, validScale: func(b byte) bool { return b <= 127 },
	arrays: func(_ Format, n, groups int) counts {
		return counts{scaleBytes: n * groups, zeros: n * PackedLen(groups, 4), second: n}
	},
	scale: func(p *Packed, n, g, groups int) (float64, float64) {
		l := PackedLen(groups, 4)
		scale := float64(half.FromF16(p.Second[n])) * float64(p.ScaleBytes[n*groups+g])
		return scale, -float64(CodeAt(p.Zeros[n*l:(n+1)*l], g, 4)) * scale
	}}
