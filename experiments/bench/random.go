package bench

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/internal/variants"
	"github.com/mosaicquant/mosaicquant/quant"
)

// Random returns a matrix [N,K] of random codes and scales, as a quantizer would store
// one. Nothing is quantized, which would take longer than all measurements.
// Scales are such that outputs are about as large as inputs; the step of the
// residual is a quarter of the base's, enough that its absence shows. All cores
// work on it, and the result does not depend on how many there are.
func Random(n, k int, l *plan.Layout, seed uint64) *Weights {
	rng := &source{seed: seed, shape: uint64(n)<<32 | uint64(k)}
	groups, rowLen := 1, (k+1)/2
	if l.Group > 0 {
		groups = k / l.Group
	}
	base := &quant.Packed{N: n, K: k, Format: quant.Int4(l.Group), Codes: rng.codes(n * rowLen)}
	for i := rowLen - 1; k%2 == 1 && i < len(base.Codes); i += rowLen {
		base.Codes[i] &= 15 // nothing lies beyond K
	}
	exponent := stepExponent(k)
	base.Scales = rng.halves(n*groups, exponent)
	w := &Weights{Packed: &quant.Quantized{Base: base}}
	outliers := int(math.Round(l.Outliers * float64(n) * float64(k)))
	switch {
	case l.HalfSteps && l.Density > 0:
		form := &quant.ResidualForm{BlockRows: l.Block.Rows, BlockCols: l.Block.Cols, Bits: 2, BaseScales: true, HalfSteps: true}
		switch l.Index {
		case "bitmap":
			form.Index = quant.IndexBitmap
		case "exact":
			form.Index, form.PerSegment = quant.IndexExact, int(math.Round(l.Density*quant.SegmentBlocks))
		}
		w.Packed.Residual = randomResidual(rand.New(rand.NewPCG(seed+1, rng.shape)), n, k, form, l.Density)
	case l.Density > 0:
		r := &quant.Residual{N: n, K: k, BlockRows: l.Block.Rows, BlockCols: l.Block.Cols, Bits: 4, RowScales: l.RowScale}
		rows, cols := r.Grid()
		r.RowPtr, r.Cols = rng.scatter(rows, cols, int(math.Round(l.Density*float64(rows)*float64(cols))))
		r.Codes = rng.codes(r.Cols.Len() * ((l.Block.Rows*l.Block.Cols + 1) / 2))
		scales := r.Cols.Len()
		if l.RowScale {
			scales *= l.Block.Rows
		}
		r.Scales = rng.halves(scales, exponent-2)
		w.Packed.Residual = r
		if outliers == 0 {
			bytes := len(r.Codes) + 2*len(r.Scales) + len(r.Cols.Data)
			outliers = min(n*k, bytes/(2+intWidth(k-1)))
		}
	}
	if outliers > 0 && slices.Contains(l.Variants, variants.Outlier16) {
		o := &quant.Outliers{N: n, K: k}
		o.RowPtr, o.Cols = rng.scatter(n, k, outliers)
		o.Values = rng.halves(outliers, exponent+3)
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

// source is the random numbers of one matrix: arrays after arrays, each in pieces
// that have generators of their own.
type source struct{ seed, shape, arrays uint64 }

// sourceOf returns one that rng chooses.
func sourceOf(rng *rand.Rand) *source { return &source{seed: rng.Uint64(), shape: rng.Uint64()} }

const piece = 1 << 16 // numbers

// each calls f for all pieces of an array of n numbers: from, to and a generator.
func (s *source) each(n int, f func(from, to int, rng *rand.Rand)) {
	s.arrays++
	parallel.Each((n+piece-1)/piece, func(i int) {
		f(i*piece, min(n, (i+1)*piece), s.generator(uint64(i)))
	})
}

func (s *source) generator(piece uint64) *rand.Rand {
	return rand.New(rand.NewPCG(s.seed+s.arrays<<32, s.shape^piece<<16))
}

// halves returns n half-precision numbers in [1,2)·2^(exponent-15).
func (s *source) halves(n int, exponent uint16) []uint16 {
	v := make([]uint16, n)
	s.each(n, func(from, to int, rng *rand.Rand) {
		for i := from; i < to; i++ {
			v[i] = exponent<<10 | uint16(rng.Uint32()&1023)
		}
	})
	return v
}

// codes returns n bytes of two codes in 1..15 each.
func (s *source) codes(n int) []byte {
	words := (n + 7) / 8
	b := make([]byte, 8*words)
	s.each(words, func(from, to int, rng *rand.Rand) {
		for i := from; i < to; i++ {
			v := rng.Uint64()
			for s := 0; s < 64; s += 4 {
				if v>>s&15 == 0 {
					v |= 8 << s // symmetric formats never use code 0
				}
			}
			binary.LittleEndian.PutUint64(b[8*i:], v)
		}
	})
	return b[:n]
}

// scatter draws count of rows x cols places, all choices equally likely, as a
// compressed row index: places are drawn until enough different ones have come,
// or, of more than half of them, those that are left out.
func (s *source) scatter(rows, cols, count int) (ptr, at quant.Ints) {
	s.arrays++
	all := rows * cols
	rng, taken, draw := s.generator(0), make([]uint64, (all+63)/64), min(count, all-count)
	for left := draw; left > 0; {
		i := rng.IntN(all)
		if bit := uint64(1) << (i % 64); taken[i/64]&bit == 0 {
			taken[i/64] |= bit
			left--
		}
	}
	want := uint64(1)
	if draw < count {
		want = 0
	}
	starts, places := make([]int, 1, rows+1), make([]int, 0, count)
	for r := range rows {
		for c := range cols {
			if i := r*cols + c; taken[i/64]>>(i%64)&1 == want {
				places = append(places, c)
			}
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
