package trial

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/row"
)

// Run quantizes and evaluates the trial t, which must be one of this subject.
// A trial that fails gives a row with status failed and the reason; only a cancelled
// context is an error.
func (s *Subject) Run(ctx context.Context, t plan.Trial) (*row.Row, error) {
	r, err := s.describe(t)
	if err != nil {
		return nil, err
	}
	if err := s.run(ctx, t, r); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		r.Fail(err)
	}
	return r, nil
}

// describe returns the row of t without results.
func (s *Subject) describe(t plan.Trial) (*row.Row, error) {
	config, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	return &row.Row{
		Schema: row.Schema, Trial: s.ID(t), Label: t.Label, Title: t.Title, Baseline: t.Baseline,
		Axes: t.Axes(), Config: config, Status: row.OK,
		Start: time.Now().UTC().Format(time.RFC3339),
	}, nil
}

func (s *Subject) run(ctx context.Context, t plan.Trial, r *row.Row) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	r.Warnings = append(r.Warnings, s.source.warnings...)
	if slices.ContainsFunc(t.Method.Variants(), func(m plan.Method) bool { return m.Word("criterion") == "oracle" }) {
		r.Warnings = append(r.Warnings, "criterion oracle chose its blocks on the evaluated text: a bound, not a method")
	}
	if t.Method.Checkpoint() != "" {
		return s.runImported(ctx, t, r)
	}
	start := time.Now()
	q, err := s.quantize(ctx, t, r)
	if err != nil {
		return err
	}
	quantized := time.Now()
	e, err := s.evaluate(ctx, t, q.view(), r)
	if err != nil {
		return err
	}
	evaluated := time.Now()

	q.drop()
	s.evaluator.drop(s.ID(t))
	q.report(r)
	s.evaluator.report(e, r)
	r.Values = append(r.Values,
		row.Value{Name: row.QuantizeTime, Value: quantized.Sub(start).Seconds() + q.spared, Unit: "s"},
		row.Value{Name: row.EvalTime, Value: evaluated.Sub(quantized).Seconds() + e.spared, Unit: "s"})
	return nil
}
