package stats

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"gonum.org/v1/gonum/stat/distuv"
)

func Average(v []float64) float64 { return sum(v) / float64(len(v)) }

// Quantile interpolates linearly between sorted values.
func Quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := min(int(at), len(sorted)-2)
	if i < 0 {
		return sorted[0]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

func WithInterval(e Estimate, f func(float64) string) string {
	if !e.Interval() {
		return f(e.Value)
	}
	return f(e.Value) + " " + Interval(e, f)
}

// Interval writes [low, high] with f.
func Interval(e Estimate, f func(float64) string) string {
	if !e.Interval() {
		return ""
	}
	return "[" + f(e.Low) + ", " + f(e.High) + "]"
}

// Level is the confidence level of every interval, and 1-Level the threshold
// of every claim.
const Level = 0.95

// Estimate is a value with its uncertainty over N windows. Where Interval
// reports false (fewer than two windows) only Value means anything.
type Estimate struct {
	Value     float64
	SE        float64 // standard error, clustered by window
	Low, High float64 // Level confidence interval, Student's t with N-1 degrees of freedom
	P         float64 // two-sided p-value of "the true value is zero"
	Lag1      float64 // autocorrelation of neighbouring windows' contributions
	N         int     // windows
}

// Interval reports whether e has a standard error and an interval.
func (e Estimate) Interval() bool { return e.N >= 2 }

// Clear reports whether the interval excludes zero.
func (e Estimate) Clear() bool { return e.Interval() && e.P < 1-Level }

// Exp maps an estimate of a logarithm to the ratio it is the logarithm of. P
// stays that of "the ratio is one", and SE follows by the delta method.
func (e Estimate) Exp() Estimate {
	r := e
	r.Value, r.Low, r.High = math.Exp(e.Value), math.Exp(e.Low), math.Exp(e.High)
	r.SE = r.Value * e.SE
	return r
}

// errWindows is wrapped by every refusal to pair rows.
var errWindows = errors.New("windows do not match")

// Mean is the ratio estimator Σx/Σt: x_i is a sum over the t_i > 0 scored
// tokens of window i. It refuses no windows, unequal lengths, t_i <= 0 and
// values that are not finite.
func Mean(x, t []float64) (Estimate, error) {
	if err := checkWindows(t, x); err != nil {
		return Estimate{}, err
	}
	n, sx, st := float64(len(t)), sum(x), sum(t)
	r := sx / st
	e := make([]float64, len(t))
	for i := range e {
		e[i] = (x[i] - r*t[i]) * n / st
	}
	return linearised(r, e), nil
}

// Difference is the paired difference Σa/Σt - Σb/Σt of two rows over the same
// windows. It refuses what Mean refuses.
func Difference(a, b, t []float64) (Estimate, error) {
	if err := checkWindows(t, a, b); err != nil {
		return Estimate{}, err
	}
	d := make([]float64, len(t))
	for i := range d {
		d[i] = a[i] - b[i]
	}
	return Mean(d, t)
}

// Term is one term w·log Σ_i x_i of a LogContrast.
type Term struct {
	Weight float64
	X      []float64
}

// LogContrast estimates Σ_j w_j·log(Σ_i x_ji) over common windows i, each
// contribution e_i = Σ_j w_j·x_ji/x̄_j. With weights +1 and -1 it is the
// logarithm of a paired ratio (tokens cancel); with +1, -(1-u), -u it compares
// a row with a point interpolated between two others on a logarithmic scale.
// Sums must be positive: the logarithm of a zero divergence does not exist.
func LogContrast(terms ...Term) (Estimate, error) {
	if len(terms) == 0 {
		return Estimate{}, fmt.Errorf("%w: no terms", errWindows)
	}
	n := len(terms[0].X)
	e := make([]float64, n)
	value := 0.0
	for _, t := range terms {
		if len(t.X) != n || n == 0 {
			return Estimate{}, fmt.Errorf("%w: %d and %d of them", errWindows, n, len(t.X))
		}
		s := sum(t.X)
		if !(s > 0) || math.IsInf(s, 0) {
			return Estimate{}, fmt.Errorf("the logarithm of a sum of %v does not exist", s)
		}
		value += t.Weight * math.Log(s)
		for i, x := range t.X {
			e[i] += t.Weight * x * float64(n) / s
		}
	}
	return linearised(value, e), nil
}

// plus is the estimate of a number larger by d, which has no error.
func (e Estimate) plus(d float64) Estimate {
	e.Value, e.Low, e.High = e.Value+d, e.Low+d, e.High+d
	if e.N > 1 {
		e.P = pOf(e.Value, e.SE, e.N)
	}
	return e
}

// linearised returns the estimate with the given value whose windows
// contributed e: value's sampling error behaves like that of the mean of e.
func linearised(value float64, e []float64) Estimate {
	n := len(e)
	est := Estimate{Value: value, Low: value, High: value, P: 1, N: n}
	if n < 2 {
		return est
	}
	mean := sum(e) / float64(n)
	var ss, lag float64
	for i, v := range e {
		ss += (v - mean) * (v - mean)
		if i > 0 {
			lag += (v - mean) * (e[i-1] - mean)
		}
	}
	est.SE = math.Sqrt(ss / (float64(n) * float64(n-1)))
	if ss > 0 {
		est.Lag1 = lag / ss
	}
	half := quantile(n-1) * est.SE
	est.Low, est.High = value-half, value+half
	est.P = pOf(value, est.SE, n)
	return est
}

// pOf is the two-sided p-value of "zero" for an estimate over n >= 2 windows.
func pOf(value, se float64, n int) float64 {
	switch {
	case value == 0:
		return 1
	case se == 0: // every window agrees exactly
		return 0
	}
	t := distuv.StudentsT{Mu: 0, Sigma: 1, Nu: float64(n - 1)}
	return min(1, 2*t.CDF(-math.Abs(value)/se))
}

// quantiles holds the quantile of Student's t by degrees of freedom. Finding
// one is a search that would be most of the time of a report of many rows.
var quantiles sync.Map

func quantile(degrees int) float64 {
	if q, ok := quantiles.Load(degrees); ok {
		return q.(float64)
	}
	q := distuv.StudentsT{Mu: 0, Sigma: 1, Nu: float64(degrees)}.Quantile((1 + Level) / 2)
	quantiles.Store(degrees, q)
	return q
}

// checkWindows reports series that cannot be paired with the tokens t.
func checkWindows(t []float64, series ...[]float64) error {
	if len(t) == 0 {
		return fmt.Errorf("%w: there are none", errWindows)
	}
	for i, v := range t {
		if !(v > 0) || math.IsInf(v, 0) {
			return fmt.Errorf("%w: window %d has %v scored tokens", errWindows, i, v)
		}
	}
	for _, x := range series {
		if len(x) != len(t) {
			return fmt.Errorf("%w: %d values for %d windows", errWindows, len(x), len(t))
		}
		for i, v := range x {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return fmt.Errorf("%w: window %d holds %v", errWindows, i, v)
			}
		}
	}
	return nil
}

// Holm returns the p-values of one family of tests adjusted so that the chance
// of any false claim among those below a threshold stays under it (Holm 1979,
// step-down). The order of p is kept.
func Holm(p []float64) []float64 {
	order := make([]int, len(p))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case p[a] < p[b]:
			return -1
		case p[a] > p[b]:
			return 1
		}
		return 0
	})
	out := make([]float64, len(p))
	running := 0.0
	for k, i := range order {
		running = max(running, min(1, float64(len(p)-k)*p[i]))
		out[i] = running
	}
	return out
}

func sum(x []float64) float64 {
	s := 0.0
	for _, v := range x {
		s += v
	}
	return s
}
