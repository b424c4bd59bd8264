package mosaic

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/plain"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

func TestMosaicDensityZeroIsBase(t *testing.T) {
	p := quanttest.Problem(t, 33, 96, 1)
	for _, base := range []solve.Dense{solve.RTN{Format: quant.Int4(32), Scale: grid.Scale{Rule: grid.AbsMax}}, solve.NewGPTQ(quant.Int4(32))} {
		a, _ := quanttest.Quantize(t, base, p).MarshalBinary()
		b, _ := quanttest.Quantize(t, laid(base, 16, 16, 0), p).MarshalBinary()
		if !bytes.Equal(a, b) {
			t.Errorf("%T: density 0 differs from the base", base)
		}
	}
}

// keep one block at a time and compare the fall of the objective with the score.
func bruteGain(t *testing.T, p quant.Problem, m Mosaic) (score, gain []float64) {
	base := quanttest.Quantize(t, m.Base, p)
	tl := solve.Tiling{N: p.Weights.Rows, K: p.Weights.Cols, R: m.BlockRows, C: m.BlockCols}
	e := quant.Difference(p.Weights, base.Base)
	res, err := m.residual(p, tl, e, p.Diag(), baseScales{})
	if err != nil {
		t.Fatal(err)
	}
	before := quanttest.Objective(p, base.Dequantize())
	for b := range tl.Count() {
		one := *base
		one.Residual = m.gather(tl, res, []int{b})
		gain = append(gain, before-quanttest.Objective(p, one.Dequantize()))
	}
	return m.Criterion.single(candidates{p, tl, e, p.Diag(), res}), gain
}

func TestScoresEqualBruteForceGain(t *testing.T) {
	full := quanttest.Problem(t, 9, 70, 5)
	diag := full
	dm := *full.Moments
	dm.H = make([]float64, len(full.Moments.H))
	for j := range dm.K {
		dm.H[j*dm.K+j] = full.Moments.H[j*dm.K+j]
	}
	diag.Moments = &dm
	base := solve.RTN{Format: quant.Int4(35), Scale: grid.Scale{Rule: grid.AbsMax}}
	for _, c := range []struct {
		criterion Criterion
		p         quant.Problem
	}{{CriterionDelta, diag}, {CriterionFull, diag}, {CriterionFull, full}} {
		for _, shape := range [][2]int{{4, 16}, {1, 35}, {9, 1}} {
			m := laid(base, shape[0], shape[1], 1)
			m.Criterion = c.criterion
			score, gain := bruteGain(t, c.p, m)
			scale := quanttest.Objective(c.p, quanttest.Quantize(t, base, c.p).Dequantize())
			for b := range score {
				// Float32 weights carry 2^-24 of |W| into the differences of two
				// objectives.
				if d := score[b] - gain[b]; !(d < 1e-4*scale && d > -1e-4*scale) {
					t.Errorf("%s %v block %d: score %g, brute force %g", c.criterion, shape, b, score[b], gain[b])
				}
			}
		}
	}
}

func TestMosaicFullDensity(t *testing.T) {
	p := quanttest.Problem(t, 19, 70, 2)
	base := solve.RTN{Format: quant.Int4(35), Scale: grid.Scale{Rule: grid.AbsMax}}
	for _, rows := range []bool{false, true} {
		m := laid(base, 4, 16, 1)
		if rows {
			m.ResidualScale = PerRow
		}
		q := quanttest.Quantize(t, m, p)
		if d := q.Density(); d != 1 {
			t.Fatalf("density %g, want 1", d)
		}
		e := quant.Difference(p.Weights, q.Base)
		res, err := m.residual(p, solve.Tiling{N: 19, K: 70, R: 4, C: 16}, e, p.Diag(), baseScales{})
		if err != nil {
			t.Fatal(err)
		}
		want, got := quanttest.Quantize(t, base, p).Dequantize(), q.Dequantize()
		for i := range want.Data {
			want.Data[i] += res.values.Data[i]
		}
		if !quanttest.Equal(got, want) {
			t.Error("density 1 is not base + Q(R)")
		}
		before, _ := quant.WeightError(p.Weights, q.Base)
		after, _ := quant.WeightError(p.Weights, q)
		if !(after < before/20) {
			t.Errorf("residual lowers ||E||² from %g to %g only", before, after)
		}
	}
}

