package llm

import (
	"math"
	"slices"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// TestBasis: folded and rotated models compute the function of the model, to
// 1e-5 of the largest logit, and their norms have no gain.
func TestBasis(t *testing.T) {
	for name, files := range families() {
		m := open(t, files)
		ids := words(24, m.Config().VocabSize)
		want := logits(t, m, ids)
		var largest float64
		for _, x := range want.Data {
			largest = max(largest, math.Abs(float64(x)))
		}
		for basis, v := range map[string]*Model{"folded": m.Fold(), "rotated": m.Rotate(1), "rotated otherwise": m.Rotate(2)} {
			got := logits(t, v, ids)
			var worst float64
			for i, x := range got.Data {
				worst = max(worst, math.Abs(float64(x)-float64(want.Data[i])))
			}
			if !(worst <= 1e-5*largest) {
				t.Errorf("%s, %s: logits differ by %.2g of the largest", name, basis, worst/largest)
			}
			for l := range v.layers {
				if slices.ContainsFunc(slices.Concat(v.layers[l].inputNorm, v.layers[l].postNorm, v.norm), func(g float32) bool { return g != 1 }) {
					t.Errorf("%s, %s: layer %d has gains", name, basis, l)
				}
			}
		}
		before := loaded(m.layers[0].linears[siteAttnIn][0].weights)
		if after := loaded(m.Rotate(1).layers[0].linears[siteAttnIn][0].weights); slices.Equal(before.Data, after.Data) {
			t.Errorf("%s: rotation leaves q_proj as it is", name)
		}
	}
}

// TestOrthogonal: Q·Qᵀ is one, and seeds differ.
func TestOrthogonal(t *testing.T) {
	for _, n := range []int{1, 2, 37} {
		q := orthogonal(n, 7)
		qq := gemm.NewMatrix(n, n)
		gemm.MulNT(qq, q, q)
		for i := range n {
			for j := range n {
				want := 0.0
				if i == j {
					want = 1
				}
				if d := math.Abs(float64(qq.Row(i)[j]) - want); !(d < 1e-6) {
					t.Fatalf("Q·Qᵀ[%d,%d] is off by %g", i, j, d)
				}
			}
		}
		if n > 1 && slices.Equal(q.Data, orthogonal(n, 8).Data) {
			t.Error("two seeds give one matrix")
		}
	}
}
