package quant

import (
	"math"

	"github.com/mosaicquant/mosaicquant/internal/half"
)

// row is all there is to know about the storage of a kind of format. A new format is
// one row of rows; how its grids are fitted is a row of the table in quant/grid, which
// a format of constant levels and half-precision scales does not need.
type row struct {
	name     string
	numbered bool // the number of bits is part of its name: int4b
	// least and most are the widths of its codes.
	least, most int
	zeros       zeroRule
	group       int     // prescribed size of groups; 0: any
	levels      *Levels // constant levels; nil: integers, or those of a row
	scaling             // how scales are stored
	// table sets t[u] to the value of the stored code u in row n; nil: (u-zero)·scale.
	table func(p *Packed, t *[16]float32, n int, scale, offset float64)
	// load decodes a tile of a matrix whose codes do not stand for weights one by one;
	// nil: by table.
	load func(p *Packed, dst Matrix, n0, k0 int)
	// tile is what K must be divisible by; 0: nothing.
	tile int
	// perRow says that there is one scale for each row, whatever is asked for, and
	// unnamed that no file asks for the format by name.
	perRow, unnamed bool
	// valid reports arrays that belong to no matrix; nil: all do.
	valid func(p *Packed) error
}

// scaling is how the scales of a format are stored; several formats have the same.
type scaling struct {
	of Scaling
	// arrays returns how many elements of each array n rows of groups have.
	arrays func(f Format, n, groups int) counts
	// scaleBits and zeroBits are the widths of the codes in Packed.ScaleBytes and
	// Packed.Zeros, rows of which begin on a byte; zeroBits 0: those of the format.
	scaleBits, zeroBits int
	// sharedRows is how many consecutive rows share scales of the second level.
	sharedRows int
	// scale decodes scale and offset of group g of row n.
	scale func(p *Packed, n, g, groups int) (scale, offset float64)
	// validScale says which bytes are scales; nil: all.
	validScale func(b byte) bool
	// mean says that Tensor begins with a mean, which may be negative.
	mean bool
}

// Scaling names how the scales of a format are stored, for kernels that decode them.
type Scaling uint8

const (
	OtherScaling   Scaling = iota // in a way that only the kind itself knows
	HalfScaling                   // Packed.Scales in half precision; affine integers have Packed.Zeros beside them
	E8M0Scaling                   // Packed.ScaleBytes, powers of two
	E4M3Scaling                   // Packed.ScaleBytes, E4M3 numbers times Packed.Tensor[0]
	DoubleScaling                 // Packed.ScaleBytes and Packed.Tensor; see DoubleDecode
	BilevelScaling                // codes in Packed.ScaleBytes and Packed.Zeros, and Packed.Second; see BilevelDecode
	OffsetScaling                 // Packed.Scales and Packed.Offsets in half precision
	WholeScaling                  // Packed.Scales are whole numbers, times Packed.Tensor[0]
	QoQScaling                    // whole numbers in Packed.ScaleBytes times Packed.Second of the row, and Packed.Zeros
	ChoiceScaling                 // E4M3Scaling, and in the bit IntegerChoice which levels a group has
	ShiftScaling                  // Packed.Second of the row times powers of two, exponents of 4 bits in Packed.ScaleBytes
)

// zeroRule says whether a format stores a zero or an offset for each group.
type zeroRule uint8

const (
	symmetric zeroRule = iota
	affine
	either
)

// counts are the elements of the arrays of a Packed, codes apart; anyCount: as many as
// valid accepts.
type counts struct{ scales, scaleBytes, zeros, offsets, tables, second, tensor int }

const anyCount = -1

