package llm

import (
	"math"
	"testing"
)

// ulps returns |got - want| in units of the last place of a float32 at want.
func ulps(got float32, want float64) float64 {
	w := math.Abs(want)
	_, e := math.Frexp(w)
	return math.Abs(float64(got)-want) / math.Ldexp(1, max(e, -125)-24)
}

func TestExpIsWithinTwoULP(t *testing.T) {
	worst, at, n := 0.0, float32(0), 0
	for bits := uint32(0); bits < 0x7f800000; bits += 997 { // both signs of float32, evenly by exponent
		for _, x := range []float32{math.Float32frombits(bits), -math.Float32frombits(bits)} {
			if x < expMin || x > expMax {
				continue
			}
			n++
			if u := ulps(exp(x), math.Exp(float64(x))); !(u <= worst) {
				worst, at = u, x
			}
		}
	}
	t.Logf("%d arguments, at most %.2f ulp, at %v", n, worst, at)
	if !(worst <= 2) || n < 1e6 {
		t.Errorf("exp is %.2f ulp off at %v (%d arguments)", worst, at, n)
	}
}

func TestExpAtItsEnds(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, c := range [][2]float32{{0, 1}, {-inf, 0}, {inf, inf}, {-88, 0}, {89, inf}, {-1e30, 0}} {
		if got := exp(c[0]); got != c[1] {
			t.Errorf("exp(%v) = %v, want %v", c[0], got, c[1])
		}
	}
	if got := exp(float32(math.NaN())); got == got {
		t.Errorf("exp(NaN) = %v", got)
	}
	if got := exp(expMax); !(got > 3.4e38) || got == inf {
		t.Errorf("exp(%v) = %v", float32(expMax), got)
	}
	if got := exp(expMin); !(got >= 0x1p-126) {
		t.Errorf("exp(%v) = %v", float32(expMin), got)
	}
}

func TestSoftmax(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5, 16, 17, 1023} {
		s := make([]float32, n)
		want := make([]float64, n)
		sum := 0.0
		for i := range s {
			s[i] = float32(1000 + (i*37%101)/7)
			want[i] = math.Exp(float64(s[i]) - 1014)
			sum += want[i]
		}
		softmax(s)
		for i := range s {
			if !(math.Abs(float64(s[i])-want[i]/sum) <= 1e-6*want[i]/sum+1e-12) {
				t.Errorf("n=%d: element %d is %v, want %v", n, i, s[i], want[i]/sum)
			}
		}
	}
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, s := range [][]float32{{nan, 1}, {1, nan, 2}, {1, inf}, {-inf, -inf}} {
		softmax(s)
		if finite(s) {
			t.Errorf("a fault became %v", s)
		}
	}
}

func TestFinite(t *testing.T) {
	for _, n := range []int{1, 3, 4, 5, 33} {
		for i := range n {
			for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
				x := make([]float32, n)
				x[n-1] = math.MaxFloat32
				if !finite(x) {
					t.Fatalf("%v is finite", x)
				}
				x[i] = float32(bad)
				if finite(x) {
					t.Errorf("n=%d: %v at %d went unseen", n, bad, i)
				}
			}
		}
	}
}

func TestSwiGLU(t *testing.T) {
	for _, g := range []float32{-1e30, -100, -20, -1, -1e-10, 0, 1e-10, 1, 20, 100, 1e30} {
		gate, up := []float32{g}, []float32{3}
		swiGLU(gate, up)
		want := float64(g) / (1 + math.Exp(-float64(g))) * 3
		if !(math.Abs(float64(gate[0])-want) <= 1e-6*math.Abs(want)+1e-37) {
			t.Errorf("silu(%v)·3 = %v, want %v", g, gate[0], want)
		}
	}
	gate := []float32{float32(math.Inf(-1))}
	swiGLU(gate, []float32{1})
	if finite(gate) {
		t.Errorf("silu(-Inf) = %v hides a fault", gate[0])
	}
}
