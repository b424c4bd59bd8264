package trial

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/cudallm"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/quant"
)

// Generation asks for the text that a model continues a prompt with, and for how fast it
// does. Every token is the most likely one.
type Generation struct {
	Model          string
	Activations    string // as of Evaluation
	Engine         string // one of Engines; "" is the CPU
	Prompt         string
	Tokens         int   // to generate
	Batches        []int // how many copies of the prompt are continued together; each is timed
	Repeats        int   // how often each batch is timed, after a run that is not
	BOS            bool
	BOSAsTokenizer bool // as of Evaluation
}

// Generated is the outcome of a Generation.
type Generated struct {
	Generation Generation // with defaults resolved
	// Text continues the prompt, up to a token that ends texts. It is that of the first
	// sequence of the first batch; others may differ where two tokens are nearly as likely,
	// because more tokens at a time are rounded in another order.
	Text         string
	PromptTokens int   // tokens of the prompt, BOS included
	WeightBytes  int64 // that the linear layers read for one token
	Execution    string
	Packed       *Packed // what a packed checkpoint says of itself; nil for others
	Speeds       []Speed
}

// Speed is how long a batch took.
type Speed struct {
	Batch int
	// Prefill are the seconds from the prompts to their first tokens, Decode those from
	// there to the last ones, of each repeat.
	Prefill, Decode []float64
}

// Generate runs a model on the kernels of package zipper: a packed checkpoint with the
// codes that it stores, layers in 16 bits as bfloat16, and the output layer as well, unless it
// is quantized; or on a GPU, with activations and the cache in 16 bits. A layer without a kernel is an
// error.
func (l *Lab) Generate(ctx context.Context, g Generation) (out *Generated, err error) {
	if err := checkEngine(g.Engine); err != nil {
		return nil, err
	}
	files, err := l.OpenModel(ctx, g.Model)
	if err != nil {
		return nil, err
	}
	model, err := llm.Open(files)
	if err != nil {
		return nil, err
	}
	defer model.Close()
	out = &Generated{}
	if out.Packed, err = readPacked(files, model); err != nil {
		return nil, err
	}
	t := settingsOf(out.Packed, &g.Activations)
	s := l.newSource(g.Model, model)
	if err := s.readTokenizer(files, g.BOS, g.BOSAsTokenizer); err != nil {
		return nil, err
	}
	g.BOS = s.bos >= 0
	out.Generation = g
	prompt, err := s.encode(g.Prompt)
	if err != nil {
		return nil, fmt.Errorf("prompt: %w", err)
	}
	if s.bos >= 0 {
		prompt = append([]int32{s.bos}, prompt...)
	}
	if out.PromptTokens = len(prompt); len(prompt) == 0 {
		return nil, errors.New("prompt: is empty, and the model begins texts with no token of its own")
	}
	if limit := model.Config().MaxPositions; len(prompt)+g.Tokens > limit {
		return nil, fmt.Errorf("prompt of %d tokens and %d more: model %s has %d positions",
			len(prompt), g.Tokens, g.Model, limit)
	}
	goOn, err := out.prepare(model, t)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, goOn.close()) }()
	for i, batch := range g.Batches {
		speed := Speed{Batch: batch}
		for repeat := range g.Repeats + 1 {
			ids, prefill, decode, err := goOn.greedy(ctx, prompt, g.Tokens, batch)
			if err != nil {
				return nil, err
			}
			if repeat > 0 {
				speed.Prefill, speed.Decode = append(speed.Prefill, prefill), append(speed.Decode, decode)
			}
			if i == 0 {
				if end := slices.IndexFunc(ids, func(id int32) bool { return slices.Contains(model.Config().EOS, id) }); end >= 0 {
					ids = ids[:end]
				}
				out.Text = s.tokenizer.Decode(slices.Concat(prompt, ids))
				out.Text = out.Text[len(s.tokenizer.Decode(prompt)):]
			}
		}
		out.Speeds = append(out.Speeds, speed)
	}
	return out, nil
}

// continuer continues copies of a prompt, and returns the tokens of the first copy and the
// seconds up to the first token and from there to the last.
type continuer struct {
	greedy func(ctx context.Context, prompt []int32, tokens, copies int) (ids []int32, prefill, decode float64, err error)
	close  func() error
}

