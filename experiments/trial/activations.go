package trial

import (
	"context"
	"fmt"
	"strconv"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
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

// atSite returns a with what t asks for at a site whose channels are at most absMax.
func atSite(t plan.Trial, a quant.Activations, absMax []float32) quant.Activations {
	switch {
	case t.ActivationsScale == "static":
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
	site   string
	inputs quant.Activations // of the site
	bytes  int64             // of all sites so far: 4 for a scale, 2 for the place of a channel
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
	st, err := s.pass.scaled(ctx, l.Site, s.scales)
	if err != nil {
		return a, err
	}
	s.site, s.inputs = l.Site, atSite(s.trial, a, st.moments.AbsMax)
	if s.inputs.Static != nil {
		s.bytes += 4 * int64(s.inputs.Static.Scales())
	} else {
		s.bytes += 2 * int64(l.K)
	}
	return s.inputs, nil
}
