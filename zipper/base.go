package zipper

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
)

// head is how a group of the stream stores the scales of its 16 rows, and with
// some formats a second number for each. Kernels decode it to float32 numbers.
type head int

const (
	headHalf      head = iota // 16 half-precision scales
	headUnit                  // the same, each in units of laneUnit
	headAffine                // the same, and 16 zeros of 4 bits
	headBilevel               // 4 half-precision numbers, 16 codes of scales and 16 of zeros, of 3 bits each
	headE8M0                  // 16 E8M0 numbers, in units of laneUnit
	headE4M3                  // 16 E4M3 numbers, in units of laneUnit
	headDouble                // 16 bytes of doubly quantized scales; the panel begins with what they are relative to
	headByteZeros             // headHalf, and 16 zeros of a byte
	headWhole                 // 16 whole numbers of 16 bits, in units of laneWhole
	headRows                  // 16 whole numbers of 8 bits, and 16 zeros of 4; the panel begins with units of its rows
	headOffset                // 16 half-precision scales, and 16 half-precision numbers that are added to all weights
	headChoice                // headE4M3, with the choice of levels of quant.IF4 in the sign bits
	headShift                 // 16 exponents of 2 of 4 bits; the panel begins with what is multiplied, for its rows
)

// heads are those that store scales of each kind; other scales have no kernel. Affine
// integers and levels in half units have heads of their own, see codecOf.
var heads = map[quant.Scaling]head{
	quant.HalfScaling: headHalf, quant.E8M0Scaling: headE8M0, quant.E4M3Scaling: headE4M3,
	quant.DoubleScaling: headDouble, quant.BilevelScaling: headBilevel, quant.WholeScaling: headWhole,
	quant.QoQScaling: headRows, quant.OffsetScaling: headOffset,
	quant.ShiftScaling: headShift, quant.ChoiceScaling: headChoice,
}

// bytes is the size of a head.
func (h head) bytes() int {
	return [...]int{2 * panelRows, 2 * panelRows, 2*panelRows + 8, 8 + 6 + 6, panelRows, panelRows, panelRows,
		3 * panelRows, 2 * panelRows, panelRows + 8, 4 * panelRows, panelRows, panelRows / 2}[h]
}

// offset says that weights of a group have a constant in common beside their
// scale, w = scale·(level - zero): it meets the sum of the activations.
func (h head) offset() bool {
	return h == headAffine || h == headBilevel || h == headByteZeros || h == headRows || h == headOffset
}

// codec is how a base is laid out: the head of its groups, and what the nibbles
// that follow stand for.
type codec struct {
	head head
	// A nibble is the stored code plus shift, which lets symmetric integers of fewer
	// bits share the zero of 4-bit ones; zero stands for the weight 0, or the level
	// nearest to it.
	shift, zero byte
	// wide says that codes are bytes: the stored code u is the byte encoded[u]. Integer
	// kernels multiply by the byte less byteZero. Float32 kernels do so too, or take the byte
	// for an E4M3 number.
	wide    bool
	encoded *[256]byte
	e4m3    bool
	e5m2    bool // with e4m3: they are E5M2 numbers
	// tables says that each row has up to 16 levels of its own, and trellis that codes stand for none.
	tables, trellis bool
	// choice says that nibbles of a row stand for levels or, one larger, for integers, as the
	// scale of its group says.
	choice bool
	// storedZero is the stored code that zero stands for.
	storedZero byte
	// float says that levels are no small integers in any unit: such a base is
	// multiplied in float32, whatever the activations were rounded to.
	float bool
	// levels are those of the 16 nibbles: what float32 kernels multiply by. Integer
	// kernels multiply by u-8, or by 2·level where that is the integer, in half units.
	levels [16]float32
	unit   float32
}

// stripLevels are what the nibbles of residuals and of most integers stand for.
var stripLevels = func() (levels [16]float32) {
	for u := range levels {
		levels[u] = float32(u - zeroCode)
	}
	return levels
}()

