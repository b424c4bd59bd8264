package llm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/hf"
)

// families are small models of every supported architecture.
func families() map[string]hf.Files {
	base := hf.Config{
		VocabSize: 61, HiddenSize: 32, MLPSize: 40, Layers: 2, Heads: 6, KVHeads: 2, HeadDim: 8,
		MaxPositions: 64, RMSNormEps: 1e-6, RopeTheta: 1e4, Window: []int{0, 0},
	}
	llama, qwen2, qwen3, mistral := base, base, base, base
	llama.ModelType, llama.KVHeads, llama.TieEmbeddings = "llama", 3, true
	llama.Llama3 = &hf.Llama3Rope{Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPositions: 32}
	qwen2.ModelType, qwen2.QKVBias = "qwen2", true
	qwen3.ModelType, qwen3.QKNorm = "qwen3", true
	mistral.ModelType, mistral.KVHeads, mistral.Window = "mistral", 1, []int{5, 5}
	return map[string]hf.Files{
		"llama3": Random(llama, 1), "qwen2": Random(qwen2, 2), "qwen3": Random(qwen3, 3), "mistral": Random(mistral, 4),
		"all options": Random(shape(), 5), "builtin": hf.Dir(tinyDir),
	}
}

// draw returns scales of every site, equal where channels share a producer.
func draw(m *Model, rng *rand.Rand, one func() float32) map[string][]float32 {
	scales := map[string][]float32{}
	for _, l := range m.Linears() {
		if scales[l.Site] != nil {
			continue
		}
		from := m.Producers(l.Site)
		drawn := make([]float32, slices.Max(from)+1)
		for i := range drawn {
			drawn[i] = one()
		}
		s := make([]float32, l.K)
		for j, p := range from {
			s[j] = drawn[p]
		}
		scales[l.Site] = s
	}
	return scales
}

func logits(t *testing.T, m *Model, seqs ...[]int32) gemm.Matrix {
	t.Helper()
	h := hidden(t, m, nil, seqs...)
	out := gemm.NewMatrix(h.Rows, m.Config().VocabSize)
	if err := m.Logits(out, h); err != nil {
		t.Fatal(err)
	}
	return out
}

// Scaled models compute the same: to the last bit for powers of two, to 1e-5 of
// the largest logit for scales over four orders of magnitude. A second scaling
// undoes the first.
func TestScaleKeepsTheFunction(t *testing.T) {
	for name, files := range families() {
		t.Run(name, func(t *testing.T) {
			m := open(t, files)
			v := m.Config().VocabSize
			seqs := [][]int32{words(23, v), words(9, v)}
			want := logits(t, m, seqs...)
			rng := rand.New(rand.NewPCG(7, 7))
			for i, one := range []func() float32{
				func() float32 { return float32(math.Ldexp(1, rng.IntN(17)-8)) },
				func() float32 { return float32(math.Pow(10, 4*rng.Float64()-2)) },
			} {
				scales := draw(m, rng, one)
				s, err := m.Scale(scales)
				if err != nil {
					t.Fatal(err)
				}
				got := logits(t, s, seqs...)
				if i == 0 && !slices.Equal(got.Data, want.Data) {
					t.Errorf("powers of two change the logits by %.2g", difference(got, want))
				}
				if d := difference(got, want); !(d <= 1e-5) {
					t.Errorf("logits differ by %.2g of the largest", d)
				}
				back := map[string][]float32{}
				for site, s := range scales {
					for _, v := range s {
						back[site] = append(back[site], 1/v)
					}
				}
				again, err := s.Scale(back)
				if err != nil {
					t.Fatal(err)
				}
				if d := difference(logits(t, again, seqs...), want); !(d <= 1e-5) {
					t.Errorf("scaled there and back, logits differ by %.2g", d)
				}
			}
		})
	}
}

// The inputs of a scaled site are X/s and its weights W·diag(s), tile by tile;
// the model itself stays as it was.
func TestScaleScalesWhatItNames(t *testing.T) {
	m := open(t, Random(shape(), 1))
	rng := rand.New(rand.NewPCG(3, 3))
	all := draw(m, rng, func() float32 { return float32(math.Ldexp(1, rng.IntN(9)-4)) })
	for site := range sites {
		name := siteName(1, site)
		s := all[name]
		view, err := m.Scale(map[string][]float32{name: s})
		if err != nil {
			t.Fatal(err)
		}
		inputs := func(m *Model) map[string]gemm.Matrix {
			seen := map[string]gemm.Matrix{}
			hidden(t, m, func(site string, x gemm.Matrix) { seen[site] = x.Clone() }, words(9, 61))
			return seen
		}
		want, got := inputs(m), inputs(view)
		for other, x := range got {
			for i := range x.Rows {
				for j, v := range x.Row(i) {
					w := want[other].Row(i)[j]
					if other == name {
						w /= s[j]
					}
					if v != w {
						t.Fatalf("scaling %s: input %d,%d of %s is %v, want %v", name, i, j, other, v, w)
					}
				}
			}
		}
		before := m.Linears()
		for i, l := range view.Linears() {
			a, b := gemm.NewMatrix(l.N-3, l.K-5), gemm.NewMatrix(l.N-3, l.K-5)
			l.Weights.Load(a, 3, 5)
			before[i].Weights.Load(b, 3, 5)
			if l.Site != name {
				continue
			}
			for r := range a.Rows {
				for j, v := range a.Row(r) {
					if v != b.Row(r)[j]*s[j+5] {
						t.Fatalf("%s: weight %d,%d is %v, was %v, scale %v", l.Name, r+3, j+5, v, b.Row(r)[j], s[j+5])
					}
				}
			}
		}
	}
}

func TestScaleRejects(t *testing.T) {
	m := open(t, Random(shape(), 1))
	ones := func(n int) []float32 { return slices.Repeat([]float32{1}, n) }
	for bad, v := range map[string]float32{"0": 0, "-1": -1, "+Inf": float32(math.Inf(1)), "NaN": float32(math.NaN()), "1e-45": 1e-45} {
		s := ones(32)
		s[7] = v
		_, err := m.Scale(map[string][]float32{"model.layers.1.mlp_in": s})
		fails(t, err, "model.layers.1.mlp_in", "channel 7", bad)
	}
	s := ones(48)
	s[8] = 2 // head 1 shares with head 0
	_, err := m.Scale(map[string][]float32{"model.layers.0.attn_out": s})
	fails(t, err, "model.layers.0.attn_out", "channel 8", "v_proj")
	for what, scales := range map[string]map[string][]float32{
		"site": {"model.layers.2.attn_in": ones(32)}, "number": {"model.layers.1.attn_in": ones(31)},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("another %s passed", what)
				}
			}()
			m.Scale(scales)
		}()
	}
}

func TestProducers(t *testing.T) {
	m := open(t, Random(shape(), 1)) // 6 heads of 8 channels, 2 of them for keys
	from := m.Producers("model.layers.1.attn_out")
	for j, p := range from {
		if want := j/24*8 + j%8; p != want {
			t.Errorf("channel %d comes from %d, want %d", j, p, want)
		}
	}
	for _, site := range []string{"attn_in", "mlp_in", "mlp_mid"} {
		for j, p := range m.Producers(fmt.Sprintf("model.layers.0.%s", site)) {
			if p != j {
				t.Fatalf("%s: channel %d comes from %d", site, j, p)
			}
		}
	}
}
