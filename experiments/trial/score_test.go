package trial

import (
	"math"
	"math/rand/v2"
	"testing"
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