// rows is the table of formats, by Kind.
var rows = []row{
	Integer: {name: "int", numbered: true, least: 2, most: 8, zeros: either, scaling: integerScales},
	NF4:     {name: "nf4", least: 4, most: 4, levels: normal, scaling: halfScales, table: levelTable(normal)},
	FP4:     {name: "fp4", least: 4, most: 4, levels: e2m1, scaling: halfScales, table: levelTable(e2m1)},
	BnbFP4:  {name: "bnbfp4", least: 4, most: 4, levels: bnbFP4, scaling: halfScales, table: levelTable(bnbFP4)},
	MXFP4:   {name: "mxfp4", least: 4, most: 4, group: 32, levels: e2m1, scaling: e8m0Scales, table: levelTable(e2m1)},
	NVFP4:   {name: "nvfp4", least: 4, most: 4, group: 16, levels: e2m1, scaling: e4m3Scales, table: levelTable(e2m1)},
	Any4: {name: "any4", least: 4, most: 4, zeros: affine, scaling: offsetScales,
		table: func(p *Packed, t *[16]float32, n int, scale, offset float64) {
			for u := range t {
				t[u] = float32(float64(half.FromF16(p.Tables[n*16+u]))*scale + offset)
			}
		}},
	Bilevel: {name: "int", numbered: true, least: 2, most: 4, zeros: affine, scaling: bilevelScales,
		table: func(p *Packed, t *[16]float32, _ int, scale, offset float64) {
			for u := range 1 << p.Format.Bits {
				t[u] = float32(float64(u)*scale + offset)
			}
		}},
	NF4DQ: {name: "nf4dq", least: 4, most: 4, levels: normal, scaling: doubleScales, table: levelTable(normal)},
	Trellis: {name: "trellis", unnamed: true, perRow: true, least: 2, most: 4, tile: TrellisTile,
		load: (*Packed).loadTrellis,
		scaling: scaling{scale: halfScale,
			arrays: func(_ Format, n, groups int) counts { return counts{scales: n * groups, tables: 2} }},
		valid: func(p *Packed) error {
			return checkTrellis(p.N, p.K, p.Format.Bits, int(p.Tables[0]), int(p.Tables[1]))
		}},
	NVINT4: {name: "nvint4", least: 4, most: 4, group: 16, levels: int7, scaling: e4m3Scales, table: levelTable(int7)},
	MXINT4: {name: "mxint4", least: 4, most: 4, group: 32, levels: int7, scaling: e8m0Scales, table: levelTable(int7)},
	SEQ4:   {name: "seq4", least: 4, most: 4, levels: seq4, scaling: halfScales, table: levelTable(seq4)},
	MXINT8: {name: "mxint8", least: 8, most: 8, group: 32, levels: int127, scaling: e8m0Scales,
		load: levelLoad(int127, e8m0Scale)},
	FP8Weights: {name: "fp8", least: 8, most: 8, levels: e4m3, scaling: halfScales, load: levelLoad(e4m3, halfScale)},
	MXFP8: {name: "mxfp8", least: 8, most: 8, group: 32, levels: e4m3, scaling: e8m0Scales,
		load: levelLoad(e4m3, e8m0Scale)},
	FP6:     {name: "fp6", least: 6, most: 6, levels: e3m2, scaling: halfScales, load: levelLoad(e3m2, halfScale)},
	FP6E2M3: {name: "fp6e2m3", least: 6, most: 6, levels: e2m3, scaling: halfScales, load: levelLoad(e2m3, halfScale)},
	IntScale4: {name: "intscale4", least: 4, most: 4, scaling: wholeScales,
		table: func(_ *Packed, t *[16]float32, _ int, scale, _ float64) {
			for u := range t {
				t[u] = float32(float64(u-8) * scale)
			}
		}},
	QoQ4: {name: "qoq4", least: 4, most: 4, zeros: affine, scaling: qoqScales,
		table: func(_ *Packed, t *[16]float32, _ int, scale, offset float64) {
			zero := 0.0
			if scale > 0 {
				zero = math.Round(-offset / scale)
			}
			for u := range t {
				t[u] = float32((float64(u) - zero) * scale)
			}
		}},
	AnyFew: {name: "any", numbered: true, least: 2, most: 3, zeros: affine, scaling: tableScales,
		table: func(p *Packed, t *[16]float32, n int, scale, offset float64) {
			for u := range 1 << p.Format.Bits {
				t[u] = float32(float64(half.FromF16(p.Tables[n<<p.Format.Bits+u]))*scale + offset)
			}
		}},
	Power4: {name: "power4", least: 4, most: 4, scaling: powerScales,
		table: func(p *Packed, t *[16]float32, _ int, scale, _ float64) {
			for u, v := range PowerLevels(float64(p.Tensor[0])).Value {
				t[u] = float32(v * scale)
			}
		}},
	FireQ4: {name: "fireq4", least: 4, most: 4, scaling: fireScales,
		table: func(p *Packed, t *[16]float32, _ int, scale, _ float64) {
			if scale > 0 {
				for u, v := range FireLevels(half.ToE4M3(scale / float64(p.Tensor[0]))).Value {
					t[u] = float32(v * scale)
				}
			}
		}},
	SDR4: {name: "sdr4", least: 4, most: 4, scaling: shiftScales,
		table: func(_ *Packed, t *[16]float32, _ int, scale, _ float64) {
			for u := range t {
				t[u] = float32(float64(u-8) * scale)
			}
		}},
	IF4: {name: "if4", least: 4, most: 4, group: 16, scaling: choiceScales, load: loadChoice},
	MXFP6: {name: "mxfp6", least: 6, most: 6, group: 32, levels: e3m2, scaling: e8m0Scales,
		load: levelLoad(e3m2, e8m0Scale)},
	MXFP6E2M3: {name: "mxfp6e2m3", least: 6, most: 6, group: 32, levels: e2m3, scaling: e8m0Scales,
		load: levelLoad(e2m3, e8m0Scale)},
	FP8E5M2: {name: "fp8e5m2", least: 8, most: 8, levels: e5m2, scaling: halfScales, load: levelLoad(e5m2, halfScale)},
	Codebook: {name: "codebook", unnamed: true, least: 2, most: 4, load: (*Packed).loadCodebook, valid: validCodebook,
		scaling: scaling{
			arrays: func(Format, int, int) counts { return counts{scales: anyCount, tables: anyCount} },
			scale: func(p *Packed, n, _, _ int) (scale, offset float64) {
				if len(p.Scales) == 0 {
					return 1, 0
				}
				return float64(half.FromF16(p.Scales[n])), 0
			}}},
	Pairs: {name: "pairs", unnamed: true, least: 4, most: 4, tile: 2, load: (*Packed).loadPairs, valid: validPairs,
		scaling: scaling{scale: halfScale,
			arrays: func(_ Format, n, groups int) counts { return counts{scales: n * groups, tables: 1} }}},
	AdaDim: {name: "adadim", unnamed: true, least: 2, most: 4, zeros: affine, load: (*Packed).loadAdaDim, valid: validAdaDim,
		scaling: scaling{scale: halfScale, // of groups along rows, which residuals would follow
			arrays: func(Format, int, int) counts { return counts{scales: anyCount, zeros: anyCount, tables: 1} }}},
	HQQ4: {name: "hqq4", least: 4, most: 4, zeros: affine, scaling: realZeros,
		table: func(_ *Packed, t *[16]float32, _ int, scale, offset float64) {
			for u := range t {
				t[u] = float32(float64(u)*scale + offset)
			}
		}},
}

