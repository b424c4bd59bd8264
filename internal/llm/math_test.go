package llm

import (
	"math"
	"math/rand/v2"
	"testing"
)

// ulps returns |got - want| in units of the last place of a float32 at want.
func ulps(got float32, want float64) float64 {
	w := math.Abs(want)
	_, e := math.Frexp(w)
	return math.Abs(float64(got)-want) / math.Ldexp(1, max(e, -125)-24)
}

// eachVariant runs f with every implementation of elementwise in turn.
func eachVariant(t *testing.T, f func(t *testing.T)) {
	defer func(e *elementwise) { active = e }(active)
	for _, active = range variants() {
		t.Run(active.name, f)
	}
}

func TestExpIsWithinTwoULP(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		worst, at, n := 0.0, float32(0), 0
		xs, got := make([]float32, 1<<10), make([]float32, 1<<10)
		check := func() {
			copy(got, xs)
			active.expShift(got, 0)
			for i, x := range xs {
				if want := math.Exp(float64(x)); want >= 0x1p-126 && want <= math.MaxFloat32 {
					n++
					if u := ulps(got[i], want); !(u <= worst) {
						worst, at = u, x
					}
				}
			}
			xs = xs[:0]
		}
		xs = xs[:0]
		for bits := uint32(0); bits < 0x42b20000; bits += 997 { // to 89, evenly in the logarithm
			if xs = append(xs, math.Float32frombits(bits), -math.Float32frombits(bits)); len(xs) == len(got) {
				check()
			}
		}
		t.Logf("%d arguments, at most %.2f ulp, at %v", n, worst, at)
		if !(worst <= 2) || n < 1e6 {
			t.Errorf("exp is %.2f ulp off at %v (%d arguments)", worst, at, n)
		}
	})
}

func TestExpAtItsEnds(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	eachVariant(t, func(t *testing.T) {
		for _, c := range [][2]float32{{0, 1}, {-inf, 0}, {inf, inf}, {-104, 0}, {89, inf}, {-1e30, 0}, {1e30, inf}, {nan, nan}} {
			x := make([]float32, 17) // one vector and a tail
			for i := range x {
				x[i] = c[0]
			}
			active.expShift(x, 0)
			for i, got := range x {
				if got != c[1] && !(got != got && c[1] != c[1]) {
					t.Errorf("exp(%v)[%d] = %v, want %v", c[0], i, got, c[1])
				}
			}
		}
		for _, x := range []float32{-87.4, -95, -103} { // subnormal results
			s := make([]float32, 16)
			s[0] = x
			active.expShift(s, 0)
			if want := math.Exp(float64(x)); !(math.Abs(float64(s[0])-want) <= 0x1p-148) {
				t.Errorf("exp(%v) = %v, want %v", x, s[0], want)
			}
		}
	})
}

// Lengths around the lanes; what lies beside the slice stays.
func TestElementwiseLengths(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		for _, n := range []int{0, 1, 7, 8, 9, 15, 16, 17, 31, 33, 100} {
			const guard = 12345
			x, g := make([]float32, n+32), make([]float32, n+32)
			for i := range x {
				x[i], g[i] = guard, guard
			}
			in, gate, up := x[16:16+n], g[16:16+n], make([]float32, n)
			want := 0.0
			for i := range in {
				in[i], gate[i], up[i] = float32(i%13)-3, float32(i%11)-5, float32(i%7)-3
				want += math.Exp(float64(in[i]) - 9)
			}
			if sum := active.expShift(in, 9); !(math.Abs(float64(sum)-want) <= 1e-6*want) {
				t.Errorf("n=%d: sum %v, want %v", n, sum, want)
			}
			active.swiGLU(gate, up)
			for i := range in {
				if want := math.Exp(float64(i%13) - 12); !(math.Abs(float64(in[i])-want) <= 1e-6*want) {
					t.Errorf("n=%d: exp[%d] = %v, want %v", n, i, in[i], want)
				}
				v := float64(i%11) - 5
				if want := v / (1 + math.Exp(-v)) * float64(up[i]); !(math.Abs(float64(gate[i])-want) <= 1e-6*math.Abs(want)) {
					t.Errorf("n=%d: swiGLU[%d] = %v, want %v", n, i, gate[i], want)
				}
			}
			for i := range 16 {
				if x[i] != guard || x[16+n+i] != guard || g[i] != guard || g[16+n+i] != guard {
					t.Fatalf("n=%d: wrote outside the slice", n)
				}
			}
		}
	})
}

func TestSoftmax(t *testing.T) { eachVariant(t, testSoftmax) }

