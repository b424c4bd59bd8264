package trial

import (
	"context"
	"fmt"
	"strconv"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/quant"
)

// activations returns how the inputs of the layers of t are rounded, but for static
// scales and wide channels, which are each site's own, see atSite.
func activations(t plan.Trial) (quant.Activations, error) {
	a, err := quant.ParseActivations(t.Activations)
	if err != nil {
		return a, err
	}
	switch t.ActivationsGroup {
	case "":
	case "row":
		a.Group = 0
	default:
		if a.Group, err = strconv.Atoi(t.ActivationsGroup); err != nil {
			return a, fmt.Errorf("activations_group: %w", err)
		}
	}
	a.Affine, a.Clip = t.ActivationsZero == "asymmetric", t.ActivationsClip
	return a, a.Validate()
}

// atSite returns a with what t asks for at a site whose channels are at most absMax, but
// for a search for static scales.
func atSite(t plan.Trial, a quant.Activations, absMax []float32) quant.Activations {
	switch {
	case t.ActivationsScale != "":
		return a.WithStatic(absMax)
	case t.ActivationsWide > 0:
		return a.WithWide(absMax, t.ActivationsWide)
	}
	return a
}

// siteInputs finds scales and wide channels of inputs beforehand, site by site.
type siteInputs struct {
	trial  plan.Trial
	pass   *pass
	scales map[string][]float32 // of smoothing
	// searched has inputs with static scales of least error, by site; nil for those of the
	// largest inputs.
	searched map[string]quant.Activations
	site     string
	inputs   quant.Activations // of the site
	bytes    int64             // of all sites so far: 4 for a scale, 2 for the place of a channel
}

// name is that of the bytes in the ledger.
func (s *siteInputs) name() string {
	if s.trial.ActivationsWide > 0 {
		return "input order"
	}
	return "input scales"
}

// at returns a with what belongs to the site of l.
func (s *siteInputs) at(ctx context.Context, l llm.Linear, a quant.Activations) (quant.Activations, error) {
	if s.site == l.Site {
		return s.inputs, nil
	}
	s.site = l.Site
	if s.searched != nil {
		s.inputs = s.searched[l.Site]
	} else {
		st, err := s.pass.scaled(ctx, l.Site, s.scales)
		if err != nil {
			return a, err
		}
		s.inputs = atSite(s.trial, a, st.moments.AbsMax)
	}
	if s.inputs.Static != nil {
		s.bytes += 4 * int64(s.inputs.Static.Scales())
	} else {
		s.bytes += 2 * int64(l.K)
	}
	return s.inputs, nil
}

// search finds static scales of least error: of each site on a sample of the inputs that
// the 16-bit model m, smoothed or not, gives it on calibration text.
func (s *siteInputs) search(ctx context.Context, m *llm.Model, a quant.Activations) error {
	s.searched = map[string]quant.Activations{}
	var failed error
	err := s.pass.activations(ctx, m, func(site string, x gemm.Matrix) {
		if failed != nil {
			return
		}
		var st *statistics
		if st, failed = s.pass.scaled(ctx, site, s.scales); failed == nil {
			s.searched[site] = a.WithStatic(st.moments.AbsMax).WithSearched(evenRows(x, searchRows))
		}
	})
	if err != nil {
		return err
	}
	return failed
}
