package trial

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/tasks"
	"github.com/mosaicquant/mosaicquant/quant"
)

// Run quantizes and evaluates the trial t, which must be one of this subject.
// Whatever goes wrong with the trial itself is told in a row with status
// failed; only a cancelled context is an error.
func (s *Subject) Run(ctx context.Context, t plan.Trial) (*row.Row, error) {
	r, err := s.describe(t)
	if err != nil {
		return nil, err
	}
	if err := s.run(ctx, t, r); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		r.Fail(err)
	}
	return r, nil
}

// describe returns the row of t without results.
func (s *Subject) describe(t plan.Trial) (*row.Row, error) {
	config, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	return &row.Row{
		Schema: row.Schema, Trial: s.ID(t), Label: t.Label, Baseline: t.Baseline,
		Axes: t.Axes(), Config: config, Status: row.OK,
		Start: time.Now().UTC().Format(time.RFC3339),
	}, nil
}

func (s *Subject) run(ctx context.Context, t plan.Trial, r *row.Row) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	r.Warnings = append(r.Warnings, s.warnings...)
	if t.Method.Word("criterion") == "oracle" {
		r.Warnings = append(r.Warnings, "criterion oracle chose its blocks on the evaluated text: a bound, not a method")
	}
	start := time.Now()
	q, err := s.quantize(ctx, t, r)
	if err != nil {
		return err
	}
	quantized := time.Now()
	reference := func(first, last int, seqs [][]int32) (gemm.Matrix, error) {
		return s.reference(ctx, first, last, seqs)
	}
	model := q.model.With(q.replacements)
	var spared float64
	sc, err := score(ctx, model, s.windows, reference, s.keptScores(t, &spared))
	if err != nil {
		return err
	}
	var answers []*tasks.Result
	for _, t := range s.tasks {
		a, err := t.Score(ctx, model, s.tokenizer, tasks.Options{BOS: s.bos})
		if err != nil {
			return err
		}
		answers = append(answers, a)
	}
	evaluated := time.Now()

	s.dropLayers(t)
	s.dropScores(t)
	q.report(r)
	s.reportScores(sc, r)
	reportTasks(answers, r)
	r.Values = append(r.Values,
		row.Value{Name: row.QuantizeTime, Value: quantized.Sub(start).Seconds() + q.spared, Unit: "s"},
		row.Value{Name: row.EvalTime, Value: evaluated.Sub(quantized).Seconds() + spared, Unit: "s"})
	return nil
}

// quantizedModel is what quantizing all linear layers gave.
type quantizedModel struct {
	model          *llm.Model // what replacements belong to
	replacements   map[string]llm.Replacement
	bytes, weights int64   // of the quantized layers
	others         int64   // bytes of all other tensors, as in the checkpoint
	lost, total    float64 // sums of tr(E H Eᵀ) and tr(W H Wᵀ)
	spared         float64 // seconds that layers of an earlier run took
}

// quantize quantizes the linear layers one by one.
func (s *Subject) quantize(ctx context.Context, t plan.Trial, r *row.Row) (*quantizedModel, error) {
	method, err := t.Method.Quantizer()
	if err != nil {
		return nil, err
	}
	act, err := quant.ParseActivations(t.Activations)
	if err != nil {
		return nil, err
	}
	model, scales, err := s.smooth(ctx, t.Method)
	if err != nil {
		return nil, err
	}
	packed := t.Execution == "packed" && method != nil
	if packed {
		r.Execution = execution()
	}
	all, err := s.storedBytes()
	if err != nil {
		return nil, err
	}
	q := &quantizedModel{model: model, replacements: map[string]llm.Replacement{}, others: all}
	folded, err := s.folded(model)
	if err != nil {
		return nil, err
	}
	for name, v := range folded { // which are stored in float32
		tensor, err := s.model.Checkpoint().Raw(name)
		if err != nil {
			return nil, err
		}
		q.others += 4*int64(len(v)) - int64(len(tensor.Data))
	}
	if c := s.model.Config(); c.TieEmbeddings && s.change.folds() { // and an output layer beside the embedding
		q.others += 2 * int64(c.VocabSize) * int64(c.HiddenSize)
	}
	for _, l := range s.linears {
		tensor, err := s.model.Checkpoint().Raw(l.Name + ".weight")
		if err != nil {
			return nil, err
		}
		q.others -= int64(len(tensor.Data))
		q.weights += int64(l.N) * int64(l.K)
		if method == nil {
			if s.basis == "" {
				q.bytes += int64(len(tensor.Data))
			} else { // weights in another basis are on no grid of the file any more
				q.bytes += 2 * int64(l.N) * int64(l.K)
			}
			q.replacements[l.Name] = llm.Replacement{Act: act}
		}
	}
	if method == nil {
		name := "16-bit weights"
		if c := s.model.Checkpoint(); c.Quantized() && s.basis == "" {
			name = c.Precision() + " weights"
		}
		r.Ledger = []row.Item{{Name: name, Bytes: q.bytes}}
		q.bytes += reportOnline(model, r)
		return q, nil
	}
	var methods []quant.Quantizer
	if t.Method.Word("budget") != "" {
		if methods, err = s.shared(ctx, t, method, model, scales); err != nil {
			return nil, err
		}
	}
	s.noteStored(t)
	kept := s.newKeeper()
	times := row.Series{Name: row.LayerTime, Unit: "s"}
	ledger := map[string]int{}
	err = s.each(ctx, model, scales, t.Method.Word("criterion") == "oracle", func(i int, l llm.Linear, in *inputs) error {
		method := method
		if methods != nil {
			method = methods[i]
		}
		out, err := s.layer(t, i, l, method, in, kept)
		if err != nil {
			return err
		}
		for _, item := range out.Ledger() {
			j, ok := ledger[item.Name]
			if !ok {
				j = len(r.Ledger)
				ledger[item.Name] = j
				r.Ledger = append(r.Ledger, row.Item{Name: item.Name})
			}
			r.Ledger[j].Bytes += item.Bytes
		}
		if out.stored {
			q.spared += out.seconds
		}
		q.lost += out.lost
		q.total += in.energy
		q.bytes += out.Ledger().Total()
		r.Layers = append(r.Layers, out.row(l, in.energy))
		times.Values = append(times.Values, out.seconds)
		for _, text := range out.Warnings {
			r.Warnings = append(r.Warnings, fmt.Sprintf("%s: %s", l.Name, text))
		}
		replacement := llm.Replacement{Weights: out.Quantized, Act: out.Inputs(act)}
		if packed {
			p, err := packAll(out.Quantized, t.Activations)
			if err != nil {
				return fmt.Errorf("execution packed: %s: %w", l.Name, err)
			}
			replacement = llm.Replacement{Weights: out.Quantized, Product: p}
		}
		q.replacements[l.Name] = replacement
		return nil
	})
	if err != nil {
		return nil, err
	}
	q.bytes += reportOnline(model, r)
	r.Series = append(r.Series, times)
	return q, nil
}

