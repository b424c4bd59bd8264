package quant

// Packed is a dense quantized matrix Ŵ [N,K]. It is a gemm.Source.
type Packed struct {
	N, K   int
	Format Format
	// Codes [N, ceil(K·Bits/8)]: a row starts on a byte; within a row a stream
	// of bits, lowest first (4 bits: two per byte, low nibble = even k).
	Codes []byte
	// Scales [N, groups], half precision.
	Scales []uint16
	// Zeros [N, ceil(groups·Bits/8)], packed like Codes; nil unless affine.
	Zeros []byte
}

// Dims returns N and K.
func (p *Packed) Dims() (n, k int) { return p.N, p.K }

// Load decodes a tile of Ŵ into dst.
func (p *Packed) Load(dst Matrix, n0, k0 int) {
	bits := p.Format.Bits
	size, groups := p.Format.groups(p.K)
	rowLen, zeroLen := packedLen(p.K, bits), packedLen(groups, bits)
	k1 := k0 + dst.Cols
	for i := range dst.Rows {
		n := n0 + i
		codes := p.Codes[n*rowLen : (n+1)*rowLen]
		out := dst.Row(i)
		for k := k0; k < k1; {
			g := k / size
			end := min((g+1)*size, k1)
			zero := p.Format.offset()
			if p.Format.Affine {
				zero = int(codeAt(p.Zeros[n*zeroLen:(n+1)*zeroLen], g, bits))
			}
			scale := fromF16(p.Scales[n*groups+g])
			decodeCodes(out[k-k0:end-k0], codes, k, bits, zero, scale)
			k = end
		}
	}
}

// decodeCodes sets dst[i] = (code[k+i] - zero)·scale.
func decodeCodes(dst []float32, codes []byte, k, bits, zero int, scale float32) {
	if bits != 4 {
		for i := range dst {
			dst[i] = float32(int(codeAt(codes, k+i, bits))-zero) * scale
		}
		return
	}
	// One table per group is cheaper than a conversion per weight.
	var table [16]float32
	for u := range table {
		table[u] = float32(u-zero) * scale
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

// Bytes returns the stored bytes of codes, scales and zeros.
func (p *Packed) Bytes() int64 {
	return int64(len(p.Codes)) + 2*int64(len(p.Scales)) + int64(len(p.Zeros))
}

// BitsPerWeight is the stored size over the number of weights.
func (p *Packed) BitsPerWeight() float64 {
	return 8 * float64(p.Bytes()) / (float64(p.N) * float64(p.K))
}
