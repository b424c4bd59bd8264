package quant

import "math"

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
	// Trellis is a trellis code of 2 to 4 bits with a scale for each row (QTIP, Tseng
	// et al. 2024, arXiv:2406.11235): the codes of a tile of 16x16 weights are read as
	// one string, and the last bits of it up to a weight are the state that its value is
	// computed from. See NewTrellis.
	Trellis
	// NVINT4 has the integers ±7 in place of E2M1, and is otherwise NVFP4 with 7 in place
	// of 6 (Cook et al. 2025, arXiv:2512.02010; Chen et al. 2025, arXiv:2510.25602).
	NVINT4
	// MXINT4 has the integers ±7, groups of 32 and E8M0 scales: in units of the largest
	// power of two up to max|w|, levels are multiples of 1/4 up to 7/4.
	MXINT4
	// SEQ4 has 16 levels ±α/16, ±3α/16 ... ±15α/16 without a zero (ParetoQ, Liu et al.
	// 2025, arXiv:2502.02631), and half-precision scales α/8, α being max|w|.
	SEQ4
	// QoQ4 has affine codes of 4 bits whose scales are whole numbers below int8 rows
	// (QServe, Lin et al. 2024, arXiv:2405.04532): with a half-precision step s = max|row|/119
	// for each row, ŵ = (u-zero)·m·s with m a byte for each group. (u-zero)·m is within
	// ±127, so that a kernel can multiply int8 by int8. The authors round weights to s
	// before they find codes; here codes are the nearest to the weights.
	QoQ4
	// MXINT8 has the integers ±127, groups of 32 and E8M0 scales: MXINT4 with multiples of
	// 1/64 up to 127/64.
	MXINT8
	// FP8Weights has E4M3 numbers up to 448, and half-precision scales max|w|/448. A code
	// is the number.
	FP8Weights
	// MXFP8 has E4M3 numbers, groups of 32 and E8M0 scales by the rule of MXFP4.
	MXFP8
	// FP6 has E3M2 numbers up to 28, and half-precision scales max|w|/28 (FP6-LLM, Xia et
	// al. 2024, arXiv:2401.14112). A code is the number.
	FP6
	// FP6E2M3 has E2M3 numbers up to 7.5, and scales as FP6.
	FP6E2M3
	// IntScale4 has symmetric codes of 4 bits and scales that are whole numbers of 16 bits
	// over one amplifier of the matrix, a power of two (Integer Scale, Li et al. 2024,
	// arXiv:2405.14597), so that a kernel sums groups in int32 and multiplies by a float
	// once. The amplifier is 1024, or the least power of two above it for which no scale
	// rounds below 1; a row whose sum could exceed int32 with int8 inputs is an error.
	IntScale4
	// AnyFew is Any4 with a table of 8 or 4 levels, for codes of 3 or 2 bits.
	AnyFew
	// Power4 has the levels ±(|q|/7)^(1/a) of the integers ±7, and half-precision scales
	// max|w| (PowerQuant and NUPES, Yvinec et al. 2023, arXiv:2301.09858, arXiv:2308.05600). The
	// exponent a belongs to the matrix: of .5, .55 ... 1 that of least error. NUPES learns it
	// with the network.
	Power4
	// FireQ4 has symmetric codes of 4 bits, E4M3 scales in a byte, and one float32 scale of the
	// matrix, max|W|/448 (FireQ, arXiv:2505.20839): a code times the scale of its group is
	// rounded to E4M3 itself, so that a kernel can multiply FP8 by FP8. The authors use
	// the code -8 as well.
	FireQ4
	// SDR4 has integers ±7 shifted by up to 4 bits below int8 rows (QRazor's significant data
	// razoring, arXiv:2501.13331): with a half-precision step max|row|/127 for each row, the
	// scale of a group is the least step·2^shift under which its largest weight, in whole
	// steps, is at most 7. Codes are the nearest to the weights. A shift is stored in 4 bits.
	SDR4
	// HQQ4 has codes of 4 bits with half-precision scale (max-min)/15 and offset, found by
	// half-quadratic splitting (Badri and Shaji 2023; see grid.HQQ): ŵ = u·scale + offset.
	HQQ4
	// IF4 is NVFP4 in which the sign bit of a group's scale, unused there, says that its codes
	// are the integers ±7 times 6/7 in place of E2M1 numbers, where that loses less (IF4,
	// arXiv:2603.28765). A code is the rank of its level.
	IF4
	// MXFP6 has E3M2 numbers up to 28, groups of 32 and E8M0 scales by the rule of MXFP4.
	MXFP6
	// MXFP6E2M3 has E2M3 numbers up to 7.5, and scales as MXFP6.
	MXFP6E2M3
	// FP8E5M2 has E5M2 numbers up to 57344, and half-precision scales max|w|/57344.
	FP8E5M2
	// Codebook has vectors of weights, which are consecutive rows of one column, as codes
	// of 2 to 4 bits for each weight of a vector (VPTQ, Liu et al. 2024, arXiv:2409.17066):
	// indices into a codebook, and into a second one of what the first leaves. A codebook
	// belongs to the matrix, or to Format.Group of its columns. See NewCodebook.
	Codebook
	// Pairs has pairs of weights along a row in 4 bits each, with outliers (OliVe, Guo et al.
	// 2023, arXiv:2304.07493): the code Victim says that a weight is 0 and its partner an
	// outlier, whose 4 bits are a number of two bits of exponent and one of mantissa. The
	// scale of a group is the border between normal weights and outliers, in half
	// precision. See PairLevels.
	Pairs
	// AdaDim has affine integers of 2 to 4 bits whose groups, with half-precision scales and
	// zeros as Integer has them, lie along K in a row or along N in a column, as the matrix
	// says (AdaDim, Heo et al. 2023, arXiv:2309.15531). See NewAdaDim.
	AdaDim
)

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

