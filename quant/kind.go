package quant

import (
	"math"
	"slices"
)

// Kind is a family of grids. ŵ = level(u)·scale, plus an offset where said.
type Kind uint8

const (
	Integer Kind = iota
	// NF4 has the 16 quantiles of a normal distribution of QLoRA (Dettmers et
	// al. 2023, arXiv:2305.14314) over ±1; scale max|w|. Codes are bitsandbytes'
	// indices, which ascend. With QLoRA's double quantization of scales it is NF4DQ.
	NF4
	// FP4 has the levels of E2M1, ±{0, .5, 1, 1.5, 2, 3, 4, 6}, and half-precision
	// scales max|w|/6. A code is the E2M1 number: sign, two bits of exponent, one
	// of mantissa. Ties go to the even mantissa.
	FP4
	// BnbFP4 is what bitsandbytes calls FP4, which is not E2M1: magnitudes {0,
	// 1/16, 2, 3, 4, 6, 8, 12}/12, scale max|w|. Codes are those of bitsandbytes.
	BnbFP4
	// MXFP4 has E2M1 codes, groups of 32 and E8M0 scales (powers of two) in a
	// byte: OCP Microscaling Formats 1.0. AbsMax is the rule given there,
	// 2^(floor(log2 max|w|)-2), which clips weights above 6 scales.
	MXFP4
	// NVFP4 has E2M1 codes, groups of 16, E4M3 scales in a byte, and one float32
	// tensor scale d = max|W|/(6·448): the scale of a group is d·E4M3(max|w|/(6d)).
	NVFP4
	// Any4 has a table of 16 half-precision levels for each row, found by weighted
	// k-means over the row's weights scaled to their group (Elhoushi and Johnson
	// 2025, arXiv:2507.04610): ŵ = α·table[u] + offset with half-precision α =
	// (max-min)/15 and offset min+8α for each group. The authors keep bfloat16.
	Any4
	// Bilevel is SpQR's affine integer grid (Dettmers et al. 2023,
	// arXiv:2306.03078): scale and real zero of a group are codes of 3 bits; 16
	// consecutive rows share their half-precision step and base at each group.
	Bilevel
	// NF4DQ is NF4 with QLoRA's double quantization, 8.125 bits for a scale in
	// place of 16: a byte for the scale of each group, a float32 for 256 of them and
	// one for their mean. bitsandbytes finds the codes of weights with the scales of
	// before, not with the rounded ones.
	NF4DQ
)

var kindNames = [...]string{"", "nf4", "fp4", "bnbfp4", "mxfp4", "nvfp4", "any4", "b", "nf4dq"}

// FixedGroup is the group size that a kind prescribes, 0 for none.
func (k Kind) FixedGroup() int {
	switch k {
	case MXFP4:
		return 32
	case NVFP4:
		return 16
	}
	return 0
}

// byteScales says that scales are bytes in place of half-precision numbers.
func (k Kind) byteScales() bool { return k == MXFP4 || k == NVFP4 }

// Levels is an ascending table of levels. In memory a code is its rank there.
type Levels struct {
	Value []float64
	// x is nearer to level i+1 than to i where it is above pass[i], halfway
	// between them or, where ties go up, the float64 before that; infinities fill
	// pass up to one less than a power of two.
	pass  []float64
	pass4 *[16]float64 // the same and one more infinity, for up to 16 levels
	Zero  uint8        // rank of the level nearest to 0
	Wire  []uint8      // stored code of a rank; nil: the rank
	rank  []uint8      // of a stored code
}

func NewLevels(value []float64) *Levels {
	l := &Levels{Value: value}
	l.ties(func(int) bool { return false })
	for i, v := range value {
		if math.Abs(v) < math.Abs(value[l.Zero]) {
			l.Zero = uint8(i)
		}
	}
	return l
}

// ties says of each pair of levels i and i+1 whether a tie goes to the upper one.
func (l *Levels) ties(up func(i int) bool) {
	size := 15
	for size < len(l.Value)-1 {
		size = 2*size + 1
	}
	l.pass = make([]float64, size+1)
	for i := range l.pass {
		if l.pass[i] = math.Inf(1); i+1 < len(l.Value) {
			l.pass[i] = (l.Value[i] + l.Value[i+1]) / 2
			if up(i) {
				l.pass[i] = math.Nextafter(l.pass[i], math.Inf(-1))
			}
		}
	}
	if size == 15 {
		l.pass4 = (*[16]float64)(l.pass)
	}
	l.pass = l.pass[:size]
}

// Nearest returns the rank of the level nearest to x, 0 for NaN. Its binary search
// adds up comparisons and has no branches to mispredict: which way it goes is close
// to random.
func (l *Levels) Nearest(x float64) uint8 {
	if p := l.pass4; p != nil {
		n := 8 * above(x, p[7])
		n += 4 * above(x, p[(n+3)&15])
		n += 2 * above(x, p[(n+1)&15])
		return uint8(n + above(x, p[n&15]))
	}
	n := 0
	for step := (len(l.pass) + 1) / 2; step > 0; step /= 2 {
		n += step * above(x, l.pass[n+step-1])
	}
	return uint8(n)
}

// above is 1 where x > p, else 0.
func above(x, p float64) int {
	if x > p {
		return 1
	}
	return 0
}

// signed returns the levels ±magnitudes, 0 the first, whose codes are a sign bit
// above the three bits of code.
func signed(magnitudes []float64, code []uint8) *Levels {
	n := len(magnitudes) - 1
	value, wire := make([]float64, 2*n+1), make([]uint8, 2*n+1)
	rank := make([]uint8, 16)
	for i, m := range magnitudes {
		value[n-i], wire[n-i] = -m, code[i]|8
		value[n+i], wire[n+i] = m, code[i]
	}
	for r, c := range wire {
		rank[c] = uint8(r)
	}
	rank[code[0]|8] = uint8(n) // minus zero
	l := NewLevels(value)
	l.Wire, l.rank = wire, rank
	return l
}

// FixedLevels are the levels of kinds, nil where they are not constant.
var FixedLevels = func() [NF4DQ + 1]*Levels {
	e2m1 := signed([]float64{0, .5, 1, 1.5, 2, 3, 4, 6}, []uint8{0, 1, 2, 3, 4, 5, 6, 7})
	e2m1.ties(func(i int) bool { return e2m1.Wire[i+1]&1 == 0 })
	bnb := []float64{0, .0625, 2, 3, 4, 6, 8, 12}
	for i := range bnb {
		bnb[i] = float64(float32(bnb[i] / 12))
	}
	return [...]*Levels{
		NF4:     NewLevels(slices.Clone(nf4[:])),
		FP4:     e2m1,
		BnbFP4:  signed(bnb, []uint8{0, 1, 6, 7, 4, 5, 2, 3}),
		MXFP4:   e2m1,
		NVFP4:   e2m1,
		Bilevel: nil,
		NF4DQ:   NewLevels(slices.Clone(nf4[:])),
	}
}()

// nf4 are bitsandbytes' float32 levels: quantiles of the standard normal
// distribution, 8 evenly spaced in probability from .5 to .9677083 on the
// positive and 7 on the negative side, over the largest of them, and 0.
var nf4 = [16]float64{
	-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
	-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0,
	0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
	0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
}
