package trial

import (
	"context"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
)

// Prepare computes what the trials of the subject share and puts it into the
// store, where it is not there yet: the final hidden states of the 16-bit model
// and, if any of the trials quantizes weights, the statistics
// of the calibration. A store that does not take them is an error.
func (s *Subject) Prepare(ctx context.Context, trials []plan.Trial) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	quantizes := false
	for _, t := range trials {
		quantizes = quantizes || t.Method.Name() != "none"
	}
	if quantizes {
		calibrated := &calibration{s: s}
		for _, l := range s.linears {
			if s.lab.Store.Has(s.statisticsKey(l.Site)) {
				continue
			}
			if _, err := calibrated.statistics(ctx, l.Site); err != nil { // and those of all other sites
				return err
			}
			if err := s.lab.Store.Failed(); err != nil {
				return err
			}
		}
	}
	for first := 0; first < len(s.windows); {
		last, seqs := batch(s.windows, first)
		if _, err := s.reference(ctx, first, last, seqs); err != nil {
			return err
		}
		first = last
	}
	return s.lab.Store.Failed()
}