// codecOf returns the layout of a base in format f for products with integers or
// in float32. Tensor is what the base keeps for the whole matrix.
func codecOf(f quant.Format, float bool, tensor []float32) codec {
	c := codec{head: heads[f.Scaling()], float: float, unit: 1}
	levels := f.Kind.Levels()
	switch {
	case f.Bits > 4:
		c.wide = true
		c.encode(f)
		return c
	case f.Kind == quant.Any4 || f.Kind == quant.AnyFew:
		c.tables = true
		return c
	case f.Kind == quant.IF4:
		levels := quant.ChoiceLevels(0) // zero has the same code among integers
		for u, v := range levels.Value {
			c.levels[u] = float32(v)
		}
		c.zero, c.storedZero = levels.Zero, levels.Zero
		c.choice, c.unit = true, tensor[0]
		if !float {
			c.unit /= 2
		}
		return c
	case f.Kind == quant.HQQ4:
		for u := range c.levels {
			c.levels[u] = float32(u)
		}
		return c
	case f.Kind == quant.Power4:
		levels := quant.PowerLevels(float64(tensor[0]))
		for u, v := range levels.Value {
			c.levels[u] = float32(v)
		}
		c.zero, c.storedZero = levels.Zero, levels.Zero
		return c
	case f.Kind == quant.Trellis:
		c.trellis = true
		return c
	case levels == nil:
		switch {
		case !f.Affine:
			c.shift = zeroCode - 1<<(f.Bits-1)
		case c.head == headHalf:
			c.head = headAffine
		}
		c.zero, c.levels, c.storedZero = zeroCode, stripLevels, zeroCode-c.shift
		return c
	}
	for u := range c.levels {
		c.levels[u] = float32(levels.Decode(byte(u)))
	}
	c.zero = levels.Stored(levels.Zero)
	c.storedZero = c.zero
	if !float {
		c.unit = .5
		if c.head == headHalf {
			c.head = headUnit
		}
	}
	if c.head == headE4M3 && len(tensor) > 0 {
		c.unit *= tensor[0]
	}
	return c
}

// encode sets what codes of more than 4 bits are in the stream.
func (c *codec) encode(f quant.Format) {
	c.encoded = new([256]byte)
	levels := f.Kind.Levels()
	if levels == nil {
		if f.Affine {
			c.head = headByteZeros
		}
		c.shift, c.zero, c.storedZero = byteZero-1<<(f.Bits-1), byteZero, 1<<(f.Bits-1)
		for u := range 1 << f.Bits {
			c.encoded[u] = byte(u) + c.shift
		}
		return
	}
	c.storedZero = levels.Stored(levels.Zero)
	if c.e5m2 = f.Kind == quant.FP8E5M2; c.e5m2 {
		c.e4m3 = true
		for u := range c.encoded {
			c.encoded[u] = byte(u)
		}
		return
	}
	if c.e4m3 = needsFloat(f); c.e4m3 {
		for u := range 1 << f.Bits {
			v := levels.Decode(byte(u))
			if c.encoded[u] = half.ToE4M3(math.Abs(v)); v < 0 {
				c.encoded[u] |= 0x80
			}
		}
		return
	}
	unit := wholeUnit(levels)
	for u := range 1 << f.Bits {
		c.encoded[u] = byte(int(levels.Decode(byte(u))/unit) + byteZero)
	}
	c.zero, c.unit = byteZero, float32(unit)
	if c.head == headHalf && unit != 1 {
		c.head = headUnit
	}
}

// decoded is the inverse of encoded for the codes that quant stores: of several codes of one
// level, which a zero with a sign makes two of, the one that it writes.
func (c *codec) decoded(f quant.Format) (codes [256]byte) {
	levels := f.Kind.Levels()
	for u := range 1 << f.Bits {
		codes[c.encoded[u]] = byte(u)
	}
	if levels != nil {
		for rank := range levels.Value {
			u := levels.Stored(byte(rank))
			codes[c.encoded[u]] = u
		}
	}
	return codes
}

// wholeUnit is what all levels are multiples of: the smallest that is above zero.
func wholeUnit(levels *quant.Levels) float64 {
	return levels.Value[levels.Zero+1]
}

// needsFloat says that the levels of f are no integers in the unit that int8 units
// multiply: NF4 and others that are not evenly spaced. Rounded to 8 bits they
// would be another grid than the one that was stored.
func needsFloat(f quant.Format) bool {
	levels := f.Kind.Levels()
	if levels == nil {
		return slices.Contains([]quant.Kind{quant.Any4, quant.AnyFew, quant.Trellis, quant.HQQ4, quant.Power4}, f.Kind)
	}
	unit, top := .5, float64(doubledZero)
	if f.Bits > 4 {
		unit, top = wholeUnit(levels), byteZero-1
	}
	return slices.ContainsFunc(levels.Value, func(v float64) bool {
		return v/unit != math.Trunc(v/unit) || math.Abs(v/unit) > top
	})
}

