package trial

import (
	"context"
	"errors"
	"fmt"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
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
	form, err := t.Method.Form()
	if err != nil || form == nil {
		return err
	}
	for _, l := range s.source.linears {
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
		if err := ExecutableAt(t, l.N, l.K); err != nil {
			return fmt.Errorf("%s: execution: packed: %w", l.Name, err)
		}
	}
	return nil
}
