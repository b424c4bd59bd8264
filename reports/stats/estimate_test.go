package stats

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"testing"
)

// TestAgainstScipy compares with testdata/stats.py: the same estimates by
// numerical derivatives and scipy's t-test, and by the jackknife.
func TestAgainstScipy(t *testing.T) {
	type golden struct{ Value, SE, Low, High, P, Jackknife float64 }
	var g struct {
		Tokens, A, B, C                          []float64
		Mean, Difference, Logratio, Interpolated golden
	}
	data, err := os.ReadFile("testdata/stats.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	check := func(name string, want golden, got Estimate, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		// forward differences of step 1e-6 are good to about 1e-6
		for _, x := range []struct {
			what      string
			got, want float64
			tol       float64
		}{{"value", got.Value, want.Value, 1e-13}, {"SE", got.SE, want.SE, 1e-5}, {"low", got.Low, want.Low, 1e-5},
			{"high", got.High, want.High, 1e-5}, {"SE against jackknife", got.SE, want.Jackknife, 0.05}} {
			if !(math.Abs(x.got-x.want) <= x.tol*math.Abs(x.want)) {
				t.Errorf("%s: %s is %v, want %v", name, x.what, x.got, x.want)
			}
		}
		if !(math.Abs(math.Log(got.P)-math.Log(want.P)) < 1e-2) {
			t.Errorf("%s: p is %v, want %v", name, got.P, want.P)
		}
	}
	e, err := Mean(g.A, g.Tokens)
	check("mean", g.Mean, e, err)
	e, err = Difference(g.A, g.B, g.Tokens)
	check("difference", g.Difference, e, err)
	e, err = LogContrast(Term{1, g.A}, Term{-1, g.B})
	check("log ratio", g.Logratio, e, err)
	e, err = LogContrast(Term{1, g.A}, Term{-0.3, g.B}, Term{-0.7, g.C})
	check("interpolated", g.Interpolated, e, err)
}

// TestCoverage counts how often the 95 % intervals hold the truth when windows
// are few, unequal and skewed, as divergences are. 4000 runs have a standard
// error of 0.35 points; the linearisation itself loses about a point on skewed
// data at 40 windows.
func TestCoverage(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 5))
	const runs, n = 4000, 40
	hit := map[string]int{}
	falseClaims := 0
	for range runs {
		tok, a, b, same := make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n)
		for i := range n {
			tok[i] = float64(150 + rng.IntN(100))
			hard := 0.05 * math.Exp(0.5*rng.NormFloat64()-0.125) // mean 0.05
			a[i] = tok[i] * hard * 1.2 * math.Exp(0.3*rng.NormFloat64()-0.045)
			b[i] = tok[i] * hard * math.Exp(0.3*rng.NormFloat64()-0.045)
			same[i] = tok[i] * hard * math.Exp(0.3*rng.NormFloat64()-0.045)
		}
		count := func(name string, e Estimate, err error, truth float64) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Low <= truth && truth <= e.High {
				hit[name]++
			}
		}
		e, err := Mean(a, tok)
		count("mean", e, err, 0.06)
		e, err = Difference(a, b, tok)
		count("difference", e, err, 0.01)
		e, err = LogContrast(Term{1, a}, Term{-1, b})
		count("log ratio", e, err, math.Log(1.2))
		e, err = Difference(b, same, tok)
		if err != nil {
			t.Fatal(err)
		}
		if e.Clear() {
			falseClaims++
		}
	}
	for _, name := range []string{"mean", "difference", "log ratio"} {
		if c := float64(hit[name]) / runs; !(c > 0.92 && c < 0.97) {
			t.Errorf("%s: the 95 %% interval holds the truth in %.3f of the runs", name, c)
		} else {
			t.Logf("%s: %.3f", name, c)
		}
	}
	if f := float64(falseClaims) / runs; !(f > 0.03 && f < 0.07) {
		t.Errorf("equal rows are told apart in %.3f of the runs, want 0.05", f)
	}
}

// TestPairing shows why rows are compared in pairs: the difficulty of the text
// drops out.
func TestPairing(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	n := 50
	tok, a, b := make([]float64, n), make([]float64, n), make([]float64, n)
	for i := range n {
		tok[i] = 255
		hard := 3.8 + 0.4*rng.NormFloat64()
		a[i], b[i] = 255*(hard+0.01+0.005*rng.NormFloat64()), 255*hard
	}
	d, err := Difference(a, b, tok)
	if err != nil {
		t.Fatal(err)
	}
	single, err := Mean(a, tok)
	if err != nil {
		t.Fatal(err)
	}
	if !(single.SE > 20*d.SE) || !d.Clear() {
		t.Errorf("standard error %v in pairs and %v alone: a difference of 0.01 must be clear", d.SE, single.SE)
	}
}

func TestHolm(t *testing.T) {
	// by hand: sorted 0.01·4, 0.02·3, 0.03·2, 0.04·1 with running maxima
	got := Holm([]float64{0.04, 0.01, 0.03, 0.02})
	for i, want := range []float64{0.06, 0.04, 0.06, 0.06} {
		if !(math.Abs(got[i]-want) < 1e-15) {
			t.Errorf("%d: %v, want %v", i, got[i], want)
		}
	}
	if got := Holm([]float64{0.6, 0.7}); got[0] != 1 || got[1] != 1 {
		t.Errorf("adjusted p-values %v exceed 1 or are too small", got)
	}
	if got := Holm(nil); len(got) != 0 {
		t.Errorf("no tests give %v", got)
	}
}

func TestWindowsRefused(t *testing.T) {
	nan := math.NaN()
	for name, f := range map[string]func() error{
		"none":     func() error { _, err := Mean(nil, nil); return err },
		"lengths":  func() error { _, err := Mean([]float64{1, 2}, []float64{1}); return err },
		"zero":     func() error { _, err := Mean([]float64{1, 2}, []float64{1, 0}); return err },
		"NaN":      func() error { _, err := Mean([]float64{1, nan}, []float64{1, 1}); return err },
		"NaN t":    func() error { _, err := Mean([]float64{1, 1}, []float64{1, nan}); return err },
		"pairs":    func() error { _, err := Difference([]float64{1}, []float64{1, 2}, []float64{1}); return err },
		"contrast": func() error { _, err := LogContrast(Term{1, []float64{1}}, Term{-1, []float64{1, 2}}); return err },
		"no terms": func() error { _, err := LogContrast(); return err },
	} {
		if err := f(); !errors.Is(err, errWindows) {
			t.Errorf("%s: %v, want %v", name, err, errWindows)
		}
	}
	if _, err := LogContrast(Term{1, []float64{0, 0}}); err == nil {
		t.Error("the logarithm of zero passed")
	}
	e, err := Mean([]float64{3}, []float64{2})
	if err != nil || e.Value != 1.5 || e.Interval() || e.Clear() {
		t.Errorf("one window gives %+v, %v: want 1.5 without an interval", e, err)
	}
	if e, _ := Difference([]float64{1, 2}, []float64{1, 2}, []float64{1, 1}); e.Value != 0 || e.P != 1 {
		t.Errorf("a row differs from itself: %+v", e)
	}
}
