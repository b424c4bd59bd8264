package trial

import (
	"context"
	"fmt"
	"math"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/quant"
)

// densities returns the density of each linear layer where all layers share one
// budget: the bytes that m.Density of the blocks of every layer cost. Each layer
// is quantized once more for its scores; memory is 4 bytes for each block of the
// model, beside one layer. Scores are falls of tr(E·H·Eᵀ), in the units of the
// layer's outputs, or, for the budget relative, shares of its tr(W·H·Wᵀ); those of
// a joint residual are falls of what GPTQ's loop makes of it.
func (s *Subject) densities(ctx context.Context, t plan.Trial, method quant.Quantizer, model *llm.Model, scales map[string][]float32) ([]float64, error) {
	m, ok := method.(quant.Mosaic)
	if !ok {
		return nil, fmt.Errorf("budget %s: method %s chooses no blocks", t.Method.Budget, t.Method.Name)
	}
	var scores [][]float32
	var cost, count []int
	err := s.each(ctx, model, scales, false, func(i int, l llm.Linear, in *inputs) error {
		p := in.problem(t, i, l)
		p.Weights = load(l)
		gains, bytes, err := m.Scores(p)
		if err != nil {
			return err
		}
		unit := 1.0
		if t.Method.Budget == "relative" && in.energy > 0 {
			unit = in.energy
		}
		short := make([]float32, len(gains))
		for b, g := range gains {
			short[b] = float32(g / unit)
		}
		scores, cost = append(scores, short), append(cost, bytes)
		count = append(count, int(math.Round(m.Density*float64(len(gains)))))
		return nil
	})
	if err != nil {
		return nil, err
	}
	density := make([]float64, len(scores))
	for l, n := range quant.Share(scores, cost, count) {
		density[l] = float64(n) / float64(len(scores[l]))
	}
	return density, nil
}
