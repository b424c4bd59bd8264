package bench

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
)

// Random returns a matrix [N,K] of random codes and scales, as a quantizer would store
// one. Nothing is quantized, which would take longer than all measurements.
// Scales are such that outputs are about as large as inputs; the step of the
// residual is a quarter of the base's, enough that its absence shows.
func Random(n, k int, l *plan.Layout, seed uint64) *Weights {
	rng := rand.New(rand.NewPCG(seed, uint64(n)<<32|uint64(k)))
	groups, rowLen := 1, (k+1)/2
	if l.Group > 0 {
		groups = k / l.Group
	}
	base := &quant.Packed{N: n, K: k, Format: quant.Int4(l.Group), Codes: codes(rng, n*rowLen)}
	for i := rowLen - 1; k%2 == 1 && i < len(base.Codes); i += rowLen {
		base.Codes[i] &= 15 // nothing lies beyond K
	}
	exponent := stepExponent(k)
	base.Scales = halves(rng, n*groups, exponent)
	w := &Weights{Packed: &quant.Quantized{Base: base}}
	outliers := int(math.Round(l.Outliers * float64(n) * float64(k)))
	if l.Density > 0 {
		r := &quant.Residual{N: n, K: k, BlockRows: l.Block.Rows, BlockCols: l.Block.Cols, Bits: 4, RowScales: l.RowScale}
		rows, cols := r.Grid()
		r.RowPtr, r.Cols = scatter(rng, rows, cols, int(math.Round(l.Density*float64(rows)*float64(cols))))
		r.Codes = codes(rng, r.Cols.Len()*((l.Block.Rows*l.Block.Cols+1)/2))
		scales := r.Cols.Len()
		if l.RowScale {
			scales *= l.Block.Rows
		}
		r.Scales = halves(rng, scales, exponent-2)
		w.Packed.Residual = r
		if outliers == 0 {
			bytes := len(r.Codes) + 2*len(r.Scales) + len(r.Cols.Data)
			outliers = min(n*k, bytes/(2+intWidth(k-1)))
		}
	}
	if outliers > 0 && slices.Contains(l.Variants, plan.Outlier16) {
		o := &quant.Outliers{N: n, K: k}
		o.RowPtr, o.Cols = scatter(rng, n, k, outliers)
		o.Values = halves(rng, outliers, exponent+3)
		w.Outlier = &quant.Quantized{Base: base, Outliers: o}
	}
	return w
}

// stepExponent is the biased exponent of halves near 1/(4.3·√k), 4.3 being the
// standard deviation of codes.
func stepExponent(k int) uint16 {
	_, e := math.Frexp(1 / (4.3 * math.Sqrt(float64(k))))
	return uint16(max(3, 15+e-1))
}

// halves returns n half-precision numbers in [1,2)·2^(exponent-15).
func halves(rng *rand.Rand, n int, exponent uint16) []uint16 {
	v := make([]uint16, n)
	for i := range v {
		v[i] = exponent<<10 | uint16(rng.Uint32()&1023)
	}
	return v
}

// codes returns n bytes of two codes in 1..15 each.
func codes(rng *rand.Rand, n int) []byte {
	b := make([]byte, (n+7)/8*8)
	for i := 0; i < len(b); i += 8 {
		v := rng.Uint64()
		for s := 0; s < 64; s += 4 {
			if v>>s&15 == 0 {
				v |= 8 << s // symmetric formats never use code 0
			}
		}
		binary.LittleEndian.PutUint64(b[i:], v)
	}
	return b[:n]
}

// scatter draws count of rows x cols places, all choices equally likely, as a
// compressed row index (Knuth, The Art of Computer Programming 2, algorithm S).
func scatter(rng *rand.Rand, rows, cols, count int) (ptr, at quant.Ints) {
	starts, places := make([]int, 1, rows+1), make([]int, 0, count)
	left := rows * cols
	for range rows {
		for c := range cols {
			if rng.Float64()*float64(left) < float64(count-len(places)) {
				places = append(places, c)
			}
			left--
		}
		starts = append(starts, len(places))
	}
	return ints(starts, count), ints(places, cols-1)
}

// ints stores v, whose elements are at most limit, as quant does.
func ints(v []int, limit int) quant.Ints {
	x := quant.Ints{Width: intWidth(limit)}
	x.Data = make([]byte, 0, len(v)*x.Width)
	for _, e := range v {
		for b := range x.Width {
			x.Data = append(x.Data, byte(e>>(8*b)))
		}
	}
	return x
}

func intWidth(limit int) int {
	switch {
	case limit < 1<<8:
		return 1
	case limit < 1<<16:
		return 2
	}
	return 4
}

// roundBF16 rounds x in place to bfloat16, ties to even: activations as models
// have them, so that an engine that takes bfloat16 multiplies the very same.
func roundBF16(x gemm.Matrix) gemm.Matrix {
	for i, v := range x.Data {
		x.Data[i] = half.FromBF16(half.ToBF16(v))
	}
	return x
}

// normal returns m tokens of k standard normal activations.
func normal(seed uint64, m, k int) gemm.Matrix {
	rng := rand.New(rand.NewPCG(seed, 2))
	x := gemm.NewMatrix(m, k)
	for i := range x.Data {
		x.Data[i] = float32(rng.NormFloat64())
	}
	return x
}
