package bench

import (
	"slices"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/experiments/trial"
)

// Estimator tells beforehand what a Speed takes on the CPU. The zero value is ready.
// Not for concurrent use.
type Estimator struct {
	flush float64         // seconds in which the cache forgets, 0 until it is measured
	seen  map[string]bool // products, as Speed.rows
}

// perPrepared is what it takes to draw, round and lay out a weight in all variants, in
// seconds on one core.
const perPrepared = 15e-9

// Seconds is about what Speed.Measure takes for t at the rate r. Trials whose weights
// have the same form share their times, so only the first of them costs any.
func (e *Estimator) Seconds(t *plan.Trial, r trial.Rate) (float64, error) {
	if t.Speed == nil || trial.Executable(*t) != nil {
		return 0, nil
	}
	products, own, why := t.Products()
	if why != "" {
		return 0, nil
	}
	if e.flush == 0 {
		if err := e.probe(); err != nil {
			return 0, err
		}
	}
	var seconds float64
	for _, group := range byWeights(products) {
		prepared := false
		for i := range group {
			p := &group[i]
			id := identity(p, own, nil)
			if e.seen[id] {
				continue
			}
			if e.seen == nil {
				e.seen = map[string]bool{}
			}
			e.seen[id] = true
			weights, variants := float64(p.N)*float64(p.K), float64(len(p.Variants))
			if !prepared {
				prepared = true
				seconds += weights * perPrepared / r.Cores
			}
			// Each repeat flushes before each variant and samples two yardsticks: a
			// read of as much memory, and a product of 768³.
			repeat := (variants+1)*e.flush + 2*768*768*768/r.FLOPS + variants*2*weights*float64(p.Tokens)/r.FLOPS
			seconds += float64(p.Repeats+1) * repeat
		}
	}
	return seconds, nil
}

// probe measures what a flush takes.
func (e *Estimator) probe() error {
	cpu, err := newCPU()
	if err != nil {
		return err
	}
	defer cpu.Close()
	var times []float64
	for range 5 {
		start := time.Now()
		cpu.Flush()
		times = append(times, time.Since(start).Seconds())
	}
	slices.Sort(times)
	e.flush = times[len(times)/2]
	return nil
}