// prepare lays the weights of model out for the engine that was asked for, and says in out what runs.
func (out *Generated) prepare(model *llm.Model, t plan.Trial) (*continuer, error) {
	if out.Generation.Engine == "cuda" {
		return out.prepareGPU(model, t)
	}
	view, bytes, err := onKernels(model, t, true)
	if err != nil {
		return nil, err
	}
	if _, quantized := model.Output().(*quant.Quantized); !quantized {
		head, err := Pack16(model.Output())
		if err != nil {
			return nil, err
		}
		view = view.WithOutput(head)
	}
	out.WeightBytes = bytes
	_, kernel := Kernel()
	out.Execution = fmt.Sprintf("kernel %s, %d threads", kernel, runtime.GOMAXPROCS(0))
	return &continuer{func(ctx context.Context, prompt []int32, tokens, copies int) ([]int32, float64, float64, error) {
		return Greedy(ctx, view, prompt, tokens, copies)
	}, func() error { return nil }}, nil
}

func (out *Generated) prepareGPU(model *llm.Model, t plan.Trial) (*continuer, error) {
	act, err := activations(t)
	if err != nil {
		return nil, err
	}
	g, err := cudallm.Open(rounding(model, act), cudallm.Options{Packed: true, Fast: true})
	if err != nil {
		return nil, err
	}
	out.WeightBytes, out.Execution = g.WeightBytes(), describeGPU(g)
	return &continuer{func(ctx context.Context, prompt []int32, tokens, copies int) ([]int32, float64, float64, error) {
		made, err := g.Generate(ctx, slices.Repeat([][]int32{prompt}, copies), tokens)
		if err != nil {
			return nil, 0, 0, err
		}
		return made.Tokens[0], made.Prefill, made.Decode, nil
	}, g.Close}, nil
}

// Greedy continues copies of a prompt, and returns the tokens of the first copy and the
// seconds up to the first token and from there to the last.
func Greedy(ctx context.Context, m *llm.Model, prompt []int32, tokens, copies int) (ids []int32,
	prefill, decode float64, err error) {
	caches, in := make([]*llm.Cache, copies), make([][]int32, copies)
	for i := range caches {
		caches[i], in[i] = m.NewCache(len(prompt)+tokens), prompt
	}
	last, logits := gemm.NewMatrix(copies, m.Config().HiddenSize), gemm.NewMatrix(copies, m.Config().VocabSize)
	next := func() error {
		hidden, err := m.DecodeEach(ctx, caches, in)
		if err != nil {
			return err
		}
		each := hidden.Rows / copies
		for i := range copies {
			copy(last.Row(i), hidden.Row((i+1)*each-1))
		}
		if err := m.Logits(logits, last); err != nil {
			return err
		}
		for i := range copies {
			best, row := 0, logits.Row(i)
			for j, v := range row {
				if v > row[best] {
					best = j
				}
			}
			in[i] = []int32{int32(best)}
		}
		ids = append(ids, in[0][0])
		return nil
	}
	runtime.GC()
	start := time.Now()
	if err := next(); err != nil {
		return nil, 0, 0, err
	}
	first := time.Now()
	for range tokens - 1 {
		if err := next(); err != nil {
			return nil, 0, 0, err
		}
	}
	return ids, first.Sub(start).Seconds(), time.Since(first).Seconds(), nil
}

// settingsOf returns a trial with the settings of inputs that a model runs with, packed being
// what a packed checkpoint says of itself, nil for others. Where activations is empty it becomes those that
// the checkpoint was made for, or a16.
func settingsOf(packed *Packed, activations *string) plan.Trial {
	if *activations == "" {
		*activations = "a16"
		if packed != nil {
			*activations = packed.Trial.Activations
		}
	}
	if packed != nil && packed.Trial.Activations == *activations { // and the other settings of inputs
		return packed.Trial
	}
	return plan.Trial{Activations: *activations}
}

// onKernels returns a view of model whose quantized layers run on the kernels for packed
// weights, inputs rounded as t says, and the bytes that its linear layers read for a token.
// Layers in 16 bits are float32 products with rounded inputs, as in a trial, or, where
// sixteen says so and inputs are not rounded, bfloat16 kernels.
func onKernels(model *llm.Model, t plan.Trial, sixteen bool) (view *llm.Model, bytes int64, err error) {
	act, err := activations(t)
	if err != nil {
		return nil, 0, err
	}
	replacements := map[string]llm.Replacement{}
	for _, l := range model.Linears() {
		var p Product
		q, ok := l.Weights.(*quant.Quantized)
		switch {
		case ok:
			if err = Takes(q.Form(), t, l.N, l.K); err == nil {
				p, err = packAll(q, t.Activations)
			}
		case sixteen && act == quant.A16:
			p, err = Pack16(l.Weights)
		default:
			replacements[l.Name] = llm.Replacement{Act: act}
			bytes += 4 * int64(l.N) * int64(l.K)
			continue
		}
		if err != nil {
			return nil, 0, fmt.Errorf("%s: %w", l.Name, err)
		}
		bytes += p.Bytes()
		replacements[l.Name] = llm.Replacement{Product: p}
	}
	return model.With(replacements), bytes, nil
}