// Base and residual quantized together must beat both GPTQ alone and a residual
// that is added to it afterwards, and equal GPTQ where nothing is kept.
func TestJoint(t *testing.T) {
	p := quanttest.Problem(t, 32, 256, 6)
	base := solve.NewGPTQ(quant.Int4(128))
	gptq := quanttest.Objective(p, quanttest.Quantize(t, base, p).Dequantize())
	for _, shape := range [][2]int{{16, 16}, {1, 16}} {
		after := quanttest.Objective(p, quanttest.Quantize(t, laid(base, shape[0], shape[1], .1), p).Dequantize())
		m := joint(base.Format, shape[0], shape[1], .1)
		q := quanttest.Quantize(t, m, p)
		joint := quanttest.Objective(p, q.Dequantize())
		t.Logf("%v: GPTQ %.4g, residual afterwards %.4g, joint %.4g", shape, gptq, after, joint)
		if !(joint < gptq && joint < after) {
			t.Errorf("%v: joint %g, GPTQ %g, residual afterwards %g", shape, joint, gptq, after)
		}
		if d := q.Density(); !(d > .09 && d < .11) {
			t.Errorf("%v: density %g", shape, d)
		}
		m.Density = 0
		if !quanttest.Equal(quanttest.Quantize(t, m, p).Dequantize(), quanttest.Quantize(t, base, p).Dequantize()) {
			t.Errorf("%v: density 0 differs from GPTQ", shape)
		}
	}
}

// The blocks of a joint residual are those whose errors in GPTQ's loop, weighted
// by 1/U_jj², the residual lowers most.
func TestJointBlocks(t *testing.T) {
	const n, k, rows, cols = 8, 96, 2, 16
	p := quanttest.Problem(t, n, k, 16)
	base := solve.NewGPTQ(quant.Int4(48))
	loop := plain.Elimination{Format: base.Format, Scale: base.Scale, Damping: .01, ActOrder: true, Errors: make([][]float64, n)}
	for i := range loop.Errors {
		loop.Errors[i] = make([]float64, k)
	}
	loop.Quantize(p)
	s, err := base.Start(p)
	if err != nil {
		t.Fatal(err)
	}
	lambda := make([]float64, k)
	for i, c := range s.Order {
		lambda[c] = 1 / (s.U[i*k+i] * s.U[i*k+i])
	}
	score := make([]float64, n/rows*(k/cols))
	for b := range score {
		var top float64
		each := func(f func(d float64, j int)) {
			for i := b / (k / cols) * rows; i < b/(k/cols)*rows+rows; i++ {
				for j := b % (k / cols) * cols; j < b%(k/cols)*cols+cols; j++ {
					f(loop.Errors[i][j], j)
				}
			}
		}
		each(func(d float64, j int) { top = max(top, math.Abs(d)) })
		step := float64(half.FromF16(half.ToF16(float32(top / 7))))
		each(func(d float64, j int) {
			left := d - max(-7, min(7, math.RoundToEven(d/step)))*step
			score[b] += lambda[j] * (d*d - left*left)
		})
	}
	for _, count := range []int{3, 9, 17} {
		m := joint(base.Format, rows, cols, float64(count)/float64(len(score)))
		r := quanttest.Quantize(t, m, p).Residual
		var got []int
		for b := range n / rows {
			for i := r.RowPtr.At(b); i < r.RowPtr.At(b+1); i++ {
				got = append(got, b*(k/cols)+r.Cols.At(i))
			}
		}
		if want := solve.Largest(score, count); !slices.Equal(got, want) {
			t.Errorf("%d blocks: %v, want %v", count, got, want)
		}
	}
}

