package stats

import (
	"math"
	"slices"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/format"
)

// Study is how the criteria chose the blocks of every layer of a model, under
// one setting of base and block.
type Study struct {
	Label  string
	Layers []row.Criteria
	Names  []string // of the criteria
}

// Studies groups the lines of experiments criteria.
func Studies(lines []row.Criteria) []*Study {
	by := map[string]*Study{}
	var out []*Study
	for _, c := range lines {
		s := by[c.Study]
		if s == nil {
			s = &Study{Label: format.Visible(c.Label, false)}
			by[c.Study] = s
			out = append(out, s)
		}
		c.Layer = format.Visible(c.Layer, false)
		s.Layers = append(s.Layers, c)
		for _, r := range c.Criteria {
			if !slices.Contains(s.Names, r.Name) {
				s.Names = append(s.Names, r.Name)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b *Study) int { return format.Natural(a.Label, b.Label) })
	return out
}

// Over returns the values of f over the layers that have one, sorted.
func (s *Study) Over(name string, f func(row.Criteria, row.CriterionResult) (float64, bool)) []float64 {
	var all []float64
	for _, c := range s.Layers {
		for _, r := range c.Criteria {
			if r.Name != name {
				continue
			}
			if v, ok := f(c, r); ok && format.Finite(v) {
				all = append(all, v)
			}
		}
	}
	slices.Sort(all)
	return all
}

// AboveChance is how much more of the held-out distortion the named criterion recovers
// at the density than random does: the mean over layers of differences within a layer,
// with an interval over layers. ok is false where fewer than two layers have both.
func (s *Study) AboveChance(name string, density float64) (e Estimate, ok bool) {
	own := s.Over(name, func(c row.Criteria, r row.CriterionResult) (float64, bool) {
		for _, o := range c.Criteria {
			if o.Name == "random" && name != "random" {
				v, has := At(c, r.HeldOut, density)
				chance, also := At(c, o.HeldOut, density)
				return v - chance, has && also
			}
		}
		return 0, false
	})
	ones := make([]float64, len(own))
	for i := range ones {
		ones[i] = 1
	}
	e, err := Mean(own, ones)
	return e, err == nil && e.Interval()
}

// At returns the entry of a list by density, if the layer has that density.
func At(c row.Criteria, list []float64, density float64) (float64, bool) {
	i := slices.Index(c.Densities, density)
	if i < 0 || i >= len(list) {
		return 0, false
	}
	return list[i], true
}

// Density is the one nearest to the paper's 10 %.
func (s *Study) Density() float64 {
	best := math.NaN()
	for _, c := range s.Layers {
		for _, d := range c.Densities {
			if math.IsNaN(best) || math.Abs(math.Log(d/0.1)) < math.Abs(math.Log(best/0.1)) {
				best = d
			}
		}
	}
	return best
}
