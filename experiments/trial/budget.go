package trial

import (
	"context"
	"fmt"

	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/mosaic"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// share returns the quantizer of each linear layer where all layers share one
// budget: the bytes that the trial's method costs if every layer has its settings.
// Each layer is quantized beforehand, to see what it would gain. Gains are falls of
// tr(E·H·Eᵀ), in the units of the layer's outputs, or, for the budget relative,
// shares of its tr(W·H·Wᵀ).
func (q *quantization) share(ctx context.Context) ([]quant.Quantizer, error) {
	settings := q.trial.Method
	method, err := settings.Quantizer()
	if err != nil {
		return nil, err
	}
	// each calls f with all problems.
	each := func(f func(p quant.Problem, unit float64) error) error {
		for p, err := range q.problems(ctx, false) {
			if err != nil {
				return err
			}
			unit := 1.0
			if settings.Word("budget") == "relative" && p.energy > 0 {
				unit = p.energy
			}
			if err := f(p.whole(), unit); err != nil {
				return err
			}
			step(ctx, Budgeting, p.index+1, len(q.source.linears))
		}
		return nil
	}
	switch m := method.(type) {
	case blockMethod:
		return sharedBlocks(m, each)
	case solve.GPTQ:
		return sharedGroups(m, each)
	}
	return nil, fmt.Errorf("budget %s: method %s has nothing to share", settings.Word("budget"), settings.Name())
}

// blockMethod is a method that keeps blocks of a residual: mosaic.Mosaic or mosaic.Joint.
type blockMethod interface {
	Scores(p quant.Problem) (scores []float64, bytes int, err error)
	Count(blocks int) int
	WithDensity(density float64) quant.Quantizer
}

var _, _ blockMethod = mosaic.Mosaic{}, mosaic.Joint{}

// sharedBlocks keeps the residual blocks of the largest gain per byte, wherever
// they are. It takes 4 bytes for each block of the model.
func sharedBlocks(m blockMethod,
	each func(func(p quant.Problem, unit float64) error) error) ([]quant.Quantizer, error) {
	var scores [][]float32
	var cost, count []int
	err := each(func(p quant.Problem, unit float64) error {
		gains, bytes, err := m.Scores(p)
		if err != nil {
			return err
		}
		short := make([]float32, len(gains))
		for b, g := range gains {
			short[b] = float32(g / unit)
		}
		scores, cost = append(scores, short), append(cost, bytes)
		count = append(count, m.Count(len(gains)))
		return nil
	})
	if err != nil {
		return nil, err
	}
	methods := make([]quant.Quantizer, len(scores))
	for l, n := range mosaic.Share(scores, cost, count) {
		methods[l] = m.WithDensity(float64(n) / float64(len(scores[l])))
	}
	return methods, nil
}

// sharedGroups gives each layer groups of its own size, from a quarter to four
// times that of m, by what GPTQ loses with each. Sizes other than that of m must
// divide the layer's K.
func sharedGroups(m solve.GPTQ, each func(func(p quant.Problem, unit float64) error) error) ([]quant.Quantizer, error) {
	var options [][]mosaic.Option
	var methods [][]quant.Quantizer
	var own []int
	err := each(func(p quant.Problem, unit float64) error {
		var o []mosaic.Option
		var ms []quant.Quantizer
		for _, quarters := range []int{1, 2, 4, 8, 16} {
			sized := m
			sized.Format.Group = m.Format.Group * quarters / 4
			if m.Format.Group*quarters%4 != 0 || quarters != 4 && p.Weights.Cols%sized.Format.Group != 0 {
				continue
			}
			if quarters == 4 {
				own = append(own, len(o))
			}
			ms = append(ms, sized)
			sized.Refine = 0
			q, err := sized.Quantize(p)
			if err != nil {
				return err
			}
			o = append(o, mosaic.Option{Bytes: q.Ledger().Total(), Loss: quant.OutputError(p.Weights, q, p.Moments) / unit})
		}
		options, methods = append(options, o), append(methods, ms)
		return nil
	})
	if err != nil {
		return nil, err
	}
	chosen := make([]quant.Quantizer, len(options))
	for l, c := range mosaic.Allocate(options, own) {
		chosen[l] = methods[l][c]
	}
	return chosen, nil
}
