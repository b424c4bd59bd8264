package trial

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mosaicquant/mosaicquant/experiments/method"
	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/llm"
)

// CheckShapes returns why the trial t, one of this subject, must fail with the shapes of
// its model's linear layers: groups of a fixed size that do not divide K, a low-rank
// branch of a rank that no matrix of that size has, blocks of a transform that are no
// part of K, or packed execution of a size that has no kernel. It returns nil for what
// cannot be told without quantizing.
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
		form, err := own.Method.Form()
		if err != nil {
			return err
		}
		if form == nil { // it stays in 16 bits
			continue
		}
		// Channels that are kept apart leave a smaller K, which the data decides.
		if form.Columns == 0 {
			if err := form.Base.Fits(l.K); err != nil {
				return fmt.Errorf("%s: %w", l.Name, err)
			}
		}
		if low := min(l.N, l.K); form.LowRank > low {
			return fmt.Errorf("%s: rank %d outside 1..%d", l.Name, form.LowRank, low)
		}
		if t.Execution != "packed" {
			continue
		}
		if err := ExecutableAt(own, l.N, l.K); err != nil {
			return fmt.Errorf("%s: execution: packed: %w", l.Name, err)
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
