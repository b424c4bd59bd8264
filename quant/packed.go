package quant

import (
	"slices"

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
	// Offsets [N, groups] and Tables [N,16] of Any4, half precision. Tables [2] of
	// Trellis are the bits of a state and its TrellisCode. Those of Codebook are Vector,
	// First and Values of its Codebooks; that of Pairs says whether normal weights are flint,
	// and that of AdaDim along what its groups lie.
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
	if load := p.Format.Kind.row().load; load != nil {
		load(p, dst, n0, k0)
		return
	}
	bits := p.Format.Bits
	size, groups := p.Format.Groups(p.K)
	rowLen, zeroLen := PackedLen(p.K, bits), PackedLen(groups, bits)
	k1 := k0 + dst.Cols
	var table [16]float32
	fill := p.Format.Kind.row().table
	for i := range dst.Rows {
		n := n0 + i
		codes := p.Codes[n*rowLen : (n+1)*rowLen]
		out := dst.Row(i)
		for k := k0; k < k1; {
			g := k / size
			end := min((g+1)*size, k1)
			if fill != nil {
				scale, offset := p.Scale(n, g, groups)
				fill(p, &table, n, scale, offset)
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

// levelLoad decodes tiles of matrices whose codes are those of more than 16 constant
// levels.
func levelLoad(l *Levels,
	scaleOf func(p *Packed, n, g, groups int) (scale, offset float64)) func(*Packed, Matrix, int, int) {
	return func(p *Packed, dst Matrix, n0, k0 int) {
		bits := p.Format.Bits
		size, groups := p.Format.Groups(p.K)
		rowLen := PackedLen(p.K, bits)
		for i := range dst.Rows {
			codes := p.Codes[(n0+i)*rowLen : (n0+i+1)*rowLen]
			out := dst.Row(i)
			for j := 0; j < len(out); {
				g := (k0 + j) / size
				scale, _ := scaleOf(p, n0+i, g, groups)
				for end := min(len(out), (g+1)*size-k0); j < end; j++ {
					out[j] = float32(l.Decode(CodeAt(codes, k0+j, bits)) * scale)
				}
			}
		}
	}
}

// Scale returns scale and offset of group g of row n, which has groups of them.
func (p *Packed) Scale(n, g, groups int) (scale, offset float64) {
	return p.Format.Kind.row().scale(p, n, g, groups)
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
	l := Ledger{{"codes", 0}, {"scales", 0}, {"zeros", 0}, {"second-level scales", 0}, {"tables", 0}}
	for _, a := range p.arrays() {
		i := slices.IndexFunc(l, func(e Entry) bool { return e.Name == a.item })
		l[i].Bytes += int64(a.size())
	}
	return l
}

// Bytes returns the stored bytes of codes, scales, zeros and tables.
func (p *Packed) Bytes() int64 { return p.ledger().Total() }

// BitsPerWeight is the stored size over the number of weights.
func (p *Packed) BitsPerWeight() float64 {
	return 8 * float64(p.Bytes()) / (float64(p.N) * float64(p.K))
}
