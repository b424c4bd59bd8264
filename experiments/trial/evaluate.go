package trial

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/tasks"
	"github.com/mosaicquant/mosaicquant/quant"
)

// Evaluation asks for the quality of a model with its 16-bit weights.
type Evaluation struct {
	Model       string
	Activations string // a16, a8 or a4; "" is what a packed checkpoint was made for, else a16
	// Execution is fake, float32 products with what codes stand for, or packed, the codes of a
	// packed checkpoint on the kernels of package zipper.
	Execution string
	// Engine is one of Engines; "" is the CPU.
	Engine string
	// Protocol is that of the text. Its BOS holds for tasks too. Without a text
	// there is no perplexity; context and stride 0 are the model's positions, or
	// 2048 if it has more, and the context.
	Protocol plan.Protocol
	// BOSAsTokenizer puts the tokenizer's choice in place of Protocol.BOS: a BOS
	// token if it has one.
	BOSAsTokenizer bool
	Tasks          []string // references as tasks.Open reads them
	Limit          int      // items of each task, 0 = all
	// MaxLength is how many tokens of a task's request the model reads; 0 is
	// as many as it has positions.
	MaxLength int
}

// Evaluated is the outcome of an Evaluation.
type Evaluated struct {
	Evaluation Evaluation // with defaults resolved
	// Text has the values of the text (NLL, PPLToken, PPLWord, BitsPerByte) and
	// their series (WindowTokens, WindowNLL), nil without one.
	Text     *row.Row
	Tasks    []*tasks.Result
	Packed   *Packed // what a packed checkpoint says of itself; nil for others
	GPU      string  // what ran, where Engine is cuda
	Warnings []string
}

// Evaluate scores a text and tasks. Tasks are read before anything is
// computed.
func (l *Lab) Evaluate(ctx context.Context, e Evaluation) (out *Evaluated, err error) {
	if err := checkEngine(e.Engine); err != nil {
		return nil, err
	}
	files, err := l.OpenModel(ctx, e.Model)
	if err != nil {
		return nil, err
	}
	model, err := llm.Open(files)
	if err != nil {
		return nil, err
	}
	defer model.Close()
	packed, err := readPacked(files, model)
	if err != nil {
		return nil, err
	}
	asked := settingsOf(packed, &e.Activations)
	e.resolve(model)
	act, err := activations(asked)
	if err != nil {
		return nil, err
	}
	s := l.newSource(e.Model, model)
	if err := s.readTokenizer(files, e.Protocol.BOS, e.BOSAsTokenizer); err != nil {
		return nil, err
	}
	e.Protocol.BOS = s.bos >= 0
	ev := &evaluator{source: s, protocol: e.Protocol, limits: tasks.Options{MaxLength: e.MaxLength}}
	if err := ev.openTasks(e.Tasks, e.Limit); err != nil {
		return nil, err
	}
	view := rounding(model, act)
	if e.Execution == "packed" {
		if packed == nil {
			return nil, fmt.Errorf("execution packed: model %s has 16-bit weights, and no codes for the kernels", e.Model)
		}
		if e.Engine != "cuda" {
			if view, _, err = onKernels(model, asked, false); err != nil {
				return nil, fmt.Errorf("execution packed: %w", err)
			}
		}
	}
	out = &Evaluated{Evaluation: e, Packed: packed}
	if e.Engine == "cuda" {
		on, g, failed := openGPU(view, e.Execution == "packed")
		if failed != nil {
			return nil, failed
		}
		defer func() { err = errors.Join(err, g.Close()) }()
		view, out.GPU = on, describeGPU(g)
	}
	if e.Protocol.Text != "" {
		if err := ev.cutText(); err != nil {
			return nil, err
		}
		sc, err := score(ctx, view, ev.windows, nil, nil)
		if err != nil {
			return nil, err
		}
		out.Text = &row.Row{}
		ev.reportLikelihood(sc, out.Text)
		if nll := sum(sc.nll); math.IsNaN(nll) || math.IsInf(nll, 0) {
			return nil, fmt.Errorf("model %s: the negative log-likelihood of text %s is %v: the model computes no probabilities",
				e.Model, e.Protocol.Text, nll)
		}
	}
	for _, t := range ev.tasks {
		fmt.Fprintf(l.Progress, "%s: %d items\n", t.Name, len(t.Items))
		r, err := ev.answer(ctx, view, t)
		if err != nil {
			return nil, err
		}
		out.Tasks = append(out.Tasks, r)
	}
	out.Warnings = s.warnings
	if out.Text != nil {
		out.Warnings = append(out.Warnings, out.Text.Warnings...)
	}
	if positions := model.Config().MaxPositions; e.MaxLength > positions && len(ev.tasks) > 0 {
		out.Warnings = append(out.Warnings, fmt.Sprintf(
			"tasks: a maximum length of %d is beyond the %d positions the model was trained for",
			e.MaxLength, positions))
	}
	return out, nil
}

// resolve puts defaults in the place of what e leaves open.
func (e *Evaluation) resolve(model *llm.Model) {
	positions := model.Config().MaxPositions
	if e.Protocol.Context == 0 {
		e.Protocol.Context = min(positions, 2048)
	}
	if e.Protocol.Stride == 0 {
		e.Protocol.Stride = e.Protocol.Context
	}
	if e.MaxLength == 0 {
		e.MaxLength = positions
	}
}

// rounding returns the model with the inputs of its linear layers rounded as act says.
func rounding(model *llm.Model, act quant.Activations) *llm.Model {
	if act == quant.A16 {
		return model
	}
	replacements := map[string]llm.Replacement{}
	for _, w := range model.Linears() {
		r := llm.Replacement{Act: act}
		if q, ok := w.Weights.(*quant.Quantized); ok {
			r.Act = q.Inputs(act)
		}
		replacements[w.Name] = r
	}
	return model.With(replacements)
}
