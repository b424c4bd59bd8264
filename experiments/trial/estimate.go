package trial

import (
	"context"
	"math"
	"runtime"
	"slices"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/method"
	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/internal/tasks"
)

// Estimate is what a trial is expected to take.
type Estimate struct {
	Seconds float64            // alone on this machine
	Stages  map[string]float64 // seconds of Budgeting, Quantizing, Evaluating and Answering
	Memory  int64              // bytes, see Subject.Memory
}

// Rate is what this machine can do at present, with whatever else it does.
type Rate struct {
	FLOPS float64 // of float32 matrix products, a second
	// Cores is how many cores of the machine that the costs below were measured on
	// would do its scalar work.
	Cores float64
}

// probes is how often each part of a Rate is measured; the median counts, since the
// best is what a busy machine seldom gives.
const probes = 9

// Probe measures the machine for a fraction of a second.
func Probe() Rate {
	const n = 768
	x, w, y := gemm.NewMatrix(n, n), gemm.NewMatrix(n, n), gemm.NewMatrix(n, n)
	product := median(func() { gemm.MulNT(y, x, w) })
	workers := runtime.GOMAXPROCS(0)
	rounded := median(func() { parallel.Each(workers, func(int) { roundSome() }) })
	return Rate{2 * n * n * n / product, float64(workers) * probed * perRounding / rounded}
}

// median returns the median seconds that f takes, after a run to warm up.
func median(f func()) float64 {
	f()
	var times []float64
	for range probes {
		start := time.Now()
		f()
		times = append(times, time.Since(start).Seconds())
	}
	slices.Sort(times)
	return times[len(times)/2]
}

const (
	probed      = 1 << 19 // weights that roundSome rounds
	perRounding = 2.25e-9 // seconds on the machine of the costs below
)

// roundSome rounds weights to 16 levels, as fitting a scale does.
func roundSome() (loss float64) {
	for i := range probed {
		w := float64(i%1021)/1021 - 0.5
		u := min(max(math.RoundToEven(w/0.07)+8, 0), 15)
		d := w - (u-8)*0.07
		loss += d * d
	}
	return loss
}

// Costs beside matrix products, in seconds on one core, from profiles of layers of
// the builtin models and of SmolLM2-135M.
const (
	perRoundedWeight = 15e-9  // decode, scale, round and pack a weight
	perTry           = 3.3e-9 // round a weight and add its loss up
	perLoopWeight    = 45e-9  // GPTQ's column loop
	perFactored      = 40e-9  // an element of H [K,K], beside the products of its factor
	perScoredBlock   = 20e-9  // a weight's share of scoring residual blocks
	perRefinedWeight = 75e-9  // a weight's step in a round of refinement
	perDecoded       = 4e-9   // a quantized weight, for each batch of tokens
	perActivation    = 1e-9   // an element between products: norms, gates, sums
	perRoundedInput  = 1.3e-9 // an element of what linear layers read
	perLogit         = 2.5e-9 // the two exponentials of a logit
	learnPasses      = 2.3    // forward and backward over forward
	bytesPerToken    = 4      // of English text, for requests of tasks
	choleskyShare    = 0.5    // rate of factoring H over that of Speed
)

// Estimate tells what t will take at the given rate. It is right within a factor
// of two; it counts no calibration, which trials share, and no times of layers (see
// Trial.Speed), which trials of one form share.
func (s *Subject) Estimate(t plan.Trial, r Rate) Estimate { return s.estimate(t, r.FLOPS, r.Cores) }

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
	m := t.Method
	e := Estimate{Memory: s.Memory(t), Stages: map[string]float64{}}
	if m.Method().Quantizes() {
		linears := s.source.model.Linears()
		for i, l := range linears {
			first := i == 0 || linears[i-1].Site != l.Site
			cost := m.At(l.Name, s.source.model.Config().Layers).Cost()
			whole := layerSeconds(cost, float64(l.N), float64(l.K), first, speed, cores)
			cost.Again = 0
			once := layerSeconds(cost, float64(l.N), float64(l.K), first, speed, cores)
			e.Stages[Budgeting] += whole - once
			e.Stages[Quantizing] += once
			// The error and the energy of sampled inputs.
			e.Stages[Quantizing] += 4 * evaluatedTokens * float64(l.N) * float64(l.K) / speed
			if m.Smooths() {
				// its output energy, computed again
				e.Stages[Quantizing] += 2 * float64(l.N) * float64(l.K) * float64(l.K) / speed
			}
			if m.Word("smoothing_search") != "" {
				e.Stages[Quantizing] += searchTries * float64(l.N) * float64(l.K) *
					(perRoundedWeight/cores + 2*searchRows/speed)
			}
		}
	}
	e.Stages[Evaluating], e.Stages[Answering] = s.evaluationSeconds(t, speed, cores)
	e.Seconds = e.Stages[Budgeting] + e.Stages[Quantizing] + e.Stages[Evaluating] + e.Stages[Answering]
	return e
}

// layerSeconds is what a method of the given cost takes for a layer [N,K], which may
// be the first of its site, whose layers share the factor of H.
func layerSeconds(cost method.Cost, n, k float64, first bool, speed, cores float64) float64 {
	weights, product := n*k/cores, 2*n*k*k/speed
	seconds := weights*perRoundedWeight + product // tr(EHEᵀ)
	seconds += cost.Searches * (weights*perRoundedWeight + product)
	seconds += (weights*cost.Tries + cost.Sampled/cores) * perTry
	seconds += cost.Encode * weights
	if cost.Loop {
		seconds += weights*perLoopWeight + product/2
		if first {
			seconds += k*k*perFactored/cores + 2*k*k*k/choleskyShare/speed
		}
	}
	if cost.Scored {
		seconds += weights*perScoredBlock + product // the error of the base alone
	}
	seconds += cost.Greedy * product * cores // block after block on one core
	seconds += cost.Again * seconds
	return seconds + cost.Refine*(weights*perRefinedWeight+1.5*product)
}

