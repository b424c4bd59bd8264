package reports

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/figures"
	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// criteriaLines is the study's table at one density, head first.
func criteriaLines(s *stats.Study) [][]string {
	d := s.Density()
	out := [][]string{{"criterion", "layers", "recovered, calibration", "recovered, held out", "above random, points",
		"gap to oracle", "rank correlation with oracle", "blocks shared with oracle"}}
	percent := func(v []float64) string {
		if len(v) == 0 {
			return ""
		}
		return format.Fixed(100*stats.Average(v), 1) + "\u00a0%"
	}
	for _, name := range s.Names {
		held := s.Over(name, func(c row.Criteria, r row.CriterionResult) (float64, bool) { return stats.At(c, r.HeldOut, d) })
		gap := s.Over(name, func(c row.Criteria, r row.CriterionResult) (float64, bool) {
			own, ok := stats.At(c, r.HeldOut, d)
			for _, o := range c.Criteria {
				if o.Name == "oracle" && ok {
					best, has := stats.At(c, o.HeldOut, d)
					return best - own, has
				}
			}
			return 0, false
		})
		line := []string{name, fmt.Sprint(len(held)),
			percent(s.Over(name,
				func(c row.Criteria, r row.CriterionResult) (float64, bool) { return stats.At(c, r.Recovered, d) })),
			percent(held), aboveChance(s,
				name), "", "", percent(s.Over(name, func(c row.Criteria, r row.CriterionResult) (float64, bool) {
				return stats.At(c, r.Overlap["oracle"], d)
			}))}
		if name != "oracle" && len(gap) > 0 {
			line[5] = format.Signed(100*stats.Average(gap), 1) + " points"
		}
		if v := s.Over(name, func(_ row.Criteria, r row.CriterionResult) (float64, bool) {
			v, ok := r.Spearman["oracle"]
			return v, ok
		}); len(v) > 0 {
			line[6] = format.Fixed(stats.Average(v), 3)
		}
		out = append(out, line)
	}
	return withoutEmpty(out)
}

// aboveChance is what the criterion recovers beyond random, with its interval.
func aboveChance(s *stats.Study, name string) string {
	e, ok := s.AboveChance(name, s.Density())
	if !ok {
		return ""
	}
	return stats.WithInterval(e, func(v float64) string { return format.Signed(100*v, 1) })
}

func criteriaNote(s *stats.Study) string {
	return fmt.Sprintf("Means over the linear layers at a density of %s. Recovered: share of the base's output "+
		"distortion tr(E·H·Eᵀ) that a residual on the chosen blocks takes away, under the H of the calibration and under "+
		"that of the evaluated text. Above random: the mean of differences within a layer, with a 95 %% interval over "+
		"layers. The oracle takes, one after another, the blocks that measure best on the evaluated text: a bound to "+
		"compare with, not a method. The paper reports 55 to 63 %% recovered at 10 %% (from reading notes, not checked "+
		"against the PDF).", format.Percentage(s.Density()))
}

// criteriaFinding says what the means carry.
func criteriaFinding(s *stats.Study) string {
	type result struct {
		name string
		v    float64
	}
	var all []result
	d := s.Density()
	for _, name := range s.Names {
		held := func(c row.Criteria, r row.CriterionResult) (float64, bool) { return stats.At(c, r.HeldOut, d) }
		if v := s.Over(name, held); len(v) == len(s.Layers) {
			all = append(all, result{name, stats.Average(v)})
		}
	}
	if len(all) < 2 {
		return ""
	}
	slices.SortStableFunc(all, func(a, b result) int { return cmp.Compare(b.v, a.v) })
	out := fmt.Sprintf("Held-out distortion recovered at a density of %s, mean of %d layers:", format.Percentage(d),
		len(s.Layers))
	for i, r := range all {
		if i > 0 {
			out += ","
		}
		out += " " + r.name + " " + format.Fixed(100*r.v, 1) + "\u00a0%"
	}
	out += "."
	var above, alike, below []string
	for _, r := range all {
		switch e, ok := s.AboveChance(r.name, d); {
		case !ok:
		case e.Low > 0:
			above = append(above, r.name)
		case e.High < 0:
			below = append(below, r.name)
		default:
			alike = append(alike, r.name)
		}
	}
	for _, l := range []struct {
		says  string
		names []string
	}{{"Above random, by intervals over layers: ", above}, {"Not told apart from random: ", alike},
		{"Below random: ", below}} {
		if len(l.names) > 0 {
			out += " " + l.says + format.List(l.names, 8) + "."
		}
	}
	return out
}

// criteriaSections are those of the i-th study of the criteria; the first is unfolded.
func criteriaSections(s *stats.Study, i int) []section {
	about := section{Key: fmt.Sprintf("criteria-%d", i+1), Title: "How the criteria choose", Where: s.Label, Folded: i > 0}
	if f := criteriaFinding(s); f != "" {
		about.Blocks = append(about.Blocks, bulleted([]finding{{f, nil}}))
	}
	about.Blocks = append(about.Blocks, tableOf("Criteria", criteriaLines(s), ofNames), plain("small", criteriaNote(s)))
	out := []section{about}
	for _, f := range figures.Criteria(s) {
		f.Nth(i)
		drawn := figureSection(f, s.Label)
		drawn.Folded = i > 0
		out = append(out, drawn)
	}
	return out
}
