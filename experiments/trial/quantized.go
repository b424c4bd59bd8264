package trial

import (
	"context"
	"fmt"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/quant"
)

// quantizedModel is what quantizing all linear layers gave.
type quantizedModel struct {
	*quantization
	replacements   map[string]llm.Replacement // of the layers of model
	bytes, weights int64                      // of all linear layers
	others         int64                      // bytes of all other tensors, as in the checkpoint
	lost, total    float64                    // sums of tr(E H Eᵀ) and tr(W H Wᵀ)
	// Sums of ||X Eᵀ||² and ||X Wᵀ||² on a sample of the evaluated text.
	evaluatedLost, evaluatedEnergy float64
	spared                         float64 // seconds that layers of an earlier run took
}

// quantizesOutput reports whether the output layer is quantized.
func (q *quantizedModel) quantizesOutput() bool {
	_, ok := q.replacements[llm.OutputName].Weights.(*quant.Quantized)
	return ok
}

// view returns the model with its layers replaced.
func (q *quantizedModel) view() *llm.Model { return q.model.With(q.replacements) }

// quantize quantizes the model of the trial t and writes into r what is known of each
// layer.
func (s *Subject) quantize(ctx context.Context, t plan.Trial, r *row.Row) (*quantizedModel, error) {
	executed, err := newExecutor(t)
	if err != nil {
		return nil, err
	}
	r.Execution = executed.row()
	loop, err := s.quantization(ctx, t)
	if err != nil {
		return nil, err
	}
	q := &quantizedModel{quantization: loop, replacements: map[string]llm.Replacement{}}
	if t.ActivationsScale != "" || t.ActivationsWide > 0 {
		executed.sites = &siteInputs{trial: t, pass: s.calibrated.begin(), scales: q.scales}
	}
	if t.ActivationsScale == "searched" {
		if err := executed.sites.search(ctx, q.model, executed.inputs); err != nil {
			return nil, fmt.Errorf("activations_scale: searched: %w", err)
		}
	}
	if q.others, err = s.source.otherBytes(q.model); err != nil {
		return nil, err
	}
	for l, err := range q.layers(ctx) {
		if err != nil {
			return nil, err
		}
		if err := q.add(l, r); err != nil {
			return nil, err
		}
		if q.replacements[l.linear.Name], err = executed.replacement(ctx, l); err != nil {
			return nil, err
		}
	}
	if q.quantizesOutput() {
		r.Warnings = append(r.Warnings, "the output layer is quantized, and counted in bits per weight")
	}
	q.bytes += reportOnline(q.model, r) + reportPrefix(q.model, r)
	if executed.sites != nil {
		q.bytes += executed.sites.bytes
		r.Ledger = addBytes(r.Ledger, executed.sites.name(), executed.sites.bytes)
	}
	return q, nil
}

// add counts the layer l, and writes into r what is known of it.
func (q *quantizedModel) add(l *layer, r *row.Row) error {
	q.weights += int64(l.linear.N) * int64(l.linear.K)
	if l.Quantized == nil {
		n, err := q.source.linearBytes(l.linear)
		q.bytes += n
		r.Ledger = addBytes(r.Ledger, q.source.precision(), n)
		return err
	}
	for _, item := range l.Ledger() {
		r.Ledger = addBytes(r.Ledger, item.Name, item.Bytes)
	}
	if l.stored {
		q.spared += l.seconds
	}
	q.lost += l.lost
	q.total += l.energy
	q.evaluatedLost += l.evaluatedLost
	q.evaluatedEnergy += l.evaluatedEnergy
	q.bytes += l.Ledger().Total()
	r.Layers = append(r.Layers, l.row())
	r.Series = addValue(r.Series, row.Series{Name: row.LayerTime, Unit: "s"}, l.seconds)
	for _, text := range l.Warnings {
		r.Warnings = append(r.Warnings, fmt.Sprintf("%s: %s", l.linear.Name, text))
	}
	return nil
}

// report writes size and output error into r.
func (q *quantizedModel) report(r *row.Row) {
	r.Values = append(r.Values,
		row.Value{Name: row.BitsPerWeight, Value: float64(q.bytes) * 8 / float64(q.weights), Unit: "bit"},
		row.Value{Name: row.ModelBytes, Value: float64(q.bytes + q.others), Unit: "B"})
	if len(r.Layers) > 0 {
		r.Values = append(r.Values, row.Value{Name: row.OutputError, Value: relative(q.lost, q.total)},
			row.Value{Name: row.OutputErrorEvaluated, Value: relative(q.evaluatedLost, q.evaluatedEnergy)})
	}
}

// addBytes adds n bytes to the item of that name, which may be new.
func addBytes(ledger []row.Item, name string, n int64) []row.Item {
	for i := range ledger {
		if ledger[i].Name == name {
			ledger[i].Bytes += n
			return ledger
		}
	}
	return append(ledger, row.Item{Name: name, Bytes: n})
}

// addValue adds v to the series of the name of like, which may be new.
func addValue(list []row.Series, like row.Series, v float64) []row.Series {
	for i := range list {
		if list[i].Name == like.Name {
			list[i].Values = append(list[i].Values, v)
			return list
		}
	}
	like.Values = []float64{v}
	return append(list, like)
}

// executor says what each layer of a trial runs on.
type executor struct {
	trial  plan.Trial
	inputs quant.Activations
	sites  *siteInputs // nil where inputs of all sites are rounded alike
	packed bool        // on the kernels for packed weights
}

func newExecutor(t plan.Trial) (*executor, error) {
	act, err := activations(t)
	return &executor{t, act, nil, t.Execution == "packed" && t.Method.Method().Quantizes()}, err
}

// row describes the execution; nil for fake quantization.
func (e *executor) row() *row.Execution {
	if !e.packed || e.trial.Engine == "cuda" { // see Subject.evaluate
		return nil
	}
	return execution()
}

// replacement returns what executes in place of the layer l of the model. Every layer
// of every trial passes here.
func (e *executor) replacement(ctx context.Context, l *layer) (llm.Replacement, error) {
	inputs := e.inputs
	if e.sites != nil {
		var err error
		if inputs, err = e.sites.at(ctx, l.linear, inputs); err != nil {
			return llm.Replacement{}, err
		}
	}
	switch {
	case l.Quantized == nil: // its weights stay, its inputs are rounded
		return llm.Replacement{Act: inputs}, nil
	case !e.packed || e.trial.Engine == "cuda": // a GPU packs what it is given
		return llm.Replacement{Weights: l.Quantized, Act: l.Inputs(inputs)}, nil
	}
	p, err := packAll(l.Quantized, e.trial.Activations)
	if err != nil {
		return llm.Replacement{}, fmt.Errorf("execution packed: %s: %w", l.linear.Name, err)
	}
	return llm.Replacement{Weights: l.Quantized, Product: p}, nil
}