// evaluationSeconds is what scoring the text and the tasks of t takes.
func (s *Subject) evaluationSeconds(t plan.Trial, speed, cores float64) (text, tasks float64) {
	c := s.source.model.Config()
	scored, read, batches := 0, 0, 0
	for first := 0; first < len(s.evaluator.windows); batches++ {
		last, seqs := batch(s.evaluator.windows, first)
		for _, seq := range seqs {
			scored += len(seq)
		}
		first = last
	}
	answered := 0
	for _, t := range s.evaluator.tasks {
		for _, item := range t.Items {
			r, a := itemBytes(item)
			read, answered = read+r/bytesPerToken, answered+a/bytesPerToken
		}
	}
	var weights, inputs float64 // of the linear layers; what they read of a token
	for i, l := range s.source.linears {
		weights += float64(l.N) * float64(l.K)
		if i == 0 || s.source.linears[i-1].Site != l.Site {
			inputs += float64(l.K)
		}
	}
	token := s.tokenSeconds(speed, cores)
	if t.Activations != "a16" {
		token += inputs * perRoundedInput / cores
	}
	vocab := float64(c.VocabSize)
	head := 2*vocab*float64(c.HiddenSize)/speed + vocab*perLogit/cores // of one model
	decoded := 0.0                                                     // all weights, for a batch
	if t.Method.Method().Quantizes() {
		decoded = weights * perDecoded / cores
	}
	text = float64(scored)*(token+2*head) + float64(batches)*decoded
	return text, float64(read)*token + float64(answered)*head + float64(read/batchTokens)*decoded
}

// itemBytes is how many bytes of an item the model reads, what its requests begin with
// once, and how many it is scored on.
func itemBytes(item tasks.Item) (read, scored int) {
	for i, r := range item.Requests {
		text := r.Context + r.Continuation
		read, scored = read+len(text), scored+len(r.Continuation)
		if i == 0 {
			continue
		}
		first := item.Requests[0].Context + item.Requests[0].Continuation
		for n := 0; n < min(len(first), len(text)) && first[n] == text[n]; n++ {
			read--
		}
	}
	return read, scored
}

// Shared is what trials of a subject take once for all, in seconds, where the cache has
// nothing of it.
type Shared struct{ Learning, Calibrating float64 }

// EstimateAll estimates the trials of a subject, and what they share, as Costs does:
// without a look at the weights.
func (l *Lab) EstimateAll(ctx context.Context, trials []plan.Trial,
	r Rate) (shared Shared, list []Estimate, err error) {
	s, _, err := l.open(ctx, trials[0])
	if err != nil {
		return shared, nil, err
	}
	defer s.Close()
	for _, t := range trials {
		list = append(list, s.Estimate(t, r))
	}
	return Shared{s.EstimateLearning(trials[0], r), s.EstimateCalibration(r)}, list, nil
}

// EstimateLearning is the time that the change of basis of t takes where it is learned
// through the loss of the model, once for all trials of the subject.
func (s *Subject) EstimateLearning(t plan.Trial, r Rate) float64 {
	if t.Transform != "spinquant" {
		return 0
	}
	c := s.source.model.Config()
	tokens := min(spinTokens, s.calibrated.settings.Tokens)
	token := s.tokenSeconds(r.FLOPS, r.Cores)
	head := 2*float64(c.VocabSize)*float64(c.HiddenSize)/r.FLOPS + float64(c.VocabSize)*perLogit/r.Cores
	// Two matrices [D,D] forward and one backward at each norm.
	turns := float64(c.Layers) * 2 * 3 * 2 * float64(c.HiddenSize) * float64(c.HiddenSize) / r.FLOPS
	return float64(t.TransformSteps*tokens) * (learnPasses*token + 2*head + turns)
}

// EstimateCalibration is the time that calibration and the 16-bit reference
// take, once for all trials of the subject, where the cache has neither.
func (s *Subject) EstimateCalibration(r Rate) float64 {
	var moments float64
	for i, l := range s.source.linears {
		if i == 0 || s.source.linears[i-1].Site != l.Site {
			moments += float64(l.K) * float64(l.K)
		}
	}
	tokens := s.calibrated.settings.Tokens
	token := s.tokenSeconds(r.FLOPS, r.Cores)
	return float64(tokens)*(token+moments/r.FLOPS) + float64(s.evaluator.tokens())*token
}

// tokenSeconds is what a token takes in the decoder layers of the 16-bit model.
func (s *Subject) tokenSeconds(speed, cores float64) float64 {
	c := s.source.model.Config()
	var linear float64
	for _, l := range s.source.linears {
		linear += float64(l.N) * float64(l.K)
	}
	heads, layers := float64(c.Heads*c.HeadDim), float64(c.Layers)
	attention := 2 * layers * float64(s.evaluator.protocol.Context) * heads
	elements := layers * (4*float64(c.HiddenSize) + 3*float64(c.MLPSize) + 3*heads)
	return (2*linear+attention)/speed + elements*perActivation/cores
}
