package quant

import (
	"github.com/mosaicquant/mosaicquant/internal/half"
)

// Packed is a dense quantized matrix Ŵ [N,K]. It is a gemm.Source.
type Packed struct {
	N, K   int
	Format Format
	// Codes [N, ceil(K·Bits/8)]: a row starts on a byte; within a row a stream
	// of bits, lowest first (4 bits: two per byte, low nibble = even k).
	Codes []byte
	// Scales [N, groups], half precision; nil where the kind has others.
	Scales []uint16
	// ScaleBytes are E8M0 (MXFP4), E4M3 (NVFP4) or NF4DQ scales [N, groups], or the
	// codes of Bilevel scales [N, ceil(groups·3/8)], packed like Codes.
	ScaleBytes []byte
	// Zeros [N, ceil(groups·b/8)], packed like Codes; nil unless affine. Integers
	// have b = Bits, Bilevel zeros are codes of 3 bits.
	Zeros []byte
	// Offsets [N, groups] and Tables [N,16] of Any4, half precision.
	Offsets, Tables []uint16
	// Second [ceil(N/16), groups, 4] of Bilevel, half precision: step and base of
	// the scales of 16 rows, step and base of their zeros.
	Second []uint16
	// Tensor [1] of NVFP4; of NF4DQ [1+ceil(N·groups/256)]: the mean scale, and the
	// largest magnitudes of 256 scales less it.
	Tensor []float32
}

// Dims returns N and K.
func (p *Packed) Dims() (n, k int) { return p.N, p.K }

// Load decodes a tile of Ŵ into dst.
func (p *Packed) Load(dst Matrix, n0, k0 int) {
	bits := p.Format.Bits
	size, groups := p.Format.Groups(p.K)
	rowLen, zeroLen := PackedLen(p.K, bits), PackedLen(groups, bits)
	k1 := k0 + dst.Cols
	var table [16]float32
	for i := range dst.Rows {
		n := n0 + i
		codes := p.Codes[n*rowLen : (n+1)*rowLen]
		out := dst.Row(i)
		for k := k0; k < k1; {
			g := k / size
			end := min((g+1)*size, k1)
			if p.Format.Kind != Integer {
				p.table(&table, n, g, groups)
				decodeTable(out[k-k0:end-k0], codes, k, bits, &table)
				k = end
				continue
			}
			zero := p.Format.Offset()
			if p.Format.Affine {
				zero = int(CodeAt(p.Zeros[n*zeroLen:(n+1)*zeroLen], g, bits))
			}
			scale := half.FromF16(p.Scales[n*groups+g])
			decodeCodes(out[k-k0:end-k0], codes, k, bits, zero, scale)
			k = end
		}
	}
}

// table sets t[u] to the value of the stored code u in group g of row n.
func (p *Packed) table(t *[16]float32, n, g, groups int) {
	scale, offset := p.Scale(n, g, groups)
	switch p.Format.Kind {
	case Bilevel:
		for u := range 1 << p.Format.Bits {
			t[u] = float32(float64(u)*scale + offset)
		}
		return
	case Any4:
		for u := range t {
			t[u] = float32(float64(half.FromF16(p.Tables[n*16+u]))*scale + offset)
		}
		return
	}
	l := FixedLevels[p.Format.Kind]
	for u := range t {
		r := uint8(u)
		if l.rank != nil {
			r = l.rank[u]
		}
		t[u] = float32(l.Value[r] * scale)
	}
}

// Scale returns scale and offset of group g of row n, which has groups of them.
func (p *Packed) Scale(n, g, groups int) (scale, offset float64) {
	at := n*groups + g
	switch p.Format.Kind {
	case MXFP4:
		return half.FromE8M0(p.ScaleBytes[at]), 0
	case NVFP4:
		return float64(float32(float64(p.Tensor[0]) * half.FromE4M3(p.ScaleBytes[at]))), 0
	case NF4DQ:
		return DoubleDecode(p.ScaleBytes[at], p.Tensor[1+at/DoubleBlock], p.Tensor[0]), 0
	case Bilevel:
		l := PackedLen(groups, BilevelBits)
		second := p.Second[(n/BilevelRows*groups+g)*4:]
		return BilevelDecode(second[:4],
			CodeAt(p.ScaleBytes[n*l:(n+1)*l], g, BilevelBits), CodeAt(p.Zeros[n*l:(n+1)*l], g, BilevelBits))
	case Any4:
		return float64(half.FromF16(p.Scales[at])), float64(half.FromF16(p.Offsets[at]))
	}
	return float64(half.FromF16(p.Scales[at])), 0
}

// decodeCodes sets dst[i] = (code[k+i] - zero)·scale.
func decodeCodes(dst []float32, codes []byte, k, bits, zero int, scale float32) {
	if bits != 4 {
		for i := range dst {
			dst[i] = float32(int(CodeAt(codes, k+i, bits))-zero) * scale
		}
		return
	}
	// One table per group is cheaper than a conversion per weight.
	var table [16]float32
	for u := range table {
		table[u] = float32(u-zero) * scale
	}
	decodeTable(dst, codes, k, bits, &table)
}

// decodeTable sets dst[i] = table[code[k+i]].
func decodeTable(dst []float32, codes []byte, k, bits int, table *[16]float32) {
	if bits != 4 {
		for i := range dst {
			dst[i] = table[CodeAt(codes, k+i, bits)]
		}
		return
	}
	if len(dst) > 0 && k&1 == 1 {
		dst[0] = table[codes[k>>1]>>4]
		dst, k = dst[1:], k+1
	}
	src := codes[k>>1:]
	for ; len(dst) >= 2; dst, src = dst[2:], src[1:] {
		dst[0] = table[src[0]&15]
		dst[1] = table[src[0]>>4]
	}
	if len(dst) == 1 {
		dst[0] = table[src[0]&15]
	}
}

// ledger itemises the stored bytes.
func (p *Packed) ledger() Ledger {
	return Ledger{
		{"codes", int64(len(p.Codes))},
		{"scales", 2*int64(len(p.Scales)) + int64(len(p.ScaleBytes))},
		{"zeros", int64(len(p.Zeros)) + 2*int64(len(p.Offsets))},
		{"second-level scales", 2*int64(len(p.Second)) + 4*int64(len(p.Tensor))},
		{"tables", 2 * int64(len(p.Tables))},
	}
}

// Bytes returns the stored bytes of codes, scales, zeros and tables.
func (p *Packed) Bytes() int64 { return p.ledger().Total() }

// BitsPerWeight is the stored size over the number of weights.
func (p *Packed) BitsPerWeight() float64 {
	return 8 * float64(p.Bytes()) / (float64(p.N) * float64(p.K))
}
