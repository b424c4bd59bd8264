package quant

// Codes are packed into bytes as a stream of bits, lowest bit first; a row
// starts on a byte boundary. For 4 bits that means two per byte, the low
// nibble being the even one.

// PackedLen is the number of bytes of n codes of the given width.
func PackedLen(n, bits int) int { return (n*bits + 7) / 8 }

// PackBits stores codes, each below 2^bits, into dst, which must be zero and
// packedLen(len(codes), bits) long.
func PackBits(dst []byte, codes []uint8, bits int) {
	if bits == 4 {
		for i, c := range codes {
			dst[i>>1] |= c << (i & 1 * 4)
		}
		return
	}
	for i, c := range codes {
		at := i * bits
		v := uint16(c) << (at & 7)
		dst[at>>3] |= byte(v)
		if v > 0xff {
			dst[at>>3+1] |= byte(v >> 8)
		}
	}
}

// CodeAt returns code i of a packed row.
func CodeAt(src []byte, i, bits int) uint8 {
	if bits == 4 {
		return src[i>>1] >> (i & 1 * 4) & 15
	}
	at := i * bits
	v := uint16(src[at>>3])
	if at&7+bits > 8 {
		v |= uint16(src[at>>3+1]) << 8
	}
	return uint8(v>>(at&7)) & (1<<bits - 1)
}

// Ints is an array of non-negative integers, little-endian, of the smallest
// width in {1, 2, 4} bytes that holds its largest possible value: the storage
// of sparse indices, so that the ledger can book what is really stored.
type Ints struct {
	Width int // bytes per element
	Data  []byte
}

// NewInts stores v, whose elements are at most limit.
func NewInts(v []int, limit int) Ints {
	x := Ints{Width: IntWidth(limit)}
	x.Data = make([]byte, len(v)*x.Width)
	for i, e := range v {
		for b := range x.Width {
			x.Data[i*x.Width+b] = byte(e >> (8 * b))
		}
	}
	return x
}

// IntWidth is the width of Ints that holds 0..limit.
func IntWidth(limit int) int {
	switch {
	case limit < 1<<8:
		return 1
	case limit < 1<<16:
		return 2
	}
	return 4
}

// Len returns the number of elements.
func (x Ints) Len() int {
	if x.Width == 0 {
		return 0
	}
	return len(x.Data) / x.Width
}

// At returns element i.
func (x Ints) At(i int) int {
	switch d := x.Data[i*x.Width:]; x.Width {
	case 1:
		return int(d[0])
	case 2:
		return int(d[0]) | int(d[1])<<8
	default:
		return int(d[0]) | int(d[1])<<8 | int(d[2])<<16 | int(d[3])<<24
	}
}
