package trial

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/store"
	"github.com/mosaicquant/mosaicquant/internal/tasks"
)

// evaluator compares models with the 16-bit model of its source: on the windows of a
// text and on tasks. It knows nothing of how a model was quantized. Its methods may
// be called concurrently.
type evaluator struct {
	source   *source
	protocol plan.Protocol
	engine   string // of the trials; "" is the CPU

	text         string // SHA-256
	windows      []window
	words, bytes int // of the scored text
	tasks        []*tasks.Task
	limits       tasks.Options // of requests, but for the BOS token
}

// cutText reads the text of the protocol and cuts it into windows.
func (e *evaluator) cutText() error {
	s, p := e.source, e.protocol
	text, sha, err := readText(p.Text)
	if err != nil {
		return fmt.Errorf("protocol.text: %w", err)
	}
	e.text = sha
	tokens, err := s.encode(text)
	if err != nil {
		return fmt.Errorf("%w (text %s)", err, p.Text)
	}
	if e.windows, err = cut(tokens, p.Context, p.Stride, s.bos, p.Tokens); err != nil {
		return fmt.Errorf("%w (text %s)", err, p.Text)
	}
	if limit := s.model.Config().MaxPositions; p.Context > limit {
		s.warn("protocol.context %d is beyond the %d positions the model was trained for", p.Context, limit)
	}
	e.words, e.bytes = extent(e.windows, s.tokenizer.Decode)
	return nil
}

// openTasks reads the tasks and the first limit items of each (0 = all).
func (e *evaluator) openTasks(refs []string, limit int) error {
	for _, ref := range refs {
		t, err := tasks.Open(ref)
		if err != nil {
			return err
		}
		t.Limit(limit)
		e.tasks = append(e.tasks, t)
	}
	return nil
}

// tokens is the number of scored tokens.
func (e *evaluator) tokens() int {
	n := 0
	for _, w := range e.windows {
		n += w.scored()
	}
	return n
}

// evaluation is what evaluating a model gave.
type evaluation struct {
	scores  *scores
	answers []*tasks.Result
	spared  float64 // seconds that scores of an earlier run took
}

// evaluate scores the model m of the trial of that ID on windows and tasks. Scores
// that an earlier run of the trial left in the store are not computed again.
func (e *evaluator) evaluate(ctx context.Context, m *llm.Model, id string) (_ *evaluation, err error) {
	out, full := &evaluation{}, &fullModel{e: e}
	defer func() { err = errors.Join(err, full.close()) }()
	ref := &reference{e.source.model, func(first, last int, seqs [][]int32) (gemm.Matrix, error) {
		return e.reference(ctx, full, first, last, seqs)
	}}
	if out.scores, err = score(ctx, m, e.windows, ref, e.keptScores(id, &out.spared)); err != nil {
		return nil, err
	}
	for i, t := range e.tasks {
		a, err := e.answer(ctx, m, t)
		if err != nil {
			return nil, err
		}
		out.answers = append(out.answers, a)
		step(ctx, Answering, i+1, len(e.tasks))
	}
	return out, nil
}

// answer scores m on the task t.
func (e *evaluator) answer(ctx context.Context, m *llm.Model, t *tasks.Task) (*tasks.Result, error) {
	o := e.limits
	o.BOS = e.source.bos
	return t.Score(ctx, m, e.source.tokenizer, o)
}

// prepare computes the reference of all windows.
func (e *evaluator) prepare(ctx context.Context) (err error) {
	full := &fullModel{e: e}
	defer func() { err = errors.Join(err, full.close()) }()
	for first := 0; first < len(e.windows); {
		last, seqs := batch(e.windows, first)
		if _, err := e.reference(ctx, full, first, last, seqs); err != nil {
			return err
		}
		first = last
	}
	return nil
}

