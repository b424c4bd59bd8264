package zipper

import (
	"encoding/binary"
	"math"

	"github.com/mosaicquant/mosaicquant/quant"
)

// head is how a group of the stream stores the scales of its 16 rows, and with
// some formats a second number for each. Kernels decode it to float32 numbers.
type head int

const (
	headHalf    head = iota // 16 half-precision scales
	headUnit                // the same, each in units of laneUnit
	headAffine              // the same, and 16 zeros of 4 bits
	headBilevel             // quant.Bilevel: 4 half-precision numbers, 16 codes of scales and 16 of zeros, of 3 bits each
	headE8M0                // 16 E8M0 numbers, in units of laneUnit
	headE4M3                // 16 E4M3 numbers, in units of laneUnit
	headDouble              // quant.NF4DQ: 16 bytes; the panel begins with what they are relative to
)

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
	c := codec{float: float, unit: 1}
	if f.Kind == quant.Integer || f.Kind == quant.Bilevel {
		switch {
		case f.Kind == quant.Bilevel:
			c.head = headBilevel
		case f.Affine:
			c.head = headAffine
		default:
			c.shift = zeroCode - 1<<(f.Bits-1)
		}
		c.zero, c.levels = zeroCode, stripLevels
		return c
	}
	c.levels = fixedLevels(f.Kind)
	for u, v := range c.levels {
		if v == 0 {
			c.zero = byte(u)
			break
		}
	}
	if !float {
		c.unit, c.head = .5, headUnit
	}
	switch f.Kind {
	case quant.MXFP4:
		c.head = headE8M0
	case quant.NVFP4:
		c.head = headE4M3
		if len(tensor) > 0 {
			c.unit *= tensor[0]
		}
	case quant.NF4DQ:
		c.head = headDouble
	}
	return c
}

// needsFloat says that the levels of f are no integers in any unit that int8
// units multiply: NF4 and what else is not evenly spaced. Rounded to 8 bits they
// would be another grid than the one that was stored.
func needsFloat(f quant.Format) bool {
	switch f.Kind {
	case quant.NF4, quant.NF4DQ, quant.BnbFP4, quant.Any4:
		return true
	}
	return false
}

// fixedLevels returns the level of each stored code of a kind: what quant decodes
// with the scale 1.
func fixedLevels(k quant.Kind) (levels [16]float32) {
	switch k {
	case quant.MXFP4, quant.NVFP4:
		k = quant.FP4
	case quant.NF4DQ:
		k = quant.NF4
	}
	p := &quant.Packed{N: 1, K: 16, Format: quant.Format{Bits: 4, Group: 16, Kind: k}, Scales: []uint16{0x3c00}}
	for u := byte(0); u < 16; u += 2 {
		p.Codes = append(p.Codes, u|(u+1)<<4)
	}
	decode(p, levels[:])
	return levels
}

// scaleLevels are what the bytes of quant.NF4DQ's scales stand for, relative to
// the largest magnitude of their block.
var scaleLevels = func() (levels [256]float32) {
	const size = 2
	f := quant.Format{Bits: 4, Group: size, Kind: quant.NF4DQ}
	p := &quant.Packed{N: 1, K: size * len(levels), Format: f, Tensor: []float32{0, 1}}
	for b := range levels {
		p.Codes, p.ScaleBytes = append(p.Codes, 0xff), append(p.ScaleBytes, byte(b)) // weights of 1
	}
	row := make([]float32, p.K)
	decode(p, row)
	for b := range levels {
		levels[b] = row[size*b]
	}
	return levels
}()

// decode sets dst to the weights of p, which has one row.
func decode(p *quant.Packed, dst []float32) {
	p.Load(quant.Matrix{Rows: 1, Cols: len(dst), Stride: len(dst), Data: dst}, 0, 0)
}

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
	return 4 + 4*((scaleBlock-1+panelRows*groups-1)/scaleBlock+1)
}

// scaleBlock is how many scales of quant.NF4DQ share a largest magnitude.
const scaleBlock = 256

// appendPrefix appends the prefix of panel p.
func (h head) appendPrefix(out []byte, base *quant.Packed, groups, p int) []byte {
	if h != headDouble {
		return out
	}
	first := p * panelRows * groups
	out = binary.LittleEndian.AppendUint32(out, uint32(first%scaleBlock))
	for i := range (h.prefix(groups) - 4) / 4 {
		var v float32
		if at := 1 + first/scaleBlock + i; at < len(base.Tensor) {
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
