package quant

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
	size, groups := p.Format.groups(p.K)
	rowLen, zeroLen := packedLen(p.K, bits), packedLen(groups, bits)
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

// table sets t[u] to the value of the stored code u in group g of row n.
func (p *Packed) table(t *[16]float32, n, g, groups int) {
	scale, offset := p.scale(n, g, groups)
	switch p.Format.Kind {
	case Bilevel:
		for u := range 1 << p.Format.Bits {
			t[u] = float32(float64(u)*scale + offset)
		}
		return
	case Any4:
		for u := range t {
			t[u] = float32(float64(fromF16(p.Tables[n*16+u]))*scale + offset)
		}
		return
	}
	l := fixedLevels[p.Format.Kind]
	for u := range t {
		r := uint8(u)
		if l.rank != nil {
			r = l.rank[u]
		}
		t[u] = float32(l.value[r] * scale)
	}
}

// scale returns scale and offset of group g of row n, which has groups of them.
func (p *Packed) scale(n, g, groups int) (scale, offset float64) {
	at := n*groups + g
	switch p.Format.Kind {
	case MXFP4:
		return fromE8M0(p.ScaleBytes[at]), 0
	case NVFP4:
		return float64(float32(float64(p.Tensor[0]) * fromE4M3(p.ScaleBytes[at]))), 0
	case NF4DQ:
		return doubleDecode(p.ScaleBytes[at], p.Tensor[1+at/doubleBlock], p.Tensor[0]), 0
	case Bilevel:
		l := packedLen(groups, bilevelBits)
		second := p.Second[(n/bilevelRows*groups+g)*4:]
		return bilevelDecode(second[:4],
			codeAt(p.ScaleBytes[n*l:(n+1)*l], g, bilevelBits), codeAt(p.Zeros[n*l:(n+1)*l], g, bilevelBits))
	case Any4:
		return float64(fromF16(p.Scales[at])), float64(fromF16(p.Offsets[at]))
	}
	return float64(fromF16(p.Scales[at])), 0
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
	decodeTable(dst, codes, k, bits, &table)
}

// decodeTable sets dst[i] = table[code[k+i]].
func decodeTable(dst []float32, codes []byte, k, bits int, table *[16]float32) {
	if bits != 4 {
		for i := range dst {
			dst[i] = table[codeAt(codes, k+i, bits)]
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

// packBase stores codes [N,K] and their grids [N, groups].
func packBase(n, k int, f Format, codes []uint8, grids []grid) *Packed {
	_, groups := f.groups(k)
	p := &Packed{N: n, K: k, Format: f, Codes: make([]byte, n*packedLen(k, f.Bits))}
	zeroBits := f.Bits
	switch f.Kind {
	case MXFP4, NVFP4, NF4DQ:
		p.ScaleBytes = make([]byte, n*groups)
	case Bilevel:
		zeroBits = bilevelBits
		p.ScaleBytes = make([]byte, n*packedLen(groups, bilevelBits))
		p.Second = make([]uint16, ceilDiv(n, bilevelRows)*groups*4)
	default:
		p.Scales = make([]uint16, n*groups)
	}
	switch f.Kind {
	case NVFP4:
		p.Tensor = []float32{grids[0].tensor}
	case NF4DQ:
		p.Tensor = []float32{grids[0].mean}
		for g := 0; g < len(grids); g += doubleBlock {
			p.Tensor = append(p.Tensor, grids[g].tensor)
		}
	case Any4:
		p.Offsets, p.Tables = make([]uint16, n*groups), make([]uint16, n*16)
	case Integer, Bilevel:
		if f.Affine {
			p.Zeros = make([]byte, n*packedLen(groups, zeroBits))
		}
	}
	parallel(n, func(i int) error {
		row := codes[i*k : (i+1)*k]
		if l := fixedLevels[f.Kind]; l != nil && l.wire != nil {
			wire := make([]uint8, k)
			for j, u := range row {
				wire[j] = l.wire[u]
			}
			row = wire
		}
		packRow(p.Codes, i, row, f.Bits)
		scales, zeros := make([]uint8, groups), make([]uint8, groups)
		for g := range groups {
			gr := &grids[i*groups+g]
			scales[g], zeros[g] = uint8(gr.bits), uint8(gr.zero)
			if p.Scales != nil {
				p.Scales[i*groups+g] = gr.bits
			}
			switch f.Kind {
			case Any4:
				p.Offsets[i*groups+g] = gr.offsetBits
			case Bilevel:
				zeros[g] = uint8(gr.offsetBits)
				if i%bilevelRows == 0 {
					copy(p.Second[(i/bilevelRows*groups+g)*4:], gr.second[:])
				}
			}
		}
		switch {
		case f.Kind == Bilevel:
			packRow(p.ScaleBytes, i, scales, bilevelBits)
		case p.ScaleBytes != nil:
			copy(p.ScaleBytes[i*groups:], scales)
		}
		if p.Zeros != nil {
			packRow(p.Zeros, i, zeros, zeroBits)
		}
		if p.Tables != nil {
			for u, v := range grids[i*groups].levels.value {
				p.Tables[i*16+u] = toF16(float32(v))
			}
		}
		return nil
	})
	return p
}

// packRow packs codes as row i of dst.
func packRow(dst []byte, i int, codes []uint8, bits int) {
	n := packedLen(len(codes), bits)
	packBits(dst[i*n:(i+1)*n], codes, bits)
}
