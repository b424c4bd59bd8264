package quant

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestE2M1TiesGoToEvenMantissa(t *testing.T) {
	l := FP4.Levels()
	for x, want := range map[float64]float64{.25: 0, .75: 1, 1.25: 1, 1.75: 2, 2.5: 2, 3.5: 4, 5: 4, 9: 6} {
		if got := l.Value[l.Nearest(x)]; got != want {
			t.Errorf("%g becomes %g, want %g", x, got, want)
		}
		if got := l.Value[l.Nearest(-x)]; got != -want {
			t.Errorf("%g becomes %g, want %g", -x, got, -want)
		}
	}
}

// nearest is the level at the least distance, on tables of every size, and ties
// go where the table says: at every midpoint and the numbers beside it.
func TestNearestTies(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	tables := map[string]*Levels{"nf4": NF4.Levels(), "e2m1": FP4.Levels(), "bnb": BnbFP4.Levels(), "dynamic": Dynamic}
	for name, n := range map[string]int{"one": 1, "two": 2, "eleven": 11, "seventeen": 17, "hundred": 100} {
		values := make([]float64, n)
		for i := range values {
			values[i] = rng.NormFloat64()
		}
		slices.Sort(values)
		tables[name] = NewLevels(values)
	}
	for name, l := range tables {
		v := l.Value
		xs := []float64{math.Inf(-1), -1e300, 0, math.Copysign(0, -1), 1e300, math.Inf(1)}
		for i := range v[1:] {
			mid := (v[i] + v[i+1]) / 2
			xs = append(xs, v[i], math.Nextafter(mid, -9), mid, math.Nextafter(mid, 9))
		}
		for range 1000 {
			xs = append(xs, 2*rng.NormFloat64())
		}
		for _, x := range xs {
			want := 0
			for want+1 < len(v) {
				mid := (v[want] + v[want+1]) / 2
				tie := name == "e2m1" && l.Wire[want+1]&1 == 0 // to the even mantissa
				if x < mid || x == mid && !tie {
					break
				}
				want++
			}
			if got := l.Nearest(x); int(got) != want {
				t.Errorf("%s: %v is nearest to level %d (%v), want %d (%v)", name, x, got, v[got], want, v[want])
			}
		}
		if got := l.Nearest(math.NaN()); got != 0 {
			t.Errorf("%s: NaN is nearest to %d", name, got)
		}
	}
}

func BenchmarkNearest(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	x := make([]float64, 1<<20) // too many for a branch predictor to learn
	for i := range x {
		x[i] = rng.NormFloat64() / 3
	}
	for name, l := range map[string]*Levels{"nf4": NF4.Levels(), "dynamic": Dynamic} {
		b.Run(name, func(b *testing.B) {
			var sum int
			for b.Loop() {
				for _, v := range x {
					sum += int(l.Nearest(v))
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(x)), "ns/weight")
			if sum == 0 {
				b.Fatal("every weight is at the lowest level")
			}
		})
	}
}
