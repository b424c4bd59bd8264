package mosaic

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// keptObjective returns the objective of the base of m with the residual on some
// blocks.
func keptObjective(t *testing.T, m Mosaic, p quant.Problem) (of func(blocks ...int) float64, count int) {
	t.Helper()
	base := quanttest.Quantize(t, m.Base, p)
	c, err := m.candidates(p)
	if err != nil {
		t.Fatal(err)
	}
	return func(blocks ...int) float64 {
		one := *base
		one.Residual = m.gather(c.t, c.q, blocks)
		return quanttest.Objective(p, one.Dequantize())
	}, c.t.Count()
}

// Delta is what a block gains under a diagonal H, full what it gains under any.
func TestScoresAreGains(t *testing.T) {
	for seed := range uint64(6) {
		for _, c := range []Criterion{CriterionDelta, CriterionFull} {
			p := quanttest.Problem(t, 5, 54, seed)
			if c == CriterionDelta {
				for i := range p.Moments.H {
					if i%55 != 0 {
						p.Moments.H[i] = 0
					}
				}
			}
			m := laid(solve.RTN{Format: quant.Int4(27), Scale: grid.Scale{Rule: grid.AbsMax}}, []int{0, 1, 2}[seed%3], []int{1, 16}[seed%2], 0)
			m.Criterion = c
			scores, bytes, err := m.Scores(p)
			if err != nil {
				t.Fatal(err)
			}
			of, count := keptObjective(t, m, p)
			if len(scores) != count {
				t.Fatalf("%d scores for %d blocks", len(scores), count)
			}
			none := of()
			for b, got := range scores {
				want := none - of(b)
				if c == CriterionDelta {
					want = max(0, want)
				}
				if d := got - want; !(d <= 2e-6*none && d >= -2e-6*none) {
					t.Errorf("%s, seed %d: block %d scores %g and gains %g of %g", c, seed, b, got, want, none)
				}
			}
			m.Density = 1
			all := quanttest.Quantize(t, m, p).Residual
			if stored := len(all.Codes) + 2*len(all.Scales) + len(all.Cols.Data); stored != bytes*count {
				t.Errorf("%d blocks store %d bytes, one %d", count, stored, bytes)
			}
		}
	}
}

// A joint residual keeps the blocks of the largest scores, whatever its density.
func TestJointScoresChoose(t *testing.T) {
	p := quanttest.Problem(t, 10, 144, 7)
	for _, c := range JointCriteria {
		for _, shape := range [][2]int{{1, 8}, {3, 16}, {4, 72}} {
			m := joint(quant.Int4(48), shape[0], shape[1], 0)
			m.Criterion, m.Bits = c, 2
			scores, bytes, err := m.Scores(p)
			if err != nil {
				t.Fatal(err)
			}
			tl := solve.Tiling{N: 10, K: 144, R: shape[0], C: shape[1]}
			if len(scores) != tl.Count() {
				t.Fatalf("%d scores for %d blocks", len(scores), tl.Count())
			}
			for _, m.Density = range []float64{.1, .25, .6, 1} {
				r := quanttest.Quantize(t, m, p).Residual
				var kept []int
				for b := range r.RowPtr.Len() - 1 {
					for i := r.RowPtr.At(b); i < r.RowPtr.At(b+1); i++ {
						kept = append(kept, b*tl.Cols()+r.Cols.At(i))
					}
				}
				if stored := len(r.Codes) + 2*len(r.Scales) + len(r.Cols.Data); stored != bytes*len(kept) {
					t.Errorf("%d blocks store %d bytes, one %d", len(kept), stored, bytes)
				}
				sum := func(blocks []int) (s float64) {
					for _, b := range blocks {
						s += scores[b]
					}
					return s
				}
				if best := solve.Largest(scores, len(kept)); !slices.Equal(kept, best) {
					// Blocks of one score are alike.
					quanttest.Near(t, fmt.Sprintf("%s %v, %d blocks: sum of other scores", c, shape, len(kept)), sum(kept), sum(best), 1e-12)
				}
			}
		}
	}
}

// A block of all rows is a block of whole columns.
func TestColumnBlocks(t *testing.T) {
	p := quanttest.Problem(t, 7, 48, 2)
	m := laid(solve.RTN{Format: quant.Int4(48), Scale: grid.Scale{Rule: grid.AbsMax}}, 0, 2, 0.25)
	q := quanttest.Quantize(t, m, p)
	if q.Residual.BlockRows != 7 || q.Density() != 0.25 {
		t.Fatalf("blocks of %d rows, density %g", q.Residual.BlockRows, q.Density())
	}
	m.BlockRows = 7
	if w := quanttest.Quantize(t, m, p).Dequantize(); !quanttest.Equal(w, q.Dequantize()) {
		t.Error("all rows and 7 rows differ")
	}
	base, w := quanttest.Quantize(t, m.Base, p).Dequantize(), q.Dequantize()
	for j := range 48 {
		changed := false
		for i := range 7 {
			changed = changed || w.Row(i)[j] != base.Row(i)[j]
		}
		if other := j ^ 1; changed {
			same := true
			for i := range 7 {
				same = same && w.Row(i)[other] == base.Row(i)[other]
			}
			if same {
				t.Errorf("column %d has a residual, its neighbour %d none", j, other)
			}
		}
	}
}

