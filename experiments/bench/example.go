package bench

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// weightsOf returns a matrix [n,k] of normal weights, as large as those of a layer that
// keeps the size of its inputs.
func weightsOf(n, k int, seed uint64) gemm.Matrix {
	w := normal(seed, n, k)
	for i := range w.Data {
		w.Data[i] /= float32(math.Sqrt(float64(k)))
	}
	return w
}

// example returns x [n,k] in the form f: rounded to the nearest values of the base's grid,
// beside random parts. Its products take as long as those of a quantized layer of that
// form; its values mean nothing. Of 16-bit weights it is a matrix that stands for values
// of that width.
func example(f *form, x gemm.Matrix, seed uint64) (*Weights, error) {
	base := quant.Int4(128)
	if f.Quant != nil {
		base = f.Quant.Base
		if f.Quant.Columns > 0 || f.Quant.LowRank > 0 || f.Quant.ChannelScales {
			return nil, errors.New("no random matrix is made up of channels apart, low-rank branches or channel scales")
		}
	}
	if base.Kind == quant.Trellis {
		return randomTrellis(f, x.Rows, x.Cols, seed)
	}
	rtn := solve.RTN{Format: base, Scale: grid.Scale{Rule: grid.AbsMax}}
	q, err := rtn.Quantize(quant.Problem{Name: "random", Weights: x})
	if err != nil {
		return nil, err
	}
	if f.Quant == nil {
		return &Weights{Packed: q}, nil
	}
	n, k := x.Rows, x.Cols
	rng := rand.New(rand.NewPCG(seed+1, uint64(n)<<32|uint64(k)))
	if r := f.Quant.Residual; r != nil && f.Density > 0 {
		q.Residual = randomResidual(rng, n, k, r, f.Density)
	}
	w := &Weights{Packed: q}
	if f.Quant.Outliers {
		w.Outlier = &quant.Quantized{Base: q.Base,
			Outliers: randomOutliers(rng, n, k, int(math.Round(f.Outliers*float64(n)*float64(k))))}
	}
	return w, nil
}

// randomTrellis returns random trellis codes of a matrix [n,k]: to search for the nearest
// ones takes long, and products take as long with any.
func randomTrellis(f *form, n, k int, seed uint64) (*Weights, error) {
	code, err := quant.ParseTrellisCode(f.Code)
	if err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(seed+1, uint64(n)<<32|uint64(k)))
	codes, scales := make([]uint8, n*k), make([]uint16, n)
	for i := range codes {
		codes[i] = uint8(rng.IntN(1 << f.Quant.Base.Bits))
	}
	for i := range scales {
		scales[i] = half.ToF16(float32(1 / math.Sqrt(float64(k))))
	}
	base, err := quant.NewTrellis(n, k, f.Quant.Base.Bits, f.Length, code, codes, scales)
	if err != nil {
		return nil, err
	}
	return &Weights{Packed: &quant.Quantized{Base: base}}, nil
}

// randomResidual keeps random blocks of random codes in the form r. Its step is about a
// quarter of the base's, enough that its absence shows.
func randomResidual(rng *rand.Rand, n, k int, form *quant.ResidualForm, density float64) *quant.Residual {
	r := &quant.Residual{N: n, K: k, BlockRows: form.BlockRows, BlockCols: form.BlockCols, Bits: form.Bits,
		RowScales: form.RowScales, BaseScales: form.BaseScales,
		HalfSteps: form.HalfSteps, Index: form.Index, PerSegment: form.PerSegment}
	if r.BlockRows == 0 {
		r.BlockRows = n
	}
	rows, cols := r.Grid()
	if r.Index == quant.IndexExact {
		r.SetPlaces(scatterExact(rng, rows, cols, r.PerSegment))
	} else {
		r.RowPtr, r.Cols = sourceOf(rng).scatter(rows, cols, int(math.Round(density*float64(rows)*float64(cols))))
	}
	size := (r.BlockRows*r.BlockCols*r.Bits + 7) / 8
	r.Codes = make([]byte, r.Blocks()*size)
	zero := 1 << (r.Bits - 1)
	for b := range rows {
		for i := r.RowPtr.At(b); i < r.RowPtr.At(b+1); i++ {
			block := r.Codes[i*size : (i+1)*size]
			for at := range r.BlockRows * r.BlockCols {
				code := 1 + rng.IntN(2*zero-1) // symmetric formats never use code 0
				if b*r.BlockRows+at/r.BlockCols >= n || r.Cols.At(i)*r.BlockCols+at%r.BlockCols >= k {
					code = zero // nothing lies beyond the matrix
				}
				v := code << (at * r.Bits % 8)
				block[at*r.Bits/8] |= byte(v)
				if v > 0xff {
					block[at*r.Bits/8+1] |= byte(v >> 8)
				}
			}
		}
	}
	switch exponent := stepExponent(k) - 1; {
	case r.HalfSteps:
		r.Scales = []uint16{14 << 10} // 1/2
	case r.BaseScales:
		r.Scales = []uint16{13 << 10} // 1/4
	case r.RowScales:
		r.Scales = sourceOf(rng).halves(r.Blocks()*r.BlockRows, exponent)
	default:
		r.Scales = sourceOf(rng).halves(r.Blocks(), exponent)
	}
	return r
}

// scatterExact keeps perSegment random blocks of every segment.
func scatterExact(rng *rand.Rand, rows, cols, perSegment int) [][]int {
	kept := make([][]int, rows)
	for b := range kept {
		for at := 0; at < cols; at += quant.SegmentBlocks {
			width := min(quant.SegmentBlocks, cols-at)
			places := rng.Perm(width)[:min(width, perSegment)]
			slices.Sort(places)
			for _, p := range places {
				kept[b] = append(kept[b], at+p)
			}
		}
	}
	return kept
}

// randomOutliers scatters count half-precision weights of a few steps.
func randomOutliers(rng *rand.Rand, n, k, count int) *quant.Outliers {
	o := &quant.Outliers{N: n, K: k}
	o.RowPtr, o.Cols = sourceOf(rng).scatter(n, k, count)
	o.Values = sourceOf(rng).halves(count, stepExponent(k)+3)
	return o
}