// The joint loop against plain elimination that gives each weight of a kept
// block the nearest of all sums of two levels, or of those with the base code
// nearest to it or one beside that.
func TestJointAgainstPlainElimination(t *testing.T) {
	const n, k, group, cols = 12, 96, 48, 16
	p := quanttest.Problem(t, n, k, 17)
	for run := range 4 {
		bits, all := []int{4, 2}[run%2], run > 1
		m := joint(quant.Int4(group), 1, cols, .4)
		m.Bits, m.AllPairs = bits, all
		q := quanttest.Quantize(t, m, p)
		scale := make(map[int]float64) // of a kept block
		for i := range n {
			for b := q.Residual.RowPtr.At(i); b < q.Residual.RowPtr.At(i+1); b++ {
				scale[i*(k/cols)+q.Residual.Cols.At(b)] = float64(half.FromF16(q.Residual.Scales[b]))
			}
		}
		second, top := 0, 1<<(bits-1)-1
		loop := plain.Elimination{Format: quant.Int4(group), Scale: grid.Scale{Rule: grid.AbsMax}, Damping: .01, ActOrder: true}
		loop.Nearest = func(i, c int, w float64) float64 {
			base := float64(half.FromF16(q.Base.Scales[i*(k/group)+c/group]))
			first := max(-7, min(7, math.RoundToEven(w/base)))
			res, kept := scale[i*(k/cols)+c/cols]
			if !kept {
				return first * base
			}
			best, code := first*base, first
			for u := -7; u <= 7; u++ {
				if !all && math.Abs(float64(u)-first) > 1 {
					continue
				}
				for v := -top; v <= top; v++ {
					if x := float64(u)*base + float64(v)*res; math.Abs(w-x) < math.Abs(w-best)-1e-9 {
						best, code = x, float64(u)
					}
				}
			}
			if code != first {
				second++
			}
			return best
		}
		want, got, differ := loop.Quantize(p), q.Dequantize(), 0
		for i, v := range got.Data {
			if !(math.Abs(float64(v-want.Data[i])) < 1e-4) {
				differ++
			}
		}
		t.Logf("%d bits: %d of %d weights differ, %d have not the nearest base code", bits, differ, n*k, second)
		if differ > n*k/50 { // roundings that fall the other way
			t.Errorf("%d bits: %d of %d weights differ", bits, differ, n*k)
		}
		if second < 5 {
			t.Errorf("%d bits: the nearest base code is always the best: a poor test", bits)
		}
	}
}

// Scores of the criteria that look at the block alone, by their definitions.
func TestScoresByDefinition(t *testing.T) {
	p := quanttest.Problem(t, 9, 70, 12)
	m := laid(solve.RTN{Format: quant.Int4(35), Scale: grid.Scale{Rule: grid.AbsMax}}, 4, 16, 1)
	e, h := quant.Difference(p.Weights, quanttest.Quantize(t, m.Base, p)), p.Moments.Diag()
	for c, term := range map[Criterion]func(i, j int) float64{
		CriterionDiag:   func(i, j int) float64 { return h[j] * float64(e.Row(i)[j]) * float64(e.Row(i)[j]) },
		CriterionError:  func(i, j int) float64 { return float64(e.Row(i)[j]) * float64(e.Row(i)[j]) },
		CriterionWeight: func(i, j int) float64 { return math.Abs(float64(p.Weights.Row(i)[j])) },
	} {
		m.Criterion = c
		scores, _, err := m.Scores(p)
		if err != nil {
			t.Fatal(err)
		}
		want := make([]float64, 3*5)
		for i := range 9 {
			for j := range 70 {
				want[i/4*5+j/16] += term(i, j)
			}
		}
		for b, got := range scores {
			quanttest.Near(t, fmt.Sprintf("%s of block %d", c, b), got, want[b], 1e-9)
		}
	}
	m.Criterion = CriterionRandom
	draw := func(name string, seed uint64) string {
		p := p
		p.Name, p.Seed = name, seed
		scores, _, err := m.Scores(p)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(scores)
	}
	first := draw("a", 1)
	if first != draw("a", 1) || first == draw("b", 1) || first == draw("a", 2) {
		t.Error("random scores do not come from seed and layer")
	}
}

// Densities round to the nearest number of blocks.
func TestDensityRounds(t *testing.T) {
	p := quanttest.Problem(t, 8, 64, 1) // 16 blocks of 4 x 8
	for density, want := range map[float64]int{.03: 0, .04: 1, .15: 2, .16: 3, .97: 16} {
		q := quanttest.Quantize(t, laid(solve.RTN{Format: quant.Int4(32), Scale: grid.Scale{Rule: grid.AbsMax}}, 4, 8, density), p)
		got := 0
		if q.Residual != nil {
			got = q.Residual.Blocks()
		}
		if got != want {
			t.Errorf("density %g keeps %d of 16 blocks, want %d", density, got, want)
		}
	}
}
