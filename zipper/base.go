package zipper

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/mosaicquant/mosaicquant/quant"
)

// head is how a group of the stream stores the scales of its 16 rows, and with
// some formats a second number for each. Kernels decode it to float32 numbers.
type head int

const (
	headHalf    head = iota // 16 half-precision scales
	headUnit                // the same, each in units of laneUnit
	headAffine              // the same, and 16 zeros of 4 bits
	headBilevel             // 4 half-precision numbers, 16 codes of scales and 16 of zeros, of 3 bits each
	headE8M0                // 16 E8M0 numbers, in units of laneUnit
	headE4M3                // 16 E4M3 numbers, in units of laneUnit
	headDouble              // 16 bytes of doubly quantized scales; the panel begins with what they are relative to
)

// heads are those that store scales of each kind; other scales have no kernel. Affine
// integers and levels in half units have heads of their own, see codecOf.
var heads = map[quant.Scaling]head{
	quant.HalfScaling: headHalf, quant.E8M0Scaling: headE8M0, quant.E4M3Scaling: headE4M3,
	quant.DoubleScaling: headDouble, quant.BilevelScaling: headBilevel,
}

// bytes is the size of a head.
func (h head) bytes() int {
	return [...]int{2 * panelRows, 2 * panelRows, 2*panelRows + 8, 8 + 6 + 6, panelRows, panelRows, panelRows}[h]
}

// offset says that weights of a group have a constant in common beside their
// scale, w = scale·(level - zero): it meets the sum of the activations.
func (h head) offset() bool { return h == headAffine || h == headBilevel }

// codec is how a base is laid out: the head of its groups, and what the nibbles
// that follow stand for.
type codec struct {
	head head
	// A nibble is the stored code plus shift, which lets symmetric integers of fewer
	// bits share the zero of 4-bit ones; zero stands for the weight 0, or the level
	// nearest to it.
	shift, zero byte
	// wide says that codes are bytes, whose zero is byteZero.
	wide bool
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
	if c.wide = f.Bits > 4; c.wide {
		c.shift, c.zero = byteZero-1<<(f.Bits-1), byteZero
		return c
	}
	if levels == nil {
		switch {
		case !f.Affine:
			c.shift = zeroCode - 1<<(f.Bits-1)
		case c.head == headHalf:
			c.head = headAffine
		}
		c.zero, c.levels = zeroCode, stripLevels
		return c
	}
	for u := range c.levels {
		c.levels[u] = float32(levels.Decode(byte(u)))
	}
	c.zero = levels.Stored(levels.Zero)
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

// needsFloat says that the levels of f are no integers in the unit that int8 units
// multiply: NF4 and others that are not evenly spaced. Rounded to 8 bits they
// would be another grid than the one that was stored.
func needsFloat(f quant.Format) bool {
	levels := f.Kind.Levels()
	return levels != nil && slices.ContainsFunc(levels.Value, func(v float64) bool {
		return 2*v != math.Trunc(2*v) || math.Abs(2*v) > doubledZero
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
func (c *codec) hasZero() bool { return !c.head.offset() && c.levels[c.zero] == 0 }

// double is a nibble as integer kernels multiply it: twice the level, and
// doubledZero more, so that it is not negative.
func (c *codec) double(u int) byte { return byte(int(2*c.levels[u]) + doubledZero) }

// doubledZero is twice the zero of codes, so that one sum of activations serves
// both.
const doubledZero = 2 * zeroCode

// prefix is the size of what comes before the first group of a panel. Of
// headDouble: the number, below 256, of the panel's first scale in its block, and
// the largest magnitudes of the blocks, float32, that the scales of 16 rows with so
// many groups can belong to.
func (h head) prefix(groups int) int {
	if h != headDouble {
		return 0
	}
	return 4 + 4*((quant.DoubleBlock-1+panelRows*groups-1)/quant.DoubleBlock+1)
}

// appendPrefix appends the prefix of panel p.
func (h head) appendPrefix(out []byte, base *quant.Packed, groups, p int) []byte {
	if h != headDouble {
		return out
	}
	first := p * panelRows * groups
	out = binary.LittleEndian.AppendUint32(out, uint32(first%quant.DoubleBlock))
	for i := range (h.prefix(groups) - 4) / 4 {
		var v float32
		if at := 1 + first/quant.DoubleBlock + i; at < len(base.Tensor) {
			v = base.Tensor[at]
		}
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
	}
	return out
}

// appendHead appends the head of a group of panel p, which is one of groups in
// the stored form. Rows beyond N have scales of zero.
func (h head) appendHead(out []byte, base *quant.Packed, groups, p, group int) []byte {
	rows := min(panelRows, base.N-p*panelRows)
	at := func(i int) int { return (p*panelRows+i)*groups + group }
	switch h {
	case headE8M0, headE4M3, headDouble:
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
	}
	for i := range rows {
		out = binary.LittleEndian.AppendUint16(out, base.Scales[at(i)])
	}
	out = append(out, make([]byte, 2*(panelRows-rows))...)
	if h == headAffine {
		out = appendColumn(out, base.Zeros, base.N, groups, p, group, base.Format.Bits, 4)
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
		case headE8M0, headE4M3, headDouble:
			base.ScaleBytes[n*groups+group] = data[i]
		case headBilevel:
			l := (groups*3 + 7) / 8
			flip(base.ScaleBytes[n*l:(n+1)*l], group, 3, codeAt(data[8:], i, 3))
			flip(base.Zeros[n*l:(n+1)*l], group, 3, codeAt(data[14:], i, 3))
		default:
			base.Scales[n*groups+group] = binary.LittleEndian.Uint16(data[2*i:])
			if h == headAffine {
				l := (groups*base.Format.Bits + 7) / 8
				flip(base.Zeros[n*l:(n+1)*l], group, base.Format.Bits, codeAt(data[2*panelRows:], i, 4))
			}
		}
	}
	if h == headBilevel {
		for i := range 4 {
			base.Second[(p*groups+group)*4+i] = binary.LittleEndian.Uint16(data[2*i:])
		}
	}
}
