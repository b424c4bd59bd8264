package trial

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/store"
	"github.com/mosaicquant/mosaicquant/quant"
)

// layer is a quantized linear layer and what was measured of it.
type layer struct {
	*quant.Quantized
	lost         float64 // tr(E·H·Eᵀ)
	baseLost     float64 // that of the base alone, where there is a residual
	weightLost   float64 // ||E||²
	weightEnergy float64 // ||W||²
	seconds      float64 // that the method took, in whichever run
	stored       bool    // it is of an earlier run
}

// layer quantizes the i-th linear layer l, unless an earlier run of the same
// quantization has stored it. k may store it.
func (s *Subject) layer(t plan.Trial, i int, l llm.Linear, method quant.Quantizer, in *inputs, k *keeper) (*layer, error) {
	key, err := s.layerKey(t, i)
	if err != nil {
		return nil, err
	}
	q := &layer{Quantized: &quant.Quantized{}}
	if s.lab.Store.Has(key) {
		if err := s.lab.Store.Get(key, func(r io.Reader, size int64) error { return q.decode(r, size, l.N, l.K) }); err == nil {
			q.stored = true
			return q, nil
		} else if !errors.Is(err, store.ErrAbsent) {
			return nil, err
		}
	}
	p := in.problem(t, i, l)
	p.Weights = load(l)
	w, moments := p.Weights, in.moments
	start := time.Now()
	if q.Quantized, err = method.Quantize(p); err != nil {
		return nil, err
	}
	q.seconds = time.Since(start).Seconds()
	q.lost = quant.OutputError(w, q, moments)
	if q.Residual != nil {
		q.baseLost = quant.OutputError(w, q.WithoutResidual(), moments)
	}
	q.weightLost, q.weightEnergy = quant.WeightError(w, q)
	return q, k.add(key, q.encode)
}

// noteStored tells how many layers of the trial t an earlier run has left.
func (s *Subject) noteStored(t plan.Trial) {
	n := 0
	for i := range s.linears {
		if key, err := s.layerKey(t, i); err == nil && s.lab.Store.Has(key) {
			n++
		}
	}
	if n > 0 {
		s.note("%s: goes on: %d of %d linear layers were quantized by a run that did not end", t.Label, n, len(s.linears))
	}
}

// dropLayers deletes the layers that the trial t stored.
func (s *Subject) dropLayers(t plan.Trial) {
	for i := range s.linears {
		if key, err := s.layerKey(t, i); err == nil && s.lab.Store.Has(key) {
			s.lab.Store.Delete(key)
		}
	}
}

// layerKey names the i-th linear layer as the method of t quantizes it.
func (s *Subject) layerKey(t plan.Trial, i int) (store.Key, error) {
	method, err := json.Marshal(t.Method)
	if err != nil {
		return store.Key{}, err
	}
	l := s.linears[i]
	parts := []string{epoch, s.statisticsKey(l.Site).String(), l.Name, string(method), fmt.Sprint(seed(t.Calibration.Seed, i))}
	if t.Method.Word("criterion") == "oracle" {
		parts = append(parts, s.heldOut.statisticsKey(l.Site).String())
	}
	return store.NewKey("layer", 3, parts...), nil
}

func (q *layer) measures() []*float64 {
	return []*float64{&q.lost, &q.baseLost, &q.weightLost, &q.weightEnergy, &q.seconds}
}

func (q *layer) encode(w io.Writer) error {
	data, err := q.Quantized.MarshalBinary()
	if err != nil {
		return err
	}
	var head []byte
	for _, v := range q.measures() {
		head = binary.LittleEndian.AppendUint64(head, math.Float64bits(*v))
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

// decode reads what encode writes of a layer [n,k].
func (q *layer) decode(r io.Reader, size int64, n, k int) error {
	data := make([]byte, size)
	if _, err := io.ReadFull(r, data); err != nil {
		return err
	}
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
	if gotN, gotK := q.Dims(); gotN != n || gotK != k {
		return fmt.Errorf("layer [%d,%d], want [%d,%d]", gotN, gotK, n, k)
	}
	return nil
}

// row describes q, whose weights have the output energy tr(W·H·Wᵀ).
func (q *layer) row(l llm.Linear, energy float64) row.Layer {
	r := row.Layer{
		Name: l.Name, N: l.N, K: l.K, BitsPerWeight: q.BitsPerWeight(),
		WeightError: relative(q.weightLost, q.weightEnergy), OutputError: relative(q.lost, energy), Density: q.Density(),
	}
	if q.Residual != nil {
		base := relative(q.baseLost, energy)
		r.BaseOutputError = &base
	}
	return r
}

// release is the function of that name for all layers.
func (s *Subject) release() {
	for _, l := range s.linears {
		release(l)
	}
}

// load returns the weights [N,K] of l and releases them.
func load(l llm.Linear) gemm.Matrix {
	w := gemm.NewMatrix(l.N, l.K)
	l.Weights.Load(w, 0, 0)
	release(l)
	return w
}

// release tells the operating system that the mapped bytes of l are not needed
// in memory for now: a model that is read layer by layer does not pile up.
func release(l llm.Linear) {
	if t, ok := l.Weights.(interface{ Release() }); ok {
		t.Release()
	}
}

// outputEnergy returns tr(W·H·Wᵀ) of l.
func outputEnergy(l llm.Linear, m *quant.Moments) float64 { return quant.OutputEnergy(load(l), m) }
