package mosaic

import (
	"cmp"
	"math"
	"slices"

	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// Study tells how criteria choose blocks of one layer. Its slices over criteria
// and densities follow the order in which they were asked for.
type Study struct {
	Blocks int
	// Lost and HeldOutLost are tr(E·H·Eᵀ) of the base, under the moments of the
	// calibration and of held-out activations; Energy and HeldOutEnergy the same
	// of the weights.
	Lost, Energy, HeldOutLost, HeldOutEnergy float64
	Criteria                                 []CriterionStudy
}

// CriterionStudy is the part of one criterion in a Study.
type CriterionStudy struct {
	Criterion Criterion
	// Recovered and HeldOut are, for each density, the share of the base's lost
	// output that the residual on the chosen blocks recovers: 1 - tr(E'HE'ᵀ)/tr(EHEᵀ).
	// It can be negative.
	Recovered, HeldOut []float64
	// Spearman is the rank correlation of the scores with those of each
	// criterion; NaN where one of them has no scores (greedy) or all the same.
	// Those of oracle are the measured gains of single blocks.
	Spearman []float64
	// Overlap [criteria][densities] is the share of the chosen blocks that the
	// other criterion chooses as well. The Jaccard index is v/(2-v).
	Overlap [][]float64
}

// Study compares criteria at some densities on p, which needs HeldOut. All see
// one and the same residual on the base of m; its own criterion and density do
// not matter. Each choice takes two products N·K², greedy ones more.
func (m Mosaic) Study(p quant.Problem, criteria []Criterion, densities []float64) (*Study, error) {
	m.Criterion = CriterionOracle // the one that needs most
	cand, err := m.candidates(p)
	if err != nil {
		return nil, err
	}
	t, e, res := cand.t, cand.e, cand.q
	s := &Study{
		Blocks: t.Count(), Lost: quant.OutputEnergy(e, p.Moments), Energy: quant.OutputEnergy(p.Weights, p.Moments),
		HeldOutLost: quant.OutputEnergy(e, p.HeldOut), HeldOutEnergy: quant.OutputEnergy(p.Weights, p.HeldOut),
	}
	ranks := make([][]float64, len(criteria))
	kept := make([][][]int, len(criteria))
	for i, c := range criteria {
		scores := c.single(cand)
		ranks[i] = rankAverages(scores)
		one := CriterionStudy{Criterion: c}
		for _, d := range densities {
			count := int(math.Round(d * float64(t.Count())))
			var blocks []int
			if c.fixed() {
				blocks = solve.Largest(scores, count)
			} else {
				blocks = c.choose(cand, count)
			}
			left := without(t, e, res, blocks)
			one.Recovered = append(one.Recovered, recovered(quant.OutputEnergy(left, p.Moments), s.Lost))
			one.HeldOut = append(one.HeldOut, recovered(quant.OutputEnergy(left, p.HeldOut), s.HeldOutLost))
			kept[i] = append(kept[i], blocks)
		}
		s.Criteria = append(s.Criteria, one)
	}
	for i := range criteria {
		for j := range criteria {
			s.Criteria[i].Spearman = append(s.Criteria[i].Spearman, pearson(ranks[i], ranks[j]))
			shares := make([]float64, len(densities))
			for d := range densities {
				shares[d] = common(kept[i][d], kept[j][d])
			}
			s.Criteria[i].Overlap = append(s.Criteria[i].Overlap, shares)
		}
	}
	return s, nil
}

// recovered is 1 - left/lost; where nothing was lost, nothing is recovered.
func recovered(left, lost float64) float64 {
	if lost == 0 {
		return 0
	}
	return 1 - left/lost
}

// common is the share of a that is in b as well; both ascend and are of one
// length. Two empty choices agree.
func common(a, b []int) float64 {
	if len(a) == 0 {
		return 1
	}
	n := 0
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch {
		case a[i] < b[j]:
			i++
		case a[i] > b[j]:
			j++
		default:
			i, j, n = i+1, j+1, n+1
		}
	}
	return float64(n) / float64(len(a))
}

// rankAverages returns the ranks 1, 2 ... of v; equal values share the mean of
// theirs.
func rankAverages(v []float64) []float64 {
	order := make([]int, len(v))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(v[a], v[b]) })
	ranks := make([]float64, len(v))
	for i := 0; i < len(order); {
		j := i
		for j < len(order) && v[order[j]] == v[order[i]] {
			j++
		}
		for _, at := range order[i:j] {
			ranks[at] = float64(i+1+j) / 2
		}
		i = j
	}
	return ranks
}

// pearson returns the correlation of a and b, NaN without variance.
func pearson(a, b []float64) float64 {
	if len(a) != len(b) {
		return math.NaN()
	}
	var ma, mb float64
	for i := range a {
		ma += a[i] / float64(len(a))
		mb += b[i] / float64(len(b))
	}
	var saa, sbb, sab float64
	for i := range a {
		da, db := a[i]-ma, b[i]-mb
		saa, sbb, sab = saa+da*da, sbb+db*db, sab+da*db
	}
	if saa == 0 || sbb == 0 {
		return math.NaN()
	}
	return sab / math.Sqrt(saa*sbb)
}
