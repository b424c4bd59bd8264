package llm

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/rotation"
)

// everywhere turns the residual stream, values, and the inputs of all sites.
func everywhere(m *Model) Transforms {
	dims := map[string]int{}
	for _, l := range m.Linears() {
		dims[l.Site] = l.K
	}
	d := m.Config().HeadDim
	return Transforms{
		Residual: rotation.NewHadamard(m.Config().HiddenSize, 1).Signed(1),
		Values:   func(layer int) rotation.Transform { return rotation.NewHadamard(d, 1).Signed(uint64(layer)) },
		Online: func(site string) rotation.Transform {
			if strings.HasSuffix(site, "attn_out") {
				return rotation.NewHadamard(dims[site]/d, 2).Across(d)
			}
			return rotation.NewHadamard(dims[site], 3)
		},
	}
}

// TestOnline: inputs that are turned while the model runs are seen turned by the
// tap, keep their lengths, and have no scales; decoding token by token turns them
// too.
func TestOnline(t *testing.T) {
	m := open(t, families()["qwen3"])
	v := m.Transform(Transforms{Online: everywhere(m).Online})
	ids := words(9, m.Config().VocabSize)
	lengths := func(m *Model) map[string][]float32 {
		sums := map[string][]float32{}
		hidden(t, m, func(site string, x gemm.Matrix) {
			for i := range x.Rows {
				sums[site] = append(sums[site], gemm.Dot(x.Row(i), x.Row(i)), x.Row(i)[0])
			}
		}, ids)
		return sums
	}
	before, after := lengths(m), lengths(v)
	for site, b := range before {
		for i, a := range after[site] {
			same := math.Abs(float64(a-b[i])) < 1e-4*math.Abs(float64(b[i]))
			if i%2 == 0 && !same || i == 1 && same {
				t.Errorf("%s: %d: %g before, %g after", site, i, b[i], a)
			}
		}
	}
	if got := len(v.Online()); got != 4*m.Config().Layers {
		t.Errorf("%d sites are turned", got)
	}
	ones := make([]float32, m.Config().HiddenSize)
	for i := range ones {
		ones[i] = 1
	}
	if _, err := v.Scale(map[string][]float32{"model.layers.0.attn_in": ones}); err == nil {
		t.Error("a site that is turned takes scales")
	}
	whole := hidden(t, v, nil, ids)
	cache := v.NewCache(len(ids))
	for i := range ids {
		h, err := v.Decode(t.Context(), cache, ids[i:i+1])
		if err != nil {
			t.Fatal(err)
		}
		for j, x := range h.Row(0) {
			if d := math.Abs(float64(x) - float64(whole.Row(i)[j])); !(d < 1e-4) {
				t.Fatalf("token %d: decoded state differs by %g", i, d)
			}
		}
	}
}

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
		for basis, v := range map[string]*Model{
			"folded": m.Fold(), "rotated": m.Rotate(1), "rotated otherwise": m.Rotate(2),
			"turned everywhere": m.Transform(everywhere(m)), "turned twice": m.Rotate(3).Transform(everywhere(m)),
		} {
			got := logits(t, v, ids)
			var worst float64
			for i, x := range got.Data {
				worst = max(worst, math.Abs(float64(x)-float64(want.Data[i])))
			}
			if !(worst <= 1e-5*largest) {
				t.Errorf("%s, %s: logits differ by %.2g of the largest", name, basis, worst/largest)
			}
			for l := range v.layers {
				gains := slices.Concat(v.layers[l].inputNorm, v.layers[l].postNorm, v.norm)
				if slices.ContainsFunc(gains, func(g float32) bool { return g != 1 }) {
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