// levelTable scales constant levels.
func levelTable(l *Levels) func(p *Packed, t *[16]float32, n int, scale, offset float64) {
	return func(p *Packed, t *[16]float32, _ int, scale, _ float64) {
		for u := range 1 << p.Format.Bits {
			t[u] = float32(l.Decode(uint8(u)) * scale)
		}
	}
}

// array is one array of a Packed: bytes, half-precision numbers or float32.
type array struct {
	name   string // in errors of the binary form
	item   string // of the ledger
	bytes  *[]byte
	halves *[]uint16
	floats *[]float32
	count  int // elements it must have, or anyCount
}

// arrays are all arrays of p in the order of the binary form.
func (p *Packed) arrays() []array {
	_, groups := p.Format.Groups(p.K)
	c := p.Format.Kind.row().arrays(p.Format, p.N, groups)
	return []array{
		{name: "codes", item: "codes", bytes: &p.Codes, count: p.N * PackedLen(p.K, p.Format.Bits)},
		{name: "scales", item: "scales", halves: &p.Scales, count: c.scales},
		{name: "scale bytes", item: "scales", bytes: &p.ScaleBytes, count: c.scaleBytes},
		{name: "zeros", item: "zeros", bytes: &p.Zeros, count: c.zeros},
		{name: "offsets", item: "zeros", halves: &p.Offsets, count: c.offsets},
		{name: "tables", item: "tables", halves: &p.Tables, count: c.tables},
		{name: "second-level scales", item: "second-level scales", halves: &p.Second, count: c.second},
		{name: "tensor scale", item: "second-level scales", floats: &p.Tensor, count: c.tensor},
	}
}

// size is the length of a in bytes.
func (a *array) size() int {
	switch {
	case a.bytes != nil:
		return len(*a.bytes)
	case a.halves != nil:
		return 2 * len(*a.halves)
	}
	return 4 * len(*a.floats)
}

// NewPacked returns a matrix [n,k] whose arrays are zero; those that f does not have
// are nil.
func NewPacked(n, k int, f Format) *Packed {
	p := &Packed{N: n, K: k, Format: f}
	for _, a := range p.arrays() {
		switch {
		case a.count <= 0:
		case a.bytes != nil:
			*a.bytes = make([]byte, a.count)
		case a.halves != nil:
			*a.halves = make([]uint16, a.count)
		default:
			*a.floats = make([]float32, a.count)
		}
	}
	return p
}

// check reports numbers that no matrix of the format stores.
func (p *Packed) check(fail func(format string, args ...any)) {
	r := p.Format.Kind.row()
	for i, b := range p.ScaleBytes {
		if r.validScale != nil && !r.validScale(b) {
			fail("scale %d is the byte %#x, which is no scale", i, b)
		}
	}
	for i, v := range p.Tensor {
		if mean := r.mean && i == 0; !(v >= 0 || mean && v-v == 0) || v > math.MaxFloat32/2600 {
			fail("tensor scale %g is not a scale", v)
		}
	}
}

func (k Kind) row() *row { return &rows[k] }

// Levels are the levels of a kind, ascending; nil where they are not constant.
func (k Kind) Levels() *Levels { return k.row().levels }

// FixedGroup is the group size that a kind prescribes, 0 for none.
func (k Kind) FixedGroup() int { return k.row().group }

// SharedRows is how many consecutive rows share scales of a second level; 1 where
// there are none.
func (f Format) SharedRows() int { return max(1, f.Kind.row().sharedRows) }

// Scaling says how scales of f are stored.
func (f Format) Scaling() Scaling { return f.Kind.row().of }

// ScaleBits and ZeroBits are the widths of the codes in ScaleBytes and Zeros of a
// Packed.
func (f Format) ScaleBits() int { return f.Kind.row().scaleBits }

func (f Format) ZeroBits() int {
	if b := f.Kind.row().zeroBits; b > 0 {
		return b
	}
	return f.Bits
}
