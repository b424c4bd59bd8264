package bench

import (
	"slices"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/experiments/trial"
)

// perPrepared is what it takes to draw, round and lay out a weight in one form, in
// seconds on one core.
const perPrepared = 40e-9

// EstimateSpeed is about how many seconds Speed.Prepare takes on the CPU for trials, of
// one sweep, at the rate r. It reads memory for some milliseconds to tell.
func EstimateSpeed(trials []plan.Trial, r trial.Rate) (float64, error) {
	order, forms := (&Speed{}).kindsOf(trials)
	if len(order) == 0 {
		return 0, nil
	}
	flush, err := flushSeconds()
	if err != nil {
		return 0, err
	}
	var seconds float64
	for i := range order {
		var runs []*form // those with a kernel
		for _, f := range forms[i] {
			if f.trial == nil || trial.Executable(*f.trial) == nil {
				runs = append(runs, f)
			}
		}
		n := float64(len(runs))
		for _, group := range byWeights(order[i].Timed()) {
			weights := float64(group[0].N) * float64(group[0].K)
			seconds += n * weights * perPrepared / r.Cores
			for _, p := range group {
				// A repeat flushes before each form and samples two yardsticks: a read of as
				// much memory, and a product of 768³.
				repeat := (n+1)*flush + (2*768*768*768+n*2*weights*float64(p.Tokens))/r.FLOPS
				seconds += float64(p.Repeats) * repeat
			}
		}
	}
	return seconds, nil
}

// flushSeconds measures what it takes to make the CPU's cache forget.
func flushSeconds() (float64, error) {
	cpu, err := newCPU()
	if err != nil {
		return 0, err
	}
	defer cpu.Close()
	var times []float64
	for range 5 {
		start := time.Now()
		cpu.Flush()
		times = append(times, time.Since(start).Seconds())
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}