// Oracle sees other activations: with those of the calibration it is greedy;
// with others it loses least on these, measured by running the layer on them.
func TestOracle(t *testing.T) {
	better := 0
	for seed := range uint64(8) {
		p := quanttest.Problem(t, 6, 64, seed)
		m := laid(solve.RTN{Format: quant.Int4(32), Scale: grid.Scale{Rule: grid.AbsMax}}, 2, 8, 0.2)
		m.Criterion = CriterionOracle
		if _, err := m.Quantize(p); err == nil {
			t.Fatal("oracle chose without held-out activations")
		}
		p.HeldOut = p.Moments
		oracle := quanttest.Quantize(t, m, p).Dequantize()
		m.Criterion = CriterionGreedy
		if !quanttest.Equal(oracle, quanttest.Quantize(t, m, p).Dequantize()) {
			t.Error("on the activations of the calibration oracle is not greedy")
		}

		// Held-out activations with outliers of their own: a row of X each.
		x := gemm.NewMatrix(256, 64)
		rng := rand.New(rand.NewPCG(seed, 9))
		for i := range x.Rows {
			for j := range x.Row(i) {
				x.Row(i)[j] = float32(rng.NormFloat64())
				if j%13 == 3 {
					x.Row(i)[j] *= 6
				}
				if j > 0 {
					x.Row(i)[j] += x.Row(i)[j-1] / 2
				}
			}
		}
		a := quant.NewAccumulator(64)
		if err := a.Add(x); err != nil {
			t.Fatal(err)
		}
		var err error
		if p.HeldOut, err = a.Finish(); err != nil {
			t.Fatal(err)
		}
		measure := func(wq quant.Matrix) float64 { // ||X·(W-Ŵ)ᵀ||²
			var sum float64
			for r := range x.Rows {
				for i := range wq.Rows {
					var y float64
					for j, v := range x.Row(r) {
						y += float64(v) * (float64(p.Weights.Row(i)[j]) - float64(wq.Row(i)[j]))
					}
					sum += y * y
				}
			}
			return sum
		}
		lost := map[Criterion]float64{}
		for _, m.Criterion = range []Criterion{CriterionOracle, CriterionGreedy, CriterionFull, CriterionDelta, CriterionDiag, CriterionError, CriterionWeight, CriterionRandom} {
			lost[m.Criterion] = measure(quanttest.Quantize(t, m, p).Dequantize())
		}
		for c, l := range lost {
			if !(lost[CriterionOracle] <= l*1.005) { // greedy search is nearly optimal
				t.Errorf("seed %d: oracle loses %g, %s %g", seed, lost[CriterionOracle], c, l)
			}
		}
		if lost[CriterionOracle] < 0.98*lost[CriterionGreedy] {
			better++
		}
	}
	if better < 4 {
		t.Errorf("oracle is clearly below greedy in %d of 8 cases only", better)
	}
}

// Shares of a budget against all other choices, and against each layer's own.
func TestShare(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	gained := 0
	for trial := range 300 {
		layers := 1 + rng.IntN(4)
		scores, cost, count := make([][]float32, layers), make([]int, layers), make([]int, layers)
		equalCosts := trial%2 == 0
		budget := 0
		for l := range scores {
			scores[l] = make([]float32, rng.IntN(6))
			for b := range scores[l] {
				scores[l][b] = float32(rng.IntN(40) - 8) // ties, and losses
			}
			cost[l] = 7
			if !equalCosts {
				cost[l] = 1 + rng.IntN(9)
			}
			count[l] = rng.IntN(len(scores[l]) + 1)
			budget += count[l] * cost[l]
		}
		got := Share(scores, cost, count)
		spent := 0
		for l, n := range got {
			spent += n * cost[l]
		}
		if spent > budget || equalCosts && spent != budget {
			t.Fatalf("spends %d of %d: %v", spent, budget, got)
		}
		sum := total(scores, got)
		if own := total(scores, count); sum < own {
			t.Fatalf("gains %g, each layer on its own %g", sum, own)
		} else if sum > own {
			gained++
		}
		if !equalCosts {
			continue
		}
		best, n := -1e9, make([]int, layers)
		for { // all choices of as many blocks
			s := 0
			for _, v := range n {
				s += 7 * v
			}
			if s == budget {
				best = max(best, total(scores, n))
			}
			l := 0
			for ; l < layers && n[l] == len(scores[l]); l++ {
				n[l] = 0
			}
			if l == layers {
				break
			}
			n[l]++
		}
		if sum != best {
			t.Fatalf("gains %g, the best choice %g: %v of %v", sum, best, got, scores)
		}
	}
	if gained < 50 {
		t.Errorf("sharing gained in %d of 300 cases only", gained)
	}
}

