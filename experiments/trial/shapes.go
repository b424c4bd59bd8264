package trial

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mosaicquant/mosaicquant/experiments/method"
	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/quant/baseline"
)

// CheckShapes returns why the trial t, one of this subject, must fail with the shapes of
// its model's linear layers: groups of a fixed size that do not divide K, vectors or tiles that do not divide N, a low-rank
// branch of a rank that no matrix of that size has, residual blocks larger than it, a
// share of channels that keeps none or all, blocks of a transform that are no part of K,
// or packed execution of a size that has no kernel. It returns nil for what cannot be
// told without quantizing.
func (s *Subject) CheckShapes(t plan.Trial) error {
	if path := t.Method.Checkpoint(); path != "" {
		c, err := s.source.lab.openCheckpoint(context.Background(), path)
		if err != nil {
			return err
		}
		return errors.Join(sameArchitecture(s.source.model.Config(), c.Model.Config()), c.Close())
	}
	if err := s.source.checkTransform(); err != nil {
		return err
	}
	if err := s.source.checkPatterns(t.Method); err != nil {
		return err
	}
	for _, l := range s.source.linears {
		own := t
		own.Method = t.Method.At(l.Name, s.source.model.Config().Layers)
		if err := checkShape(own, l.N, l.K); err != nil {
			return fmt.Errorf("%s: %w", l.Name, err)
		}
	}
	return nil
}

// checkShape returns why the method of t must fail with a matrix [n,k].
func checkShape(t plan.Trial, n, k int) error {
	form, err := t.Method.Form()
	if err != nil || form == nil { // a matrix without a form stays in 16 bits
		return err
	}
	built, err := t.Method.Quantizer()
	if err != nil {
		return err
	}
	var fits interface{ Fits(k int) error } = form.Base
	if m, ok := built.(baseline.Mixed); ok { // the kept channels leave a smaller K
		fits = m
	}
	if err := fits.Fits(k); err != nil {
		return err
	}
	if m, ok := built.(interface{ FitsRows(n int) error }); ok {
		if err := m.FitsRows(n); err != nil {
			return err
		}
	}
	if r := form.Residual; r != nil && (r.BlockRows > n || r.BlockCols > k) {
		return fmt.Errorf("block %s is larger than the matrix of %dx%d", t.Method.Block("block"), n, k)
	}
	if low := min(n, k); form.LowRank > low {
		return fmt.Errorf("rank %d outside 1..%d", form.LowRank, low)
	}
	if t.Execution == "packed" {
		if err := ExecutableAt(t, n, k); err != nil {
			return fmt.Errorf("execution: packed: %w", err)
		}
	}
	return nil
}

// checkPatterns reports patterns of settings by layer that match no linear layer.
func (s *source) checkPatterns(m plan.Method) error {
	patterns := map[string][]string{"ignore": m.Ignore()}
	for _, o := range m.Overrides() {
		patterns["layers"] = append(patterns["layers"], o.Match)
	}
	for _, key := range []string{"ignore", "layers"} {
		for _, p := range patterns[key] {
			fits := func(l llm.Linear) bool { return method.Matches(p, l.Name, s.model.Config().Layers) }
			if !slices.ContainsFunc(s.linears, fits) {
				return fmt.Errorf("%s: %q matches no linear layer of %s, such as %s", key, p, s.name, s.linears[0].Name)
			}
		}
	}
	return nil
}
