package trial

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/llm"
)

// stress gives the model the synthetic outliers that p asks for.
func (s *source) stress(p plan.Stress) error {
	if p.Channels == 0 {
		return nil
	}
	m, err := s.model.Scale(stressScales(s.model, p))
	if err != nil {
		return err
	}
	s.model, s.linears = m, m.Linears()
	s.changes = append(s.changes, fmt.Sprintf("stress %g %g %d", p.Channels, p.Gain, p.Seed))
	s.warn("synthetic outliers: %.4g %% of the channels are %g times as large, the weights that read"+
		" them %g times as small (seed %d); the 16-bit model computes the same as without",
		100*p.Channels, p.Gain, p.Gain, p.Seed)
	return nil
}

// stressScales draws p.Channels of the channels of every site, at least one, and
// makes them p.Gain times as large. The channels of the residual stream, which
// attn_in and mlp_in read, are the same in all layers, as outliers of large
// models are (Dettmers et al. 2022, arXiv:2208.07339); those of v_proj and
// up_proj are drawn for each layer.
func stressScales(m *llm.Model, p plan.Stress) map[string][]float32 {
	scales := map[string][]float32{}
	for _, l := range m.Linears() {
		if scales[l.Site] != nil || l.Name == llm.OutputName { // no layer after it takes up its scales
			continue
		}
		from := m.Producers(l.Site)
		channels := slices.Max(from) + 1
		stream := fnv.New64a()
		if site := l.Site[strings.LastIndexByte(l.Site, '.')+1:]; site == "attn_out" || site == "mlp_mid" {
			stream.Write([]byte(l.Site))
		}
		outlier := make([]bool, channels)
		count := max(1, int(math.Round(p.Channels*float64(channels))))
		for _, c := range rand.New(rand.NewPCG(p.Seed, stream.Sum64())).Perm(channels)[:count] {
			outlier[c] = true
		}
		s := make([]float32, l.K)
		for j, c := range from {
			s[j] = 1
			if outlier[c] {
				s[j] = float32(1 / p.Gain)
			}
		}
		scales[l.Site] = s
	}
	return scales
}
