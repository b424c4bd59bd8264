package mosaic

import (
	"math"
	"slices"
	"sort"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// Relief against its definition: the expected loss of the whole matrix, fitted
// anew for each block that could be added, for shapes that divide a group, hold
// several, or neither.
func TestReliefIsGreedyInExpectedLoss(t *testing.T) {
	const n, k = 6, 72
	p := quanttest.Problem(t, n, k, 51)
	lambda := p.Moments.Diag()
	for _, c := range []struct{ group, rows, cols int }{{24, 1, 8}, {24, 4, 12}, {12, 2, 24}, {0, 1, 16}, {24, 3, 16}} {
		f := quant.Int4(c.group)
		tl := solve.Tiling{N: n, K: k, R: c.rows, C: c.cols}
		size, _ := f.Groups(k)
		loss := func(kept []int) float64 {
			skip := make([]bool, n*k)
			for _, b := range kept {
				n0, n1, k0, k1 := tl.Bounds(b)
				for i := n0; i < n1; i++ {
					for j := k0; j < k1; j++ {
						skip[i*k+j] = true
					}
				}
			}
			var sum float64
			for i := range n {
				for g := 0; g < k; g += size {
					var largest, weight float64
					for j := g; j < g+size; j++ {
						if !skip[i*k+j] {
							largest = max(largest, math.Abs(float64(p.Weights.Row(i)[j])))
							weight += lambda[j]
						}
					}
					s := float64(half.FromF16(half.ToF16(float32(largest / 7))))
					sum += weight * s * s / 12
				}
			}
			return sum
		}
		var kept []int
		for count := 1; count <= tl.Count()/2; count++ {
			best, at := 0.0, -1
			for b := range tl.Count() {
				if !slices.Contains(kept, b) {
					if l := loss(append(slices.Clone(kept), b)); at < 0 || l < best {
						best, at = l, b
					}
				}
			}
			kept = append(kept, at)
			want := slices.Clone(kept)
			sort.Ints(want)
			got, err := relief(p, grid.Fitter{Format: f}, tl, lambda, count)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, want) {
				quanttest.Near(t, "expected loss of another choice", loss(got), loss(want), 1e-12)
			}
		}
	}
}

// What the criterion is for: where channels are alike and weights have long
// tails, a joint residual chosen by it loses clearly less than one chosen by
// GPTQ's own losses.
// (Where few channels carry most of the loss, delta finds them as well.)
func TestReliefOfLongTails(t *testing.T) {
	for seed := range uint64(3) {
		p := quanttest.Problem(t, 32, 256, 60+seed)
		for i := range p.Moments.H { // undo the strong channels
			for _, j := range []int{i / 256, i % 256} {
				if j%37 == 5 {
					p.Moments.H[i] /= 8
				}
			}
		}
		for i, w := range p.Weights.Data {
			p.Weights.Data[i] = w * w * w
		}
		m := joint(quant.Int4(128), 1, 16, .1)
		delta := quanttest.Objective(p, quanttest.Quantize(t, m, p).Dequantize())
		m.Criterion = CriterionRelief
		relief := quanttest.Objective(p, quanttest.Quantize(t, m, p).Dequantize())
		t.Logf("seed %d: delta %.4g, relief %.4g", seed, delta, relief)
		if !(relief < .9*delta) {
			t.Errorf("seed %d: relief %g, delta %g", seed, relief, delta)
		}
	}
}