// seed gives every layer its own stream of random numbers.
func seed(base uint64, layer int) uint64 { return base*1_000_003 + uint64(layer) }

// storedBytes is the size of all tensors of the checkpoint.
func (s *Subject) storedBytes() (int64, error) {
	var n int64
	for _, name := range s.model.Checkpoint().Names() {
		t, err := s.model.Checkpoint().Raw(name)
		if err != nil {
			return 0, err
		}
		n += int64(len(t.Data))
	}
	return n, nil
}

// relative returns lost/total; what loses nothing has no error, also where
// there was nothing to lose (a layer of zeros).
func relative(lost, total float64) float64 {
	if lost == 0 {
		return 0
	}
	return lost / total
}

// report writes size and output error into r.
func (q *quantizedModel) report(r *row.Row) {
	r.Values = append(r.Values,
		row.Value{Name: row.BitsPerWeight, Value: float64(q.bytes) * 8 / float64(q.weights), Unit: "bit"},
		row.Value{Name: row.ModelBytes, Value: float64(q.bytes + q.others), Unit: "B"})
	if len(r.Layers) > 0 {
		r.Values = append(r.Values, row.Value{Name: row.OutputError, Value: relative(q.lost, q.total)})
	}
}

// reportScores writes the evaluation into r: totals, and sums per window for
// paired comparisons.
func (s *Subject) reportScores(sc *scores, r *row.Row) {
	s.reportLikelihood(sc, r)
	tokens := sum(sc.tokens)
	r.Values = append(r.Values,
		row.Value{Name: row.KLMean, Value: sum(sc.kl) / tokens, Unit: "nat/token"},
		row.Value{Name: row.KLMedian, Value: quantile(sc.klTokens, 0.5), Unit: "nat/token"},
		row.Value{Name: row.KLP999, Value: quantile(sc.klTokens, 0.999), Unit: "nat/token"},
		row.Value{Name: row.Top1, Value: sum(sc.top1) / tokens})
	r.Series = append(r.Series,
		row.Series{Name: row.WindowKL, Unit: "nat", Values: sc.kl},
		row.Series{Name: row.WindowTop1, Values: sc.top1})
}

// reportLikelihood writes what needs no reference.
func (s *Subject) reportLikelihood(sc *scores, r *row.Row) {
	tokens, nll := sum(sc.tokens), sum(sc.nll)
	r.Values = append(r.Values, row.Value{Name: row.NLL, Value: nll / tokens, Unit: "nat/token"})
	if !math.IsNaN(nll) && !math.IsInf(nll, 0) { // else the model is at fault, and the row fails
		addDefined(r,
			derived{row.Value{Name: row.PPLToken, Value: math.Exp(nll / tokens)}, fmt.Sprintf("exp(%.4g) per token", nll/tokens)},
			derived{row.Value{Name: row.PPLWord, Value: math.Exp(nll / float64(s.words))},
				fmt.Sprintf("exp(%.4g / %d words): the text has hardly any spaces", nll, s.words)},
			derived{row.Value{Name: row.BitsPerByte, Value: nll / math.Ln2 / float64(s.bytes), Unit: "bit/B"},
				fmt.Sprintf("the scored text has %d bytes", s.bytes)})
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
			r.Warnings = append(r.Warnings, fmt.Sprintf("tasks: %s: %d requests were longer than the model's positions and lost tokens at their beginning", a.Task.Ref, a.Truncated))
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

func sum(v []float64) float64 {
	var t float64
	for _, x := range v {
		t += x
	}
	return t
}