// reference returns the final hidden states of the 16-bit model, without prefix, for the
// windows first..last-1, computed once by full and kept in the store.
func (e *evaluator) reference(ctx context.Context, full *fullModel, first, last int,
	seqs [][]int32) (gemm.Matrix, error) {
	s, p := e.source, e.protocol
	// The kernel is part of the key: another one rounds differently, and an
	// unchanged model would show a divergence.
	parts := []string{s.content["model"], s.content["config.json"], s.content["tokenizer.json"], e.text,
		fmt.Sprint(p.Context, p.Stride, s.bos >= 0, p.Tokens), gemm.Kernel(), fmt.Sprint(first, last, batchTokens)}
	parts = append(parts, s.withoutPrefix()...) // the same function, but rounded otherwise
	if e.engine != "" {
		parts = append(parts, e.engine)
	}
	rows := 0
	for _, seq := range seqs {
		rows += len(seq)
	}
	codec := matrixOf(rows, s.model.Config().HiddenSize)
	key := store.NewKey("reference", 1, parts...)
	return store.Do(ctx, s.lab.Store, key, codec, func(ctx context.Context) (gemm.Matrix, error) {
		defer s.release() // the trials that follow have weights of their own
		return full.hidden(ctx, seqs)
	})
}

// report writes the evaluation into r.
func (e *evaluator) report(out *evaluation, r *row.Row) {
	e.reportScores(out.scores, r)
	reportTasks(out.answers, r)
}

// reportScores writes the scores into r: totals, and sums per window for
// paired comparisons.
func (e *evaluator) reportScores(sc *scores, r *row.Row) {
	e.reportLikelihood(sc, r)
	tokens := sum(sc.tokens)
	r.Values = append(r.Values,
		row.Value{Name: row.KLMean, Value: sum(sc.kl) / tokens, Unit: "nat/token"},
		row.Value{Name: row.KLMedian, Value: quantile(sc.klTokens, 0.5), Unit: "nat/token"},
		row.Value{Name: row.KLP999, Value: quantile(sc.klTokens, 0.999), Unit: "nat/token"},
		row.Value{Name: row.Top1, Value: sum(sc.top1) / tokens},
		row.Value{Name: row.Top1Lost, Value: sum(sc.lost) / tokens},
		row.Value{Name: row.Top1Gained, Value: sum(sc.gained) / tokens})
	r.Series = append(r.Series,
		row.Series{Name: row.WindowKL, Unit: "nat", Values: sc.kl},
		row.Series{Name: row.WindowTop1, Values: sc.top1},
		row.Series{Name: row.WindowLost, Values: sc.lost},
		row.Series{Name: row.WindowGained, Values: sc.gained})
}

// reportLikelihood writes what needs no reference.
func (e *evaluator) reportLikelihood(sc *scores, r *row.Row) {
	tokens, nll := sum(sc.tokens), sum(sc.nll)
	r.Values = append(r.Values, row.Value{Name: row.NLL, Value: nll / tokens, Unit: "nat/token"})
	if !math.IsNaN(nll) && !math.IsInf(nll, 0) { // else the model is at fault, and the row fails
		addDefined(r,
			derived{row.Value{Name: row.PPLToken, Value: math.Exp(nll / tokens)},
				fmt.Sprintf("exp(%.4g) per token", nll/tokens)},
			derived{row.Value{Name: row.PPLWord, Value: math.Exp(nll / float64(e.words))},
				fmt.Sprintf("exp(%.4g / %d words): the text has hardly any spaces", nll, e.words)},
			derived{row.Value{Name: row.BitsPerByte, Value: nll / math.Ln2 / float64(e.bytes), Unit: "bit/B"},
				fmt.Sprintf("the scored text has %d bytes", e.bytes)})
	}
	r.Series = append(r.Series,
		row.Series{Name: row.WindowTokens, Values: sc.tokens},
		row.Series{Name: row.WindowNLL, Unit: "nat", Values: sc.nll})
}

// reportTasks writes the metrics of tasks into r, and of each but perplexity,
// which is a function of logprob, the values of the items.
func reportTasks(answers []*tasks.Result, r *row.Row) {
	for _, a := range answers {
		if a.Truncated > 0 {
			r.Warnings = append(r.Warnings, fmt.Sprintf(
				"tasks: %s: %d requests were longer than the model's positions and lost tokens at their beginning",
				a.Task.Ref, a.Truncated))
		}
		for _, m := range a.Metrics {
			v := row.Value{Name: row.TaskMetric(a.Task.Name, m.Name), Value: m.Value, SE: m.SE}
			if m.Name == tasks.LogProb {
				v.Unit = "nat"
			}
			r.Values = append(r.Values, v)
			if m.Name != tasks.Perplexity {
				r.Series = append(r.Series, row.Series{Name: v.Name, Unit: v.Unit, Values: m.Items})
			}
		}
	}
}
