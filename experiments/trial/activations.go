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
// scales, which are each layer's own.
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

// staticInputs finds the scales of inputs beforehand, site by site.
type staticInputs struct {
	pass   *pass
	scales map[string][]float32 // of smoothing
	site   string
	inputs quant.Activations // of the site
	bytes  int64             // of the scales of all sites so far, 4 for each
}

// at returns a with the static scales of the site of l.
func (s *staticInputs) at(ctx context.Context, l llm.Linear, a quant.Activations) (quant.Activations, error) {
	if s.site == l.Site {
		return s.inputs, nil
	}
	st, err := s.pass.scaled(ctx, l.Site, s.scales)
	if err != nil {
		return a, err
	}
	s.site, s.inputs = l.Site, a.WithStatic(st.moments.AbsMax)
	s.bytes += 4 * int64(s.inputs.Static.Scales())
	return s.inputs, nil
}