// Decode returns the level of a stored code; that of the highest code for one that is
// never stored.
func (l *Levels) Decode(code uint8) float64 {
	if l.rank != nil {
		code = l.rank[code]
	}
	return l.Value[min(int(code), len(l.Value)-1)]
}

// Stored returns the stored code of a rank.
func (l *Levels) Stored(rank uint8) uint8 {
	if l.Wire != nil {
		return l.Wire[rank]
	}
	return rank
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

// normal are the levels of NF4.
var normal = NewLevels(nf4[:])

// e2m1 are the levels of E2M1; ties go to the even mantissa.
var e2m1 = func() *Levels {
	l := signed([]float64{0, .5, 1, 1.5, 2, 3, 4, 6}, []uint8{0, 1, 2, 3, 4, 5, 6, 7})
	l.ties(func(i int) bool { return l.Wire[i+1]&1 == 0 })
	return l
}()

// int7 are the integers ±7; ties go to the even one.
var int7 = func() *Levels {
	l := signed([]float64{0, 1, 2, 3, 4, 5, 6, 7}, []uint8{0, 1, 2, 3, 4, 5, 6, 7})
	l.ties(func(i int) bool { return i%2 == 0 }) // level i+1 is i-6
	return l
}()

// int127 are the integers ±127; ties go to the even one.
var int127 = func() *Levels {
	v := make([]float64, 255)
	for u := range v {
		v[u] = float64(u) - 127
	}
	l := NewLevels(v)
	l.ties(func(i int) bool { return i%2 == 0 }) // level i+1 is i-126
	return l
}()

// The levels of small floating-point numbers.
var (
	e4m3 = floatLevels(4, 3, 448)
	e3m2 = floatLevels(3, 2, 28)
	e2m3 = floatLevels(2, 3, 7.5)
	e5m2 = floatLevels(5, 2, 57344)
)

// floatLevels are the numbers with a sign, so many bits of exponent and of mantissa, up
// to top: a code is the number, minus zero counts as zero, ties go to an even mantissa.
func floatLevels(exponent, mantissa int, top float64) *Levels {
	bias := 1<<(exponent-1) - 1
	magnitude := func(c int) float64 {
		e, m := c>>mantissa, float64(c&(1<<mantissa-1))
		if e == 0 {
			return math.Ldexp(m, 1-bias-mantissa)
		}
		return math.Ldexp(m+float64(int(1)<<mantissa), e-bias-mantissa)
	}
	n, sign := 0, 1<<(exponent+mantissa)
	for n+1 < sign && magnitude(n+1) <= top {
		n++
	}
	value, wire, rank := make([]float64, 2*n+1), make([]uint8, 2*n+1), make([]uint8, 2*sign)
	for c := range n + 1 {
		value[n-c], wire[n-c] = -magnitude(c), uint8(c+sign)
		value[n+c], wire[n+c] = magnitude(c), uint8(c)
	}
	for r, c := range wire {
		rank[c] = uint8(r)
	}
	rank[sign] = uint8(n)           // minus zero
	for c := n + 1; c < sign; c++ { // codes of no number are never stored
		rank[c], rank[c+sign] = uint8(2*n), 0
	}
	l := NewLevels(value)
	l.Wire, l.rank = wire, rank
	l.ties(func(i int) bool { return wire[i+1]&1 == 0 })
	return l
}

// seq4 are the levels of SEQ4 in units of their step.
var seq4 = func() *Levels {
	v := make([]float64, 16)
	for u := range v {
		v[u] = float64(u) - 7.5
	}
	l := NewLevels(v)
	l.ties(func(i int) bool { return i%2 == 1 }) // as the nearest even whole number, less a half
	return l
}()

// bnbFP4 are bitsandbytes' levels of FP4.
var bnbFP4 = func() *Levels {
	levels := []float64{0, .0625, 2, 3, 4, 6, 8, 12}
	for i := range levels {
		levels[i] = float64(float32(levels[i] / 12))
	}
	return signed(levels, []uint8{0, 1, 6, 7, 4, 5, 2, 3})
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
