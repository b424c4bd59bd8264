package trial

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/baseline"
)

// searchRows is how many of the first learnTokens inputs of a site a search for scales
// goes by.
const searchRows = 256

// searchTries is about how many scales a search tries at a site.
const searchTries = 23

// searchInputs names all that the scales of a search depend on beside calibration, kind
// of search and sites: how inputs are rounded, and the format of each layer.
func (c *calibrator) searchInputs(t plan.Trial) string {
	var b strings.Builder
	fmt.Fprint(&b, learnTokens, searchRows, t.Activations, t.ActivationsGroup, t.ActivationsZero, t.ActivationsClip,
		t.ActivationsScale, t.ActivationsWide)
	for _, l := range c.source.linears {
		m := t.Method.At(l.Name, c.source.model.Config().Layers)
		fmt.Fprint(&b, " ", m.Word("format"), m.Int("group"))
	}
	return b.String()
}

// smoothSearch finds scales layer by layer.
type smoothSearch struct {
	*calibrator
	pass    *pass
	trial   plan.Trial
	inputs  quant.Activations
	samples map[string]gemm.Matrix // of the sites of a layer
	scales  map[string][]float32   // of all sites so far
	losses  []float64              // with one alpha for the model: of none, and of each alpha
}

// searchScales finds the scales that the method of t asks for. A search compares what the
// layers of a site lose on a sample of their inputs when inputs and weights are rounded
// to nearest, see baseline.SmoothSite; scales of ones are among what it tries.
func (c *calibrator) searchScales(ctx context.Context, t plan.Trial) (map[string][]float32, error) {
	inputs, err := activations(t)
	if err != nil {
		return nil, err
	}
	s := &smoothSearch{calibrator: c, pass: c.begin(), trial: t, inputs: inputs,
		samples: map[string]gemm.Matrix{}, scales: map[string][]float32{},
		losses: make([]float64, 1+len(baseline.SmoothAlphas()))}
	layers := c.source.model.Config().Layers
	layer := 0
	failed := c.activations(ctx, c.source.model, func(site string, x gemm.Matrix) {
		if err != nil {
			return
		}
		s.samples[site] = evenRows(x, searchRows)
		if strings.HasSuffix(site, ".mlp_mid") { // the last one of a layer
			if err = ctx.Err(); err == nil {
				err = s.layer(ctx, layer)
			}
			clear(s.samples)
			layer++
			step(ctx, Calibrating, layer, layers)
		}
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return nil, fmt.Errorf("smoothing_search: %w", err)
	}
	if t.Method.Word("smoothing_search") == "global" {
		return s.global(ctx)
	}
	return s.scales, nil
}

// norms reports whether inputs of o_proj and down_proj stay as they are.
func (s *smoothSearch) norms() bool { return s.trial.Method.Word("smoothing_sites") == "norms" }

// global returns the scales of the alpha of least loss over all layers.
func (s *smoothSearch) global(ctx context.Context) (map[string][]float32, error) {
	best := 0
	for i, loss := range s.losses {
		if loss < s.losses[best] {
			best = i
		}
	}
	if best > 0 {
		return s.smoothScales(ctx, baseline.SmoothAlphas()[best-1], s.norms())
	}
	for _, l := range s.source.linears {
		for _, group := range smoothSteps(s.norms()) {
			if strings.HasSuffix(l.Site, group[0]) || strings.HasSuffix(l.Site, group[1]) {
				s.scales[l.Site] = ones(l.K)
			}
		}
	}
	return s.scales, nil
}

// layer searches the sites of a layer, whose samples are known.
func (s *smoothSearch) layer(ctx context.Context, layer int) error {
	if s.trial.Method.Word("smoothing_search") != "global" {
		return s.pick(ctx, layer, s.scales, s.search)
	}
	for i := range s.losses {
		err := s.pick(ctx, layer, map[string][]float32{}, func(site *searchedSite) ([]float32, error) {
			var scales []float32
			if i > 0 {
				scales = baseline.SmoothScales(site.act, site.weight, baseline.SmoothAlphas()[i-1])
			}
			loss, err := site.Loss(scales)
			s.losses[i] += loss
			return scales, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// pick lets choose find the scales of the sites of a layer, step by step, and puts them
// into scales, ones for nil.
func (s *smoothSearch) pick(ctx context.Context, layer int, scales map[string][]float32,
	choose func(*searchedSite) ([]float32, error)) error {
	own := map[string][]float32{} // of this layer
	for _, group := range smoothSteps(s.norms()) {
		model, err := s.source.model.Scale(own)
		if err != nil {
			return err
		}
		for _, suffix := range group {
			site, err := s.site(ctx, model, layer, suffix)
			if err != nil {
				return err
			}
			chosen, err := choose(site)
			if err != nil {
				return err
			}
			if chosen == nil {
				chosen = ones(site.X.Cols)
			}
			own[site.name], scales[site.name] = chosen, chosen
		}
	}
	return nil
}

// searchedSite is a site with what candidates are made of.
type searchedSite struct {
	baseline.SmoothSite
	name        string
	act, weight []float32 // largest input and weight of each channel
}

// site returns the site of a layer with the given suffix, whose layers are those of model.
func (s *smoothSearch) site(ctx context.Context, model *llm.Model, layer int, suffix string) (*searchedSite, error) {
	site := &searchedSite{}
	for _, l := range model.Linears() {
		if l.Layer != layer || !strings.HasSuffix(l.Site, suffix) {
			continue
		}
		if site.name == "" {
			st, err := s.pass.statistics(ctx, l.Site)
			if err != nil {
				return nil, err
			}
			site.name, site.weight = l.Site, make([]float32, l.K)
			site.X, site.Moments = s.samples[l.Site], st.moments
			site.Inputs = func(absMax []float32) quant.Activations { return atSite(s.trial, s.inputs, absMax) }
		}
		w := load(l)
		baseline.RaiseColumnMax(site.weight, w)
		m := s.trial.Method.At(l.Name, s.source.model.Config().Layers)
		part := baseline.SmoothLayer{Name: l.Name, Weights: w}
		if m.Method().Quantizes() {
			f, err := quant.ParseFormat(m.Word("format"), m.Int("group"))
			if err != nil {
				return nil, err
			}
			part.Format = &f
		}
		site.Layers = append(site.Layers, part)
	}
	from := model.Producers(site.name)
	site.act, site.weight = pool(site.Moments.AbsMax, from), pool(site.weight, from)
	return site, nil
}

// search returns the scales of least loss of a site, nil where none are.
func (s *smoothSearch) search(site *searchedSite) ([]float32, error) {
	candidates := [][]float32{nil}
	if s.trial.Method.Word("smoothing_search") == "threshold" {
		for i, t := range baseline.SmoothThresholds(site.act) {
			if i > 0 { // the first one scales nothing
				candidates = append(candidates, baseline.ThresholdScales(site.act, t))
			}
		}
	} else {
		for _, alpha := range baseline.SmoothAlphas() {
			candidates = append(candidates, baseline.SmoothScales(site.act, site.weight, alpha))
		}
	}
	var best []float32
	least := math.Inf(1)
	for _, scales := range candidates {
		loss, err := site.Loss(scales)
		if err != nil {
			return nil, err
		}
		if loss < least {
			best, least = scales, loss
		}
	}
	return best, nil
}

// ones returns n ones.
func ones(n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = 1
	}
	return v
}
