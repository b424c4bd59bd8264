package trial

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/builtin"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/llm"
)

// TestCompare checks the one-pass scores against the definitions.
func TestCompare(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		n := 2 + rng.IntN(300)
		got, want := make([]float32, n), make([]float32, n)
		for i := range got {
			want[i] = float32(rng.NormFloat64() * 5)
			got[i] = want[i] + float32(rng.NormFloat64())
		}
		target := rng.IntN(n)
		p, q := softmax(want), softmax(got)
		var kl float64
		for i := range p {
			kl += p[i] * math.Log(p[i]/q[i])
		}
		s := compare(got, want, int32(target))
		if d := math.Abs(s.nll + math.Log(q[target])); !(d < 1e-12*(1+s.nll)) {
			t.Errorf("nll %v, want %v", s.nll, -math.Log(q[target]))
		}
		if d := math.Abs(s.kl - kl); !(d < 1e-11*(1+kl)) {
			t.Errorf("kl %v, want %v", s.kl, kl)
		}
		if agree := argmax(got) == argmax(want); s.agree != agree {
			t.Errorf("agree %v, want %v", s.agree, agree)
		}
		for _, target := range []int{argmax(got), argmax(want), target} {
			s := compare(got, want, int32(target))
			right, was := argmax(got) == target, argmax(want) == target
			if s.lost != (was && !right) || s.gained != (right && !was) {
				t.Errorf("right %v, with 16 bits %v: %+v", right, was, s)
			}
		}
		if same := compare(want, want, int32(target)); same.kl != 0 || !same.agree {
			t.Errorf("a model differs from itself: %+v", same)
		}
	}
}

func softmax(v []float32) []float64 {
	p := make([]float64, len(v))
	var sum float64
	for i, x := range v {
		p[i] = math.Exp(float64(x))
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

func TestQuantile(t *testing.T) {
	v := []float64{1, 2, 4, 8}
	for _, c := range []struct{ q, want float64 }{{0, 1}, {1, 8}, {0.5, 3}, {1.0 / 3, 2}, {0.9, 6.8}} {
		if got := quantile(v, c.q); !(math.Abs(got-c.want) < 1e-12) {
			t.Errorf("quantile %v = %v, want %v", c.q, got, c.want)
		}
	}
}

func TestRelative(t *testing.T) {
	for _, c := range []struct{ lost, total, want float64 }{{1, 4, 0.25}, {0, 4, 0}, {0, 0, 0}} {
		if got := relative(c.lost, c.total); got != c.want {
			t.Errorf("relative(%v, %v) = %v, want %v", c.lost, c.total, got, c.want)
		}
	}
}

// Logits of model and reference have the bits of a product of their own, however
// few or many they are, and equal hidden states have equal logits.
func TestBothLogits(t *testing.T) {
	files, err := builtin.Model("tiny-llama3")
	if err != nil {
		t.Fatal(err)
	}
	m, err := llm.Open(files)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	c := m.Config()
	hidden, ref := gemm.NewMatrix(80, c.HiddenSize), gemm.NewMatrix(80, c.HiddenSize)
	for i := range hidden.Data {
		hidden.Data[i], ref.Data[i] = float32(rng.NormFloat64()), float32(rng.NormFloat64())
	}
	s := &scorer{model: m, reference: &reference{model: m}}
	for _, n := range []int{1, 7, 16, 17, 31, 32, 33, 34, 65, 70} {
		const a = 3
		got, want, err := s.both(a, a+n, hidden, ref)
		if err != nil {
			t.Fatal(err)
		}
		for name, x := range map[string][2]gemm.Matrix{"model": {got, hidden}, "reference": {want, ref}} {
			alone := gemm.NewMatrix(n, c.VocabSize)
			if err := m.Logits(alone, x[1].View(a, a+n, 0, c.HiddenSize)); err != nil {
				t.Fatal(err)
			}
			for i := range n {
				if !slices.Equal(x[0].Row(i), alone.Row(i)) {
					t.Errorf("%d rows: row %d of the %s differs from a product of its own", n, i, name)
					break
				}
			}
		}
	}
	got, want, err := s.both(0, 40, hidden, hidden)
	if err != nil || !slices.Equal(got.Data[:40*c.VocabSize], want.Data[:40*c.VocabSize]) {
		t.Errorf("equal hidden states have different logits (error: %v)", err)
	}
}
