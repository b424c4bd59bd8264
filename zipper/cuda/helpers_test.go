package cuda

import (
	"fmt"
	"math/rand/v2"

	"github.com/mosaicquant/mosaicquant/quant"
)

// shape is a matrix to test with.
type shape struct {
	n, k, group int
	r, c        int // block; 0: no residual
	bits        int // of the residual
	density     float64
	rowScales   bool
	outliers    float64 // share of the weights
}

func (s shape) String() string {
	t := fmt.Sprintf("%dx%d g%d", s.n, s.k, s.group)
	if s.r > 0 {
		t += fmt.Sprintf(" %dx%d %d bits at %g", s.r, s.c, s.bits, s.density)
		if s.rowScales {
			t += " row scales"
		}
	}
	if s.outliers > 0 {
		t += fmt.Sprintf(" outliers %g", s.outliers)
	}
	return t
}

// shapes covers what the kernels support: sizes around panels and tiles, all
// forms of residual, densities 0 to 1.
func shapes() []shape {
	all := []shape{
		{n: 1, k: 1}, {n: 3, k: 7}, {n: 17, k: 129}, {n: 16, k: 128, group: 128}, {n: 31, k: 96, group: 32},
		{n: 130, k: 192, group: 64}, {n: 2, k: 1024, group: 1024}, {n: 129, k: 70, outliers: 0.05}, {n: 20, k: 64, group: 32, outliers: 1},
		{n: 5, k: 9, r: 16, c: 16, bits: 4, density: 1}, {n: 37, k: 1001, r: 16, c: 16, bits: 4, density: 0.3},
		{n: 33, k: 90, r: 1, c: 64, bits: 3, density: 1, rowScales: true}, {n: 40, k: 100, r: 2, c: 48, bits: 2, density: 0},
	}
	blocks := [][2]int{{16, 16}, {16, 64}, {1, 128}, {1, 32}, {4, 16}, {8, 64}, {2, 256}, {32, 32}, {64, 128}, {16, 48}, {48, 192}}
	for i, b := range blocks {
		for j, group := range []int{32, 64, 128, 0} {
			all = append(all, shape{n: 50 + 37*j - i, k: 384 + 128*(i%2), group: group, r: b[0], c: b[1], bits: 4 - (i+j)%3,
				density: []float64{0.02, 0.1, 0.5, 1}[(i+j)%4], rowScales: i%2 == 1})
		}
	}
	return all
}

// random draws codes and scales directly, in quant's canonical form: zero codes
// and zero row scales outside of the matrix.
func (s shape) random(seed uint64) *quant.Quantized {
	rng := rand.New(rand.NewPCG(seed, uint64(s.n*s.k)))
	scale := func() uint16 { return uint16(0x2800 + rng.IntN(0x800)) } // 2^-5 to 2^-3
	groups, rowLen := 1, (s.k+1)/2
	if s.group > 0 {
		groups = s.k / s.group
	}
	base := &quant.Packed{N: s.n, K: s.k, Format: quant.Int4(s.group), Codes: make([]byte, s.n*rowLen), Scales: make([]uint16, s.n*groups)}
	for i := range s.n {
		for k := range s.k {
			putCode(base.Codes[i*rowLen:], k, 4, byte(1+rng.IntN(15)))
		}
	}
	for i := range base.Scales {
		base.Scales[i] = scale()
	}
	q := &quant.Quantized{Base: base}
	if s.outliers > 0 {
		q.Outliers = s.randomOutliers(rng, base)
	}
	if s.r == 0 {
		return q
	}
	r := &quant.Residual{N: s.n, K: s.k, BlockRows: s.r, BlockCols: s.c, Bits: s.bits, RowScales: s.rowScales, Codes: []byte{}, Scales: []uint16{}, RowPtr: quant.Ints{Width: 4}, Cols: quant.Ints{Width: 2}}
	rows, cols := r.Grid()
	zero := byte(1) << (s.bits - 1)
	put32(&r.RowPtr, 0)
	for row := range rows {
		for col := range cols {
			if rng.Float64() >= s.density {
				continue
			}
			r.Cols.Data = append(r.Cols.Data, byte(col), byte(col>>8))
			block := make([]byte, (s.r*s.c*s.bits+7)/8)
			for i := range s.r {
				for j := range s.c {
					code := zero
					if row*s.r+i < s.n && col*s.c+j < s.k {
						code = byte(1 + rng.IntN(1<<s.bits-1))
					}
					putCode(block, i*s.c+j, s.bits, code)
				}
				if s.rowScales && row*s.r+i >= s.n {
					r.Scales = append(r.Scales, 0)
				} else if s.rowScales || i == 0 {
					r.Scales = append(r.Scales, scale())
				}
			}
			r.Codes = append(r.Codes, block...)
		}
		put32(&r.RowPtr, r.Cols.Len())
	}
	q.Residual = r
	return q
}

// randomOutliers draws outliers, and zeroes the codes below them, which Unpack
// cannot bring back.
func (s shape) randomOutliers(rng *rand.Rand, base *quant.Packed) *quant.Outliers {
	o := &quant.Outliers{N: s.n, K: s.k, RowPtr: quant.Ints{Width: 4}, Cols: quant.Ints{Width: 2}}
	put32(&o.RowPtr, 0)
	for n := range s.n {
		for k := range s.k {
			if rng.Float64() >= s.outliers {
				continue
			}
			o.Cols.Data = append(o.Cols.Data, byte(k), byte(k>>8))
			o.Values = append(o.Values, uint16(0x3000+rng.IntN(0x400)))
			at := &base.Codes[n*((s.k+1)/2)+k/2]
			*at = *at&^(15<<(k&1*4)) | zeroCode<<(k&1*4)
		}
		put32(&o.RowPtr, o.Cols.Len())
	}
	return o
}

func put32(x *quant.Ints, v int) {
	x.Data = append(x.Data, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
}
