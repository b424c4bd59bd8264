package grad

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/hf"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/rotation"
)

// models are small ones of two layers: of LLaMA-3, with tied embeddings; with biases
// everywhere; Qwen2 and Mistral, with windows; Qwen3, with norms of queries and keys.
var models = []string{"llama3", "llama-bias", "qwen2", "qwen3", "mistral"}

func open(t *testing.T, name string) *llm.Model {
	t.Helper()
	m, err := llm.Open(hf.Dir(filepath.Join("../testdata", name)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func newNet(t *testing.T, m *llm.Model, down rotation.Transform, round func(gemm.Matrix)) *Net {
	t.Helper()
	n, err := New(m, down, round)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// sequences are of the given lengths, of any tokens.
func sequences(m *llm.Model, lengths ...int) (seqs [][]int32) {
	draw := rand.New(rand.NewPCG(7, 7))
	for _, n := range lengths {
		var ids []int32
		for range n {
			ids = append(ids, int32(draw.IntN(m.Config().VocabSize)))
		}
		seqs = append(seqs, ids)
	}
	return seqs
}

// orthogonal draws rotations for m.
func orthogonal(m *llm.Model, seed uint64) Rotations {
	c := m.Config()
	r := Rotations{rotation.Orthogonal(c.HiddenSize, seed)}
	for l := range c.Layers {
		r = append(r, rotation.Orthogonal(c.HeadDim, seed+1+uint64(l)))
	}
	return r
}

// noise returns numbers for call number call of a rounding, as large as its errors.
func noise(call, count int) []float64 {
	draw := rand.New(rand.NewPCG(uint64(call), 3))
	out := make([]float64, count)
	for i := range out {
		out[i] = 0.3 * draw.NormFloat64()
	}
	return out
}

// TestDifferences: the gradient is that of differences of the loss in float64, of a
// model whose weights have the rotations folded in, in random directions of each
// rotation. What rounding adds stays the same along them, as the straight-through
// estimator has it.
func TestDifferences(t *testing.T) {
	for i, name := range append(models, "llama3", "qwen2") {
		m := open(t, name)
		if i >= len(models) {
			m, name = m.WithPrefix([]int32{3, 14}), name+" after a prefix"
		}
		down := rotation.NewHadamard(m.Config().MLPSize, 1).Signed(5)
		call := 0
		n := newNet(t, m, down, func(x gemm.Matrix) {
			for i, v := range noise(call, len(x.Data)) {
				x.Data[i] += float32(v)
			}
			call++
		})
		seqs := sequences(m, 11, 5)
		r := orthogonal(m, 4)
		loss, g, err := n.Gradient(t.Context(), r, seqs)
		if err != nil {
			t.Fatal(err)
		}
		p := newPlain(m, down)
		at := func(r []table) float64 {
			var sum float64
			call := 0
			for _, ids := range seqs {
				sum += p.loss(r[0], r[1:], ids, func(x table) {
					add := noise(call, len(x)*len(x[0]))
					for i := range x {
						for j := range x[i] {
							x[i][j] += add[i*len(x[i])+j]
						}
					}
					call++
				})
			}
			return sum / float64(11+5-2)
		}
		var exact []table
		for _, m := range r {
			exact = append(exact, load(m))
		}
		if want := at(exact); !(math.Abs(loss-want) < 1e-5*want) {
			t.Errorf("%s: loss %.8g, want %.8g", name, loss, want)
		}
		draw := rand.New(rand.NewPCG(1, 1))
		for i := range r {
			turn := skewed(len(exact[i]), draw)
			const h = 1e-4
			moved := func(h float64) float64 {
				all := append([]table(nil), exact...)
				all[i] = expm(turn, h).times(exact[i], false)
				return at(all)
			}
			want := (moved(h) - moved(-h)) / (2 * h)
			var got, size float64
			for a, row := range turn {
				for b, v := range row {
					got += v * float64(g[i].Row(a)[b])
					size += float64(g[i].Row(a)[b]) * float64(g[i].Row(a)[b])
				}
			}
			if !(math.Abs(got-want) < 2e-5*math.Sqrt(2*size)) {
				t.Errorf("%s: rotation %d: slope %.8g, want %.8g, of some %.3g", name, i, got, want, math.Sqrt(2*size))
			}
		}
	}
}

// skewed draws a skew matrix.
func skewed(n int, draw *rand.Rand) table {
	t := make(table, n)
	for i := range t {
		t[i] = make([]float64, n)
		for j := range i {
			v := draw.NormFloat64()
			t[i][j], t[j][i] = v, -v
		}
	}
	return t
}

// expm is exp(h·a) for a small h.
func expm(a table, h float64) table {
	n := len(a)
	out, power := repeated(table{{1}}, n), repeated(table{{1}}, n)
	for k := 1.0; k < 6; k++ {
		power = power.times(a, false)
		for i := range power {
			for j := range power[i] {
				power[i][j] *= h / k
				out[i][j] += power[i][j]
			}
		}
	}
	return out
}