// scaleLevels are what the bytes of headDouble stand for, relative to the largest
// magnitude of their block.
var scaleLevels = func() (levels [256]float32) {
	for b := range levels {
		levels[b] = float32(quant.DoubleDecode(byte(b), 1, 0))
	}
	return levels
}()

// byteZero is the zero of codes of a byte.
const byteZero = 128

// hasZero says that a nibble stands for the weight 0 whatever the group.
func (c *codec) hasZero() bool {
	return !c.head.offset() && !c.trellis && (c.wide || c.levels[c.zero] == 0)
}

// double is a nibble as integer kernels multiply it: twice the level, and
// doubledZero more, so that it is not negative.
func (c *codec) double(u int) byte { return byte(int(2*c.levels[u]) + doubledZero) }

// doubledZero is twice the zero of codes, so that one sum of activations serves
// both.
const doubledZero = 2 * zeroCode

// tableBytes is the size of the levels of 16 rows, half precision.
const tableBytes = 2 * 16 * panelRows

// prefix is the size of what comes before the first group of a panel. Of headRows and
// headShift: the half-precision units of 16 rows. Of codec.tables: their levels, row by row. Of
// headDouble: the number, below 256, of the panel's first scale in its block, and
// the largest magnitudes of the blocks, float32, that the scales of 16 rows with so
// many groups can belong to.
func (c *codec) prefix(groups int) int {
	switch c.head {
	case headRows, headShift:
		return 2 * panelRows
	case headDouble:
	default:
		if c.tables {
			return tableBytes
		}
		return 0
	}
	return 4 + 4*((quant.DoubleBlock-1+panelRows*groups-1)/quant.DoubleBlock+1)
}

// appendPrefix appends the prefix of panel p.
func (c *codec) appendPrefix(out []byte, base *quant.Packed, groups, p int) []byte {
	switch c.head {
	case headRows, headShift:
		return appendRows(out, base.Second, base.N, p, 1)
	case headDouble:
	default:
		if c.tables {
			return appendTables(out, base, p)
		}
		return out
	}
	first := p * panelRows * groups
	out = binary.LittleEndian.AppendUint32(out, uint32(first%quant.DoubleBlock))
	for i := range (c.prefix(groups) - 4) / 4 {
		var v float32
		if at := 1 + first/quant.DoubleBlock + i; at < len(base.Tensor) {
			v = base.Tensor[at]
		}
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
	}
	return out
}

// appendRows appends the numbers of the rows of panel p, each of the n rows having so many.
func appendRows(out []byte, numbers []uint16, n, p, each int) []byte {
	end := min(n, (p+1)*panelRows)
	for _, v := range numbers[p*panelRows*each : end*each] {
		out = binary.LittleEndian.AppendUint16(out, v)
	}
	return append(out, make([]byte, 2*each*((p+1)*panelRows-end))...)
}

// readPrefix is the inverse of appendPrefix, but for headDouble, whose numbers are the
// matrix's.
func (c *codec) readPrefix(data []byte, base *quant.Packed, p int) {
	for r := range min(base.N-p*panelRows, panelRows) {
		n := p*panelRows + r
		switch {
		case c.head == headRows || c.head == headShift:
			base.Second[n] = binary.LittleEndian.Uint16(data[2*r:])
		case c.tables:
			each := 1 << base.Format.Bits
			for u := range each {
				base.Tables[n*each+u] = binary.LittleEndian.Uint16(data[2*(16*r+u):])
			}
		}
	}
}

