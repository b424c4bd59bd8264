package bench

import (
	"math/rand/v2"
	"slices"
)

// resamples of a bootstrap: the ends of a 95 % interval then rest on 50 each.
const resamples = 2000

// Estimate is a median with its interval.
type Estimate struct{ Value, Low, High float64 }

// median returns the middle of v, or the mean of the two middle ones.
func median(v []float64) float64 {
	s := slices.Clone(v)
	slices.Sort(s)
	n := len(s)
	if n%2 == 1 {
		return s[n/2]
	}
	return (s[n/2-1] + s[n/2]) / 2
}

// Bootstrap returns the median of v with its 95 % percentile interval over
// resamples of v (Efron and Tibshirani 1993, section 13.3). The same v gives the
// same interval. Repeats that depend on each other, as neighbours in time do
// where a machine is busy in phases, make it too narrow.
func Bootstrap(v []float64) Estimate {
	rng := rand.New(rand.NewPCG(1, uint64(len(v))))
	medians, draw := make([]float64, resamples), make([]float64, len(v))
	for i := range medians {
		for j := range draw {
			draw[j] = v[rng.IntN(len(v))]
		}
		medians[i] = median(draw)
	}
	slices.Sort(medians)
	const tail = resamples / 40
	return Estimate{median(v), medians[tail], medians[resamples-1-tail]}
}

// Quotients returns a[i]/b[i].
func Quotients(a, b []float64) []float64 {
	q := make([]float64, len(a))
	for i := range a {
		q[i] = a[i] / b[i]
	}
	return q
}

// per returns c/v[i].
func per(c float64, v []float64) []float64 {
	q := make([]float64, len(v))
	for i := range v {
		q[i] = c / v[i]
	}
	return q
}
