package bench

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestResolved: more repeats are asked for while a ratio is not known well enough.
func TestResolved(t *testing.T) {
	steady, rough := make([]float64, 16), make([]float64, 16)
	for i := range steady {
		steady[i], rough[i] = 1, 1+float64(i%2)
	}
	for _, c := range []struct {
		times      [][]float64
		resolution float64
		repeats    int
		want       bool
	}{
		{[][]float64{steady, rough}, 0, 16, true}, {[][]float64{steady, rough}, .02, 16, false},
		{[][]float64{steady, steady}, .02, 16, true}, {[][]float64{steady, steady}, .02, 15, false},
		{[][]float64{steady, rough}, .6, 16, true}, {[][]float64{rough}, .02, 15, true},
	} {
		if got := Resolved(c.times, c.resolution, c.repeats); got != c.want {
			t.Errorf("resolution %g after %d repeats: %v", c.resolution, c.repeats, got)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		v    []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 9, 2}, 3}} {
		if got := median(c.v); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.v, got, c.want)
		}
	}
	v := []float64{3, 1, 2}
	if median(v); v[0] != 3 {
		t.Error("median sorts its argument")
	}
}

// TestBootstrapCovers draws samples of a skewed distribution of known median:
// the interval must cover it about as often as it says.
func TestBootstrapCovers(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	const samples = 300
	covered := 0
	for range samples {
		v := make([]float64, 25)
		for i := range v {
			v[i] = 1 + rng.ExpFloat64()
		}
		e := Bootstrap(v)
		if !(e.Low <= e.Value && e.Value <= e.High) {
			t.Fatalf("%+v", e)
		}
		if truth := 1 + math.Ln2; e.Low <= truth && truth <= e.High {
			covered++
		}
	}
	if rate := float64(covered) / samples; !(rate > 0.9 && rate < 0.985) {
		t.Errorf("intervals cover the median in %.1f %% of samples", 100*rate)
	}
}

func TestBootstrapSame(t *testing.T) {
	v := []float64{1, 2, 3, 4, 5, 6, 7}
	if a, b := Bootstrap(v), Bootstrap(v); a != b {
		t.Errorf("%+v and %+v", a, b)
	}
	if e := Bootstrap([]float64{2, 2, 2}); e != (Estimate{2, 2, 2}) {
		t.Errorf("of equal times: %+v", e)
	}
	if q := Quotients([]float64{1, 6}, []float64{2, 3}); q[0] != 0.5 || q[1] != 2 {
		t.Error(q)
	}
	if q := per(6, []float64{2, 3}); q[0] != 3 || q[1] != 2 {
		t.Error(q)
	}
}