// appendHead appends the head of a group of panel p, which is one of groups in
// the stored form. Rows beyond N have scales of zero.
func (h head) appendHead(out []byte, base *quant.Packed, groups, p, group int) []byte {
	rows := min(panelRows, base.N-p*panelRows)
	at := func(i int) int { return (p*panelRows+i)*groups + group }
	switch h {
	case headE8M0, headE4M3, headDouble, headChoice:
		for i := range rows {
			out = append(out, base.ScaleBytes[at(i)])
		}
		return append(out, make([]byte, panelRows-rows)...)
	case headBilevel:
		for _, v := range base.Second[(p*groups+group)*4:][:4] {
			out = binary.LittleEndian.AppendUint16(out, v)
		}
		out = appendColumn(out, base.ScaleBytes, base.N, groups, p, group, 3, 3)
		return appendColumn(out, base.Zeros, base.N, groups, p, group, 3, 3)
	case headRows:
		for i := range rows {
			out = append(out, base.ScaleBytes[at(i)])
		}
		out = append(out, make([]byte, panelRows-rows)...)
		return appendColumn(out, base.Zeros, base.N, groups, p, group, 4, 4)
	case headShift:
		return appendColumn(out, base.ScaleBytes, base.N, groups, p, group, 4, 4)
	}
	for i := range rows {
		out = binary.LittleEndian.AppendUint16(out, base.Scales[at(i)])
	}
	out = append(out, make([]byte, 2*(panelRows-rows))...)
	switch h {
	case headAffine:
		out = appendColumn(out, base.Zeros, base.N, groups, p, group, base.Format.Bits, 4)
	case headByteZeros:
		bits := base.Format.Bits
		rowLen := (groups*bits + 7) / 8
		for i := range rows { // like codes, so that they have the zero of a byte
			out = append(out, codeAt(base.Zeros[(p*panelRows+i)*rowLen:], group, bits)+byteZero-1<<(bits-1))
		}
		out = append(out, make([]byte, panelRows-rows)...)
	case headOffset:
		for i := range rows {
			out = binary.LittleEndian.AppendUint16(out, base.Offsets[at(i)])
		}
		out = append(out, make([]byte, 2*(panelRows-rows))...)
	}
	return out
}

// appendColumn appends the codes of a group of 16 rows of a packed matrix [N,
// groups], each stored with some bits, one after another with to bits.
func appendColumn(out, packed []byte, n, groups, p, group, bits, to int) []byte {
	rowLen := (groups*bits + 7) / 8
	var v uint64
	for i := range min(panelRows, n-p*panelRows) {
		v |= uint64(codeAt(packed[(p*panelRows+i)*rowLen:], group, bits)) << (to * i)
	}
	return append(out, binary.LittleEndian.AppendUint64(nil, v)[:panelRows*to/8]...)
}

// codeAt returns code i of a packed row of codes of some bits, lowest bit first.
func codeAt(row []byte, i, bits int) byte {
	at := i * bits
	v := uint(row[at>>3])
	if at&7+bits > 8 {
		v |= uint(row[at>>3+1]) << 8
	}
	return byte(v >> (at & 7) & (1<<bits - 1))
}

// flip inverts bits of code i of a packed row: it sets one that is zero.
func flip(row []byte, i, bits int, by byte) {
	at := i * bits
	row[at>>3] ^= by << (at & 7)
	if at&7+bits > 8 {
		row[at>>3+1] ^= by >> (8 - at&7)
	}
}

// readHead is the inverse of appendHead: it writes what the head says of the rows
// below N to base, if it is the first of a stored group.
func (h head) readHead(data []byte, base *quant.Packed, groups, p, group int, first bool) {
	if !first {
		return
	}
	rows := min(panelRows, base.N-p*panelRows)
	for i := range rows {
		n := p*panelRows + i
		switch h {
		case headE8M0, headE4M3, headDouble, headChoice:
			base.ScaleBytes[n*groups+group] = data[i]
		case headBilevel:
			l := (groups*3 + 7) / 8
			flip(base.ScaleBytes[n*l:(n+1)*l], group, 3, codeAt(data[8:], i, 3))
			flip(base.Zeros[n*l:(n+1)*l], group, 3, codeAt(data[14:], i, 3))
		case headRows:
			base.ScaleBytes[n*groups+group] = data[i]
			l := (groups*4 + 7) / 8
			flip(base.Zeros[n*l:(n+1)*l], group, 4, codeAt(data[panelRows:], i, 4))
		case headShift:
			l := (groups*4 + 7) / 8
			flip(base.ScaleBytes[n*l:(n+1)*l], group, 4, codeAt(data, i, 4))
		default:
			base.Scales[n*groups+group] = binary.LittleEndian.Uint16(data[2*i:])
			if h == headAffine {
				l := (groups*base.Format.Bits + 7) / 8
				flip(base.Zeros[n*l:(n+1)*l], group, base.Format.Bits, codeAt(data[2*panelRows:], i, 4))
			}
			if h == headByteZeros {
				bits := base.Format.Bits
				l := (groups*bits + 7) / 8
				flip(base.Zeros[n*l:(n+1)*l], group, bits, data[2*panelRows+i]-(byteZero-1<<(bits-1)))
			}
			if h == headOffset {
				base.Offsets[n*groups+group] = binary.LittleEndian.Uint16(data[2*panelRows+2*i:])
			}
		}
	}
	if h == headBilevel {
		for i := range 4 {
			base.Second[(p*groups+group)*4+i] = binary.LittleEndian.Uint16(data[2*i:])
		}
	}
}
