package trial

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/quant"
)

// layer is a quantized linear layer and what was measured of it. Quantized is nil
// where the layer stays in 16 bits; then nothing was measured.
type layer struct {
	*quant.Quantized
	linear       llm.Linear
	energy       float64 // tr(W·H·Wᵀ)
	lost         float64 // tr(E·H·Eᵀ)
	baseLost     float64 // that of the base alone, where there is a residual
	weightLost   float64 // ||E||²
	weightEnergy float64 // ||W||²
	// ||X·Eᵀ||² and ||X·Wᵀ||² on a sample of the evaluated text, see evaluatedInputs. A
	// trial on another text that finds the layer in the store measures its own.
	evaluatedLost, evaluatedEnergy float64
	sample                         string  // key of the sample
	seconds                        float64 // that the method took, in whichever run
	stored                         bool    // it is of an earlier run
}

// measure compares the layer with the weights and moments of p.
func (q *layer) measure(p quant.Problem) {
	q.lost = quant.OutputError(p.Weights, q, p.Moments)
	if q.Residual != nil {
		q.baseLost = quant.OutputError(p.Weights, q.WithoutResidual(), p.Moments)
	}
	q.weightLost, q.weightEnergy = quant.WeightError(p.Weights, q)
}

// measures are what is stored beside the layer.
func (q *layer) measures() []*float64 {
	return []*float64{&q.lost, &q.baseLost, &q.weightLost, &q.weightEnergy, &q.seconds,
		&q.evaluatedLost, &q.evaluatedEnergy}
}

func (q *layer) encode(w io.Writer) error {
	data, err := q.Quantized.MarshalBinary()
	if err != nil {
		return err
	}
	head := append([]byte{byte(len(q.sample))}, q.sample...)
	for _, v := range q.measures() {
		head = binary.LittleEndian.AppendUint64(head, math.Float64bits(*v))
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

// decode reads what encode writes of a layer of the size of q.linear.
func (q *layer) decode(r io.Reader, size int64) error {
	data := make([]byte, size)
	if _, err := io.ReadFull(r, data); err != nil {
		return err
	}
	if len(data) == 0 || len(data) <= int(data[0]) {
		return io.ErrUnexpectedEOF
	}
	q.sample, data = string(data[1:][:data[0]]), data[1:][data[0]:]
	for _, v := range q.measures() {
		if len(data) < 8 {
			return io.ErrUnexpectedEOF
		}
		*v = math.Float64frombits(binary.LittleEndian.Uint64(data))
		data = data[8:]
	}
	if err := q.Quantized.UnmarshalBinary(data); err != nil {
		return err
	}
	if n, k := q.Dims(); n != q.linear.N || k != q.linear.K {
		return fmt.Errorf("layer [%d,%d], want [%d,%d]", n, k, q.linear.N, q.linear.K)
	}
	return nil
}

// row describes q.
func (q *layer) row() row.Layer {
	r := row.Layer{
		Name: q.linear.Name, N: q.linear.N, K: q.linear.K, BitsPerWeight: q.BitsPerWeight(), Density: q.Density(),
		WeightError: relative(q.weightLost, q.weightEnergy), OutputError: relative(q.lost, q.energy),
	}
	if q.Residual != nil {
		base := relative(q.baseLost, q.energy)
		r.BaseOutputError = &base
	}
	return r
}

// relative returns lost/total; what loses nothing has no error, also where
// there was nothing to lose (a layer of zeros).
func relative(lost, total float64) float64 {
	if lost == 0 {
		return 0
	}
	return lost / total
}