func testSoftmax(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5, 16, 17, 1023} {
		s := make([]float32, n)
		want := make([]float64, n)
		sum := 0.0
		for i := range s {
			s[i] = float32(1000 + (i*37%101)/7)
			want[i] = math.Exp(float64(s[i]) - 1014)
			sum += want[i]
		}
		got := float64(softmax(s))
		for i := range s {
			if !(math.Abs(float64(s[i])/got-want[i]/sum) <= 1e-6*want[i]/sum+1e-12) {
				t.Errorf("n=%d: element %d is %v, want %v", n, i, float64(s[i])/got, want[i]/sum)
			}
		}
	}
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, s := range [][]float32{{nan, 1}, {1, nan, 2}, {1, inf}, {-inf, -inf}} {
		if sum := softmax(s); sum == sum {
			t.Errorf("a fault became %v, sum %v", s, sum)
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

func TestSwiGLU(t *testing.T) { eachVariant(t, testSwiGLU) }

func testSwiGLU(t *testing.T) {
	for _, g := range []float32{-1e30, -100, -20, -1, -1e-10, 0, 1e-10, 1, 20, 100, 1e30} {
		gate, up := make([]float32, 16), make([]float32, 16)
		gate[0], up[0] = g, 3
		swiGLU(gate, up)
		want := float64(g) / (1 + math.Exp(-float64(g))) * 3
		if !(math.Abs(float64(gate[0])-want) <= 1e-6*math.Abs(want)+1e-37) {
			t.Errorf("silu(%v)·3 = %v, want %v", g, gate[0], want)
		}
	}
	for _, g := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		gate, up := make([]float32, 16), make([]float32, 16)
		gate[0], up[0] = float32(g), 1
		swiGLU(gate, up)
		if finite(gate) {
			t.Errorf("silu(%v) = %v hides a fault", g, gate[0])
		}
	}
}

// exp64 written out: the steps of the assembly, one at a time.
func exp64Steps(x float64) float64 {
	if x < -800 {
		x = -800
	}
	n := math.RoundToEven(x * math.Log2E)
	x = math.FMA(-n, 0.69314718055966295651160180568695068359375, x)
	x = math.FMA(-n, 0.28235290563031577122588448175013436025525412068e-12, x)
	x *= 0.0625
	p := 2.4801587301587301587e-5
	for _, c := range []float64{1.9841269841269841270e-4, 1.3888888888888888889e-3, 8.3333333333333333333e-3, 4.1666666666666666667e-2, 1.6666666666666666667e-1, 0.5, 1} {
		p = math.FMA(p, x, c)
	}
	x *= p
	for range 3 {
		x *= x + 2
	}
	return math.Ldexp(math.FMA(x+2, x, 1), int(n))
}

// Assembly has the bits of its steps, and these are exp to 1 ulp; the tail of a
// vector is math.Exp. Subnormal results and those that vanish are among them.
func TestExp64(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	eachVariant(t, func(t *testing.T) {
		different := 0
		for trial := range 2000 {
			n := rng.IntN(70)
			x, dst := make([]float32, n), make([]float64, n+9)
			shift := rng.NormFloat64() * 10
			spread := math.Exp2(float64(rng.IntN(14)) - 3)
			for i := range x {
				x[i] = float32(shift - spread*rng.ExpFloat64())
				if rng.IntN(100) == 0 {
					x[i] = float32(shift - 744.5 - rng.Float64())
				}
				for float64(x[i]) > shift {
					x[i] = math.Nextafter32(x[i], float32(math.Inf(-1)))
				}
			}
			if trial == 0 {
				x, shift = []float32{0, -745.2, -745.1, -708.5, -1e30, float32(math.Inf(-1)), -3e38, -800}, 0
				x, dst = append(x, x...), make([]float64, 2*len(x)+9)
				n = len(x)
			}
			for i := range dst {
				dst[i] = 7
			}
			Exp64(dst, x, shift)
			for i, got := range dst {
				if i >= n {
					if got != 7 {
						t.Fatalf("wrote beyond %d values", n)
					}
					continue
				}
				arg := float64(x[i]) - shift
				want := math.Exp(arg)
				if steps := exp64Steps(arg); i < n/active.lanes*active.lanes && active.exp64N != nil && got != steps {
					t.Fatalf("exp(%v) = %v, by its steps %v", arg, got, steps)
				}
				if got != want {
					different++
				}
				if !(math.Abs(got-want) <= 0x1p-52*want+0x1p-1074) {
					t.Fatalf("exp(%v) = %v, want %v", arg, got, want)
				}
			}
		}
		t.Logf("%d values differ from math.Exp", different)
	})
	nan := make([]float32, 16)
	for i := range nan {
		nan[i] = float32(math.NaN())
	}
	dst := make([]float64, 16)
	Exp64(dst, nan, 0)
	for _, v := range dst {
		if v == v {
			t.Errorf("exp(NaN) = %v", v)
		}
	}
}
