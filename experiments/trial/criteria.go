package trial

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/quant/mosaic"
)

// Criteria names the criteria that a study compares where nothing else is asked
// for: all that choose blocks for a given residual.
var Criteria = []string{"random", "weight", "error", "diag", "delta", "full", "greedy", "oracle"}

// StudyOf reduces a trial of mosaic to what a study of criteria depends on; ok is
// false where it has no criterion to study: another method, a joint residual,
// whose blocks are chosen before there is a base, or one that AWQ scales.
func StudyOf(t plan.Trial) (study plan.Trial, ok bool) {
	if t.Method.Name() != "mosaic" || t.Method.Bool("joint") || t.Method.Bool("awq") || t.Method.ByLayer() {
		return t, false
	}
	t.Activations, t.Tasks, t.Label, t.Baseline, t.Title = "a16", "", "", "", ""
	t.Method = t.Method.With("criterion", "delta").With("density", 0.0).With("budget", "")
	return t, true
}

// StudyID identifies a study of this subject by all that it depends on.
func (s *Subject) StudyID(t plan.Trial, criteria []string, densities []float64) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "study 1 %s %q %v", s.ID(t), criteria, densities))
	return hex.EncodeToString(sum[:8])
}

// Study compares criteria at some densities on every linear layer, for a trial
// from StudyOf. The rows lack label and environment.
func (s *Subject) Study(ctx context.Context, t plan.Trial, criteria []string,
	densities []float64) ([]row.Criteria, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	method, err := t.Method.Quantizer()
	if err != nil {
		return nil, err
	}
	m, ok := method.(mosaic.Mosaic)
	if !ok {
		return nil, fmt.Errorf("method %s chooses no blocks", t.Method.Name())
	}
	q, err := s.quantization(ctx, t)
	if err != nil {
		return nil, err
	}
	axes := t.Axes()
	for _, k := range []string{"criterion", "density", "budget", "activations"} {
		delete(axes, k)
	}
	var names []mosaic.Criterion
	for _, name := range criteria {
		i := slices.IndexFunc(mosaic.Criteria, func(c mosaic.Criterion) bool { return c.String() == name })
		if i < 0 {
			return nil, fmt.Errorf("unknown criterion %q", name)
		}
		names = append(names, mosaic.Criteria[i])
	}
	var rows []row.Criteria
	for p, err := range q.problems(ctx, true) {
		if err != nil {
			return nil, err
		}
		st, err := m.Study(p.whole(), names, densities)
		if err != nil {
			return nil, err
		}
		l := p.linear
		r := row.Criteria{
			Schema: row.Schema, Study: s.StudyID(t, criteria, densities), Axes: axes,
			Layer: l.Name, N: l.N, K: l.K, Blocks: st.Blocks,
			BaseError: relative(st.Lost, st.Energy), BaseHeldOut: relative(st.HeldOutLost, st.HeldOutEnergy),
			Densities: densities, Warnings: s.source.warnings,
		}
		for _, c := range st.Criteria {
			one := row.CriterionResult{
				Name: c.Criterion.String(), Recovered: c.Recovered, HeldOut: c.HeldOut,
				Spearman: map[string]float64{}, Overlap: map[string][]float64{},
			}
			for j, other := range criteria {
				if other == one.Name {
					continue
				}
				if rho := c.Spearman[j]; rho == rho { // a number
					one.Spearman[other] = rho
				}
				one.Overlap[other] = c.Overlap[j]
			}
			r.Criteria = append(r.Criteria, one)
		}
		rows = append(rows, r)
	}
	return slices.Clip(rows), nil
}
