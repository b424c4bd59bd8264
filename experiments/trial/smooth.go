package trial

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/store"
	"github.com/mosaicquant/mosaicquant/quant/baseline"
)

// smooth returns the model that the method of t quantizes, and the scales of its
// sites: SmoothQuant's, those of a search, or none. The authors smooth what norms make,
// which is smoothing_sites: norms; by default the inputs of o_proj and down_proj are
// smoothed, too.
func (c *calibrator) smooth(ctx context.Context, t plan.Trial) (*llm.Model, map[string][]float32, error) {
	m := t.Method
	if !m.Smooths() {
		return c.source.model, nil, nil
	}
	norms := m.Word("smoothing_sites") == "norms"
	key := c.key("smoothing", fmt.Sprint(m.Float("smoothing")), m.Word("smoothing_sites"))
	compute := func(ctx context.Context) (map[string][]float32, error) {
		return c.smoothScales(ctx, m.Float("smoothing"), norms)
	}
	if search := m.Word("smoothing_search"); search != "" {
		key = c.key("smoothing-search", search, m.Word("smoothing_sites"), c.searchInputs(t))
		compute = func(ctx context.Context) (map[string][]float32, error) { return c.searchScales(ctx, t) }
	}
	scales, err := store.Do(ctx, c.store(), key, c.scalesCodec(norms), compute)
	if err != nil {
		return nil, nil, err
	}
	model, err := c.source.model.Scale(scales)
	return model, scales, err
}

// smoothSteps are the sites that are smoothed, in two steps. The inputs of o_proj and
// down_proj come first, since their scales go into rows of v_proj and up_proj: the scales
// after norms see these as they will be quantized.
func smoothSteps(norms bool) [][]string {
	steps := [][]string{{".attn_out", ".mlp_mid"}, {".attn_in", ".mlp_in"}}
	if norms {
		return steps[1:]
	}
	return steps
}

// smoothScales computes the scales of all sites, or of those that read a norm. Channels
// that come from one channel of v_proj share the largest activation and weight
// among them.
func (c *calibrator) smoothScales(ctx context.Context, alpha float64, norms bool) (map[string][]float32, error) {
	scales := map[string][]float32{}
	model := c.source.model
	for _, step := range smoothSteps(norms) {
		weights := map[string][]float32{}
		var sites []string
		for _, l := range model.Linears() {
			if !strings.HasSuffix(l.Site, step[0]) && !strings.HasSuffix(l.Site, step[1]) {
				continue
			}
			if weights[l.Site] == nil {
				weights[l.Site] = make([]float32, l.K)
				sites = append(sites, l.Site)
			}
			baseline.RaiseColumnMax(weights[l.Site], load(l))
		}
		pass := c.begin()
		for _, site := range sites {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			st, err := pass.statistics(ctx, site)
			if err != nil {
				return nil, err
			}
			from := model.Producers(site)
			scales[site] = baseline.SmoothScales(pool(st.moments.AbsMax, from), pool(weights[site], from), alpha)
		}
		var err error
		if model, err = c.source.model.Scale(scales); err != nil {
			return nil, err
		}
	}
	return scales, nil
}

// pool returns, for each channel, the largest v among those that come from the
// same place.
func pool(v []float32, from []int) []float32 {
	top := make([]float32, len(v))
	for j, p := range from {
		top[p] = max(top[p], v[j])
	}
	out := make([]float32, len(v))
	for j, p := range from {
		out[j] = top[p]
	}
	return out
}

// scalesCodec stores scales as JSON, which keeps float32 to the last bit, and reads
// only those that belong to the sites which are smoothed.
func (c *calibrator) scalesCodec(norms bool) store.Codec[map[string][]float32] {
	return store.Codec[map[string][]float32]{
		Write: func(w io.Writer, scales map[string][]float32) error { return json.NewEncoder(w).Encode(scales) },
		Read: func(r io.Reader, _ int64) (scales map[string][]float32, err error) {
			if err = json.NewDecoder(r).Decode(&scales); err != nil {
				return nil, err
			}
			if want := 2 * len(smoothSteps(norms)) * c.source.model.Config().Layers; len(scales) != want {
				return nil, fmt.Errorf("scales of %d sites, want %d", len(scales), want)
			}
			_, err = c.source.model.Scale(scales)
			return scales, err
		},
	}
}

// scaled returns the statistics of a site after smoothing, its energies still
// those of before.
func (p *pass) scaled(ctx context.Context, site string, scales map[string][]float32) (*statistics, error) {
	plain, err := p.statistics(ctx, site)
	if err != nil || scales[site] == nil {
		return plain, err
	}
	keep := plain.moments.Keep
	st := &statistics{moments: plain.moments.Scaled(scales[site]), energies: plain.energies}
	if keep != nil {
		hash := sha256.New()
		binary.Write(hash, binary.LittleEndian, scales[site]) // a hash never fails
		sum := hex.EncodeToString(hash.Sum(nil))
		st.moments.Keep = func(name string, compute func() ([]byte, error)) ([]byte, error) {
			return keep(name+" scaled by "+sum, compute)
		}
	}
	return st, nil
}
