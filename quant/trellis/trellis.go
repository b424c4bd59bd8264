// Package trellis quantizes matrices by trellis-coded quantization (QTIP, Tseng et al.
// 2024, arXiv:2406.11235): the states of a tile of weights are chosen together, by the
// Viterbi algorithm, in GPTQ's loop over columns.
package trellis

import (
	"fmt"
	"math"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

const (
	side = quant.TrellisTile
	tile = side * side
)

// Quantizer is trellis-coded quantization. The weights of a row, over its scale, should
// be normal numbers, which a Hadamard transform of the inputs makes of them.
//
// Departures: the authors of QTIP and EXL3 turn inputs and outputs of each layer by
// Hadamard transforms of its own; here that is a change of basis of the model, and rows
// have scales of their own, in place of outputs that are turned. QTIP fine-tunes signs
// and scales. The factor between the values of the code and the rows is searched, as
// EXL3 has it, over a few tiles.
type Quantizer struct {
	Bits    int // of a weight, 2 to 4
	Length  int // bits of a state, more than Bits and at most quant.MaxTrellis
	Code    quant.TrellisCode
	Damping float64 // as solve.GPTQ has it
}

// FitsRows reports a number of rows that is no whole number of tiles.
func (q Quantizer) FitsRows(n int) error {
	if n%side != 0 {
		return fmt.Errorf("N=%d not divisible by the %d rows of a tile", n, side)
	}
	return nil
}

// Quantize implements quant.Quantizer.
func (q Quantizer) Quantize(p quant.Problem) (*quant.Quantized, error) {
	n, k := p.Weights.Dims()
	if n%side != 0 || k%side != 0 {
		return nil, p.Errorf("[%d,%d] is not made of tiles of %dx%d, which a trellis has", n, k, side, side)
	}
	if q.Bits < 2 || q.Bits > 4 || q.Length <= q.Bits || q.Length > quant.MaxTrellis {
		return nil, p.Errorf("trellis of %d bits with states of %d bits", q.Bits, q.Length)
	}
	// The format is for the checks of p alone; H is factored in the order of columns,
	// since tiles are contiguous.
	pass, err := solve.GPTQ{Format: quant.Int4(0), Scale: solve.NewGPTQ(quant.Int4(0)).Scale, Damping: q.Damping}.Start(p)
	if err != nil {
		return nil, err
	}
	e := &encoding{Quantizer: q, values: quant.TrellisValues(q.Code, q.Length), u: pass.U, n: n, k: k,
		codes: make([]uint8, n*k), scales: make([]uint16, n)}
	e.fitScales(p.Weights)
	e.run(p.Weights.Clone())
	base, err := quant.NewTrellis(n, k, q.Bits, q.Length, q.Code, e.codes, e.scales)
	if err != nil {
		return nil, p.Errorf("%w", err)
	}
	return &quant.Quantized{Base: base, Warnings: pass.Warnings}, nil
}

// encoding is the quantization of one matrix.
type encoding struct {
	Quantizer
	values []float32
	u      []float64 // [K,K] upper, H⁻¹ = UᵀU
	n, k   int
	codes  []uint8  // [N/16·K/16, 256]
	scales []uint16 // [N]
}

// factors are those between the rms of the values and that of a row which are tried,
// and triedTiles on how many tiles.
var factors = []float64{.8, .85, .9, .95, 1, 1.05}

const triedTiles = 12

// fitScales sets the scales of rows: their rms over that of the values, times the
// factor that has the least squared error on a few tiles.
func (e *encoding) fitScales(w quant.Matrix) {
	var square float64
	for _, v := range e.values {
		square += float64(v) * float64(v)
	}
	rms := math.Sqrt(square / float64(len(e.values)))
	rows := make([]float64, e.n)
	for i := range rows {
		for _, v := range w.Row(i) {
			rows[i] += float64(v) * float64(v)
		}
		rows[i] = math.Sqrt(rows[i]/float64(e.k)) / rms
	}
	set := func(factor float64) {
		for i, r := range rows {
			e.scales[i] = half.ToF16(float32(r / factor))
		}
	}
	tiles := e.n / side * (e.k / side)
	tried := min(triedTiles, tiles)
	losses := make([]float64, len(factors)*tried)
	for f, factor := range factors {
		set(factor)
		parallel.For(tried, func(i int) error {
			at := i * tiles / tried
			losses[f*tried+i] = e.tile(newSearch(e.values, e.Bits, tile), w, at/(e.k/side), at%(e.k/side))
			return nil
		})
	}
	best, least := factors[0], math.Inf(1)
	for f, factor := range factors {
		var sum float64
		for _, l := range losses[f*tried : (f+1)*tried] {
			sum += l
		}
		if sum < least {
			best, least = factor, sum
		}
	}
	set(best)
}

// tile chooses the codes of the tile at [i,j] of tiles for the weights w, and returns
// the squared error in units of w.
func (e *encoding) tile(s *search, w quant.Matrix, i, j int) (loss float64) {
	var x [tile]float32
	states := s.chosen
	for r := range side {
		scale := half.FromF16(e.scales[i*side+r])
		for c, v := range w.Row(i*side + r)[j*side : (j+1)*side] {
			if scale > 0 {
				x[r*side+c] = v / scale
			}
		}
	}
	s.tailBiting(states, x[:])
	codes := e.codes[(i*(e.k/side)+j)*tile:][:tile]
	for t, state := range states {
		codes[t] = uint8(state & (1<<e.Bits - 1))
		d := float64(x[t]-e.values[state]) * float64(half.FromF16(e.scales[i*side+t/side]))
		loss += d * d
	}
	return loss
}

// errors sets the rows of errs [N,16] that belong to the tile at [i,j] to E·U_BB⁻¹.
func (e *encoding) errors(errs quant.Matrix, states []uint32, w quant.Matrix, i, j int) {
	for r := range side {
		row, out := w.Row(i*side + r)[j*side:(j+1)*side], errs.Row(i*side+r)
		scale := half.FromF16(e.scales[i*side+r])
		var f [side]float64
		for c := range side {
			f[c] = float64(row[c]) - float64(e.values[states[r*side+c]]*scale)
			for b := range c {
				f[c] -= f[b] * e.u[(j*side+b)*e.k+j*side+c]
			}
			f[c] /= e.u[(j*side+c)*e.k+j*side+c]
			out[c] = float32(f[c])
		}
	}
}

// run quantizes tile after tile of columns and takes their errors to later columns:
// with the error E of the columns B, the rest changes by -E·U_BB⁻¹·U_B,rest, which is
// LDLQ of blocks, the last block of the authors being the first here. w is overwritten.
func (e *encoding) run(w quant.Matrix) {
	errs := gemm.NewMatrix(e.n, side)
	for j := range e.k / side {
		start, end := j*side, (j+1)*side
		rows := e.n / side
		searches := make(chan *search, rows)
		parallel.For(rows, func(i int) error {
			var s *search
			select {
			case s = <-searches:
			default:
				s = newSearch(e.values, e.Bits, tile)
			}
			e.tile(s, w, i, j)
			e.errors(errs, s.chosen, w, i, j)
			searches <- s
			return nil
		})
		if end == e.k {
			return
		}
		u := gemm.NewMatrix(side, e.k-end)
		for b := range side {
			for t, v := range e.u[(start+b)*e.k+end : (start+b+1)*e.k] {
				u.Row(b)[t] = float32(v)
			}
		}
		gemm.Gemm(false, false, -1, errs, u, 1, w.View(0, e.n, end, e.k))
	}
}
