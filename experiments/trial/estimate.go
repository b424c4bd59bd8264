package trial

import (
	"context"
	"runtime"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// Estimate is what a trial is expected to take.
type Estimate struct {
	Seconds float64 // alone on this machine
	Memory  int64   // bytes, see Subject.Memory
}

// Speed is this machine's float32 matrix rate in FLOP/s, from a probe of a
// fraction of a second.
func Speed() float64 {
	const n = 768
	x, w, y := gemm.NewMatrix(n, n), gemm.NewMatrix(n, n), gemm.NewMatrix(n, n)
	gemm.MulNT(y, x, w) // warm up
	best := time.Hour
	for range 5 {
		start := time.Now()
		gemm.MulNT(y, x, w)
		best = min(best, time.Since(start))
	}
	return 2 * n * n * n / best.Seconds()
}

// Costs beside matrix products, in seconds on one core, from profiles of the
// default sweep.
const (
	perRoundedWeight = 6e-9   // decode, scale, round and pack a weight
	perScoredBlock   = 20e-9  // a weight's share of scoring residual blocks
	perRefinedWeight = 150e-9 // a weight's step in a round of refinement
	perLogit         = 2.5e-9 // the two exponentials of a logit
	bytesPerToken    = 4      // of English text, for requests of tasks
	choleskyShare    = 0.5    // rate of factoring H over that of Speed
)

// Estimate tells what t will take at speed FLOP/s. It is right within a factor
// of two or so; it counts no calibration, which trials share.
func (s *Subject) Estimate(t plan.Trial, speed float64) Estimate {
	return s.estimate(t, speed, float64(runtime.GOMAXPROCS(0)))
}

// Costs estimates what each of the trials, which share a subject (see
// plan.Groups), takes beside the others, in milliseconds of one imaginary
// machine: every machine gets the same integers. It reads the model's shapes
// and the scored texts, not the weights.
func (l *Lab) Costs(ctx context.Context, trials []plan.Trial) ([]int64, error) {
	s, _, err := l.open(ctx, trials[0])
	if err != nil {
		return nil, err
	}
	defer s.Close()
	const speed, cores = 1e12, 16
	costs := make([]int64, len(trials))
	for i, t := range trials {
		costs[i] = int64(1000*s.estimate(t, speed, cores).Seconds) + 1
	}
	return costs, nil
}

func (s *Subject) estimate(t plan.Trial, speed, cores float64) Estimate {
	m, c, cost := t.Method.Method(), s.source.model.Config(), t.Method.Cost()
	var e Estimate
	var linear float64
	linears := s.source.model.Linears()
	for i, l := range linears {
		n, k := float64(l.N), float64(l.K)
		linear += 2 * n * k
		if !m.Quantizes() {
			continue
		}
		before := e.Seconds
		e.Seconds += n * k * perRoundedWeight / cores
		// tr(EHEᵀ) of the error and of the weights, and of the base.
		e.Seconds += 6 * n * k * k / speed
		e.Seconds += cost.Searches * (n*k*perRoundedWeight/cores + 3*n*k*k/speed)
		if cost.Loop {
			e.Seconds += 2 * n * k * k / speed
			if i == 0 || linears[i-1].Site != l.Site { // layers of a site share it
				e.Seconds += 2 * k * k * k / choleskyShare / speed
			}
		}
		if cost.Scored {
			e.Seconds += n * k * perScoredBlock / cores
		}
		e.Seconds += 2 * cost.Greedy * n * k * k / speed * cores // block after block on one core
		e.Seconds += cost.Again * (e.Seconds - before)
		e.Seconds += cost.Refine * (3*n*k*k/speed + n*k*perRefinedWeight/cores)
	}
	read := 0
	for _, w := range s.evaluator.windows {
		read += len(w.input)
	}
	for _, t := range s.evaluator.tasks {
		for _, item := range t.Items {
			for _, r := range item.Requests {
				read += (len(r.Context) + len(r.Continuation)) / bytesPerToken
			}
		}
	}
	head := 2 * 2 * float64(c.VocabSize) * float64(c.HiddenSize)
	attention := 2 * float64(c.Layers) * float64(s.evaluator.protocol.Context) * float64(c.Heads*c.HeadDim)
	e.Seconds += float64(read) * ((linear+head+attention)/speed + float64(c.VocabSize)*perLogit/cores)
	e.Memory = s.Memory(t)
	return e
}

// EstimateCalibration is the time that calibration and the 16-bit reference
// take, once for all trials of the subject.
func (s *Subject) EstimateCalibration(speed float64) float64 {
	var linear, moments float64
	for _, l := range s.source.model.Linears() {
		linear += 2 * float64(l.N) * float64(l.K)
	}
	seen := map[string]bool{}
	for _, l := range s.source.model.Linears() {
		if !seen[l.Site] {
			seen[l.Site] = true
			moments += float64(l.K) * float64(l.K)
		}
	}
	scored, calibration := s.Tokens()
	return (float64(calibration)*(linear+moments) + float64(scored)*linear) / speed
}
