package trial

import (
	"context"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
)

// Prepare computes what the trials of the subject share and puts it into the
// store, where it is not there yet: the final hidden states of the 16-bit model
// and, if any of the trials quantizes weights, the statistics
// of the calibration and the sample of inputs on the evaluated text. A store that does not take them is an error.
func (s *Subject) Prepare(ctx context.Context, trials []plan.Trial) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	quantizes := false
	for _, t := range trials {
		quantizes = quantizes || t.Method.Name() != "none"
	}
	if quantizes {
		pass := s.calibrated.begin()
		for _, l := range s.source.linears {
			if pass.store().Has(pass.statisticsKey(l.Site)) {
				continue
			}
			if _, err := pass.statistics(ctx, l.Site); err != nil { // and those of all other sites
				return err
			}
			if err := pass.store().Failed(); err != nil {
				return err
			}
		}
		if err := s.inputs.prepare(ctx); err != nil {
			return err
		}
	}
	if err := s.evaluator.prepare(ctx); err != nil {
		return err
	}
	return s.source.lab.Store.Failed()
}