// Where costs differ, what counts is the score per cost: three blocks of 4 for 3
// each go before one of 6 for 9; what no longer fits is passed over.
func TestShareByCost(t *testing.T) {
	scores := [][]float32{{6, 5, 1}, {4, 4, 4, .1}}
	if got := Share(scores, []int{9, 3}, []int{1, 0}); !slices.Equal(got, []int{0, 3}) {
		t.Errorf("9 units: %v blocks, want 0 and 3", got)
	}
	if got := Share(scores, []int{9, 3}, []int{2, 1}); !slices.Equal(got, []int{1, 4}) {
		t.Errorf("21 units: %v blocks, want 1 and 4", got)
	}
}

// A study's figures against separate runs of the method.
func TestStudy(t *testing.T) {
	p := quanttest.Problem(t, 6, 64, 4)
	p.HeldOut = quanttest.Problem(t, 6, 64, 5).Moments
	criteria := []Criterion{CriterionRandom, CriterionWeight, CriterionError, CriterionDiag, CriterionDelta, CriterionFull, CriterionGreedy, CriterionOracle}
	densities := []float64{0, 0.1, 0.5, 1}
	m := laid(solve.RTN{Format: quant.Int4(32), Scale: grid.Scale{Rule: grid.AbsMax}}, 2, 8, 0)
	s, err := m.Study(p, criteria, densities)
	if err != nil {
		t.Fatal(err)
	}
	if s.Blocks != 24 {
		t.Errorf("%d blocks, want 24", s.Blocks)
	}
	base := quanttest.Quantize(t, m.Base, p).Dequantize()
	held := p
	held.Moments = p.HeldOut
	quanttest.Near(t, "lost", s.Lost, quanttest.Objective(p, base), 1e-5)
	quanttest.Near(t, "held-out lost", s.HeldOutLost, quanttest.Objective(held, base), 1e-5)
	for i, c := range criteria {
		for d, density := range densities {
			m.Criterion, m.Density = c, density
			w := quanttest.Quantize(t, m, p).Dequantize()
			quanttest.Near(t, c.String()+" recovered", 1+s.Criteria[i].Recovered[d], 2-quanttest.Objective(p, w)/s.Lost, 1e-5)
			quanttest.Near(t, c.String()+" recovered of held-out", 1+s.Criteria[i].HeldOut[d], 2-quanttest.Objective(held, w)/s.HeldOutLost, 1e-5)
			if v := s.Criteria[i].Overlap[i][d]; v != 1 {
				t.Errorf("%s overlaps itself by %g", c, v)
			}
			for j := range criteria {
				v := s.Criteria[i].Overlap[j][d]
				if v != s.Criteria[j].Overlap[i][d] || v < 0 || v > 1 || v != 1 && (density == 0 || density == 1) {
					t.Errorf("overlap of %s and %s at %g is %g", c, criteria[j], density, v)
				}
			}
		}
		for j := range criteria {
			v := s.Criteria[i].Spearman[j]
			switch none := c == CriterionGreedy || criteria[j] == CriterionGreedy; {
			case none != (v != v):
				t.Errorf("Spearman of %s and %s is %g", c, criteria[j], v)
			case !none && i == j && !(v > 1-1e-12 && v < 1+1e-12):
				t.Errorf("Spearman of %s with itself is %g", c, v)
			}
		}
	}
}

// Scores of oracle are those of full under the held-out moments.
func TestStudyOfOracle(t *testing.T) {
	p := quanttest.Problem(t, 6, 64, 4)
	p.HeldOut = quanttest.Problem(t, 6, 64, 5).Moments
	m := laid(solve.RTN{Format: quant.Int4(32), Scale: grid.Scale{Rule: grid.AbsMax}}, 2, 8, 0)
	s, err := m.Study(p, []Criterion{CriterionFull, CriterionOracle}, []float64{.1})
	if err != nil {
		t.Fatal(err)
	}
	m.Criterion = CriterionFull
	here, _, err := m.Scores(p)
	if err != nil {
		t.Fatal(err)
	}
	p.Moments = p.HeldOut
	there, _, err := m.Scores(p)
	if err != nil {
		t.Fatal(err)
	}
	want := pearson(rankAverages(here), rankAverages(there))
	quanttest.Near(t, "rank correlation of full and oracle", s.Criteria[0].Spearman[1], want, 1e-9)
	if want > .999 {
		t.Error("both moments rank alike: a poor test")
	}
}

func TestSpearman(t *testing.T) {
	if got := rankAverages([]float64{3, 1, 3, 2, 3}); !slices.Equal(got, []float64{4, 1, 4, 2, 4}) {
		t.Errorf("ranks %v", got)
	}
	// scipy.stats.spearmanr([1, 2, 2, 3, 7], [2, 1, 4, 4, 9]) of scipy 1.17
	got := pearson(rankAverages([]float64{1, 2, 2, 3, 7}), rankAverages([]float64{2, 1, 4, 4, 9}))
	quanttest.Near(t, "Spearman's rho with ties", got, 0.7631578947368421, 1e-12)
}
