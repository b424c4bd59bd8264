package trial

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/method"
	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/store"
	"github.com/mosaicquant/mosaicquant/quant"
)

// quantization quantizes the linear layers of one trial, one after another, see
// layers. It knows nothing of rows, execution and evaluation. It is for one goroutine.
type quantization struct {
	trial plan.Trial
	// settings returns the settings of the linear layer of that name. All that is asked
	// of a layer's settings is asked here; smoothing and a shared budget are the trial's.
	settings func(layer string) plan.Method

	source     *source
	calibrated *calibrator
	heldOut    *calibrator // for the criterion oracle
	inputs     *evaluatedInputs
	model      *llm.Model // what is quantized: the source's, smoothed where the trial asks for it
	scales     map[string][]float32
	chosen     []quant.Quantizer // of each layer, where all share one budget
}

// quantization prepares the quantization of the trial t.
func (s *Subject) quantization(ctx context.Context, t plan.Trial) (*quantization, error) {
	if err := s.source.checkPatterns(t.Method); err != nil {
		return nil, err
	}
	if want := t.Method.Bool(method.LMHead); want != s.source.model.OutputListed() {
		return nil, fmt.Errorf("%s: lm_head is %v, and its subject was opened for a trial with %v", t.Label, want, !want)
	}
	model, scales, err := s.calibrated.smooth(ctx, t)
	if err != nil {
		return nil, err
	}
	layers := s.source.model.Config().Layers
	return &quantization{
		trial: t, settings: func(name string) plan.Method { return t.Method.At(name, layers) },
		source: s.source, calibrated: s.calibrated, heldOut: s.heldOut, inputs: s.inputs, model: model,
		scales: scales,
	}, nil
}

// quantizer returns the method of the i-th layer, nil where it stays in 16 bits.
func (q *quantization) quantizer(i int, name string) (quant.Quantizer, error) {
	if q.chosen != nil {
		return q.chosen[i], nil
	}
	return q.settings(name).Quantizer()
}

// problem is what quantizing one linear layer starts from.
type problem struct {
	quant.Problem            // without the weights, see whole; without moments for a layer in 16 bits
	index         int        // of the layer
	linear        llm.Linear // of the smoothed model
	energy        float64    // tr(W·H·Wᵀ)
}

// whole returns the problem with the weights.
func (p *problem) whole() quant.Problem {
	w := p.Problem
	w.Weights = load(p.linear)
	return w
}

// seed gives every layer its own stream of random numbers.
func seed(base uint64, layer int) uint64 { return base*1_000_003 + uint64(layer) }

// problems yields the problems of all linear layers in the order of execution. It
// holds the statistics of one site at a time. Moments of the held-out text come with
// layers whose criterion is oracle, or with all if heldOut is set. After an error it
// ends.
func (q *quantization) problems(ctx context.Context, heldOut bool) iter.Seq2[*problem, error] {
	return func(yield func(*problem, error) bool) {
		calibrated, held := q.calibrated.begin(), q.heldOut.begin()
		var st, other *statistics // of the site
		place := 0                // of the layer in its site
		linears := q.model.Linears()
		for i, l := range linears {
			if place++; i == 0 || linears[i-1].Site != l.Site {
				st, other, place = nil, nil, 0
			}
			settings := q.settings(l.Name)
			p := &problem{index: i, linear: l, Problem: quant.Problem{Name: l.Name, Seed: seed(q.trial.Calibration.Seed, i)}}
			err := ctx.Err()
			if err == nil && settings.Method().Quantizes() {
				if st == nil {
					st, err = calibrated.scaled(ctx, l.Site, q.scales)
				}
				if err == nil && other == nil && (heldOut || settings.Word("criterion") == "oracle") {
					other, err = held.scaled(ctx, l.Site, q.scales)
				}
				if err == nil {
					p.see(st, other, place, q.scales != nil)
				}
			}
			if !yield(p, err) || err != nil {
				return
			}
		}
	}
}

// see gives p the statistics of its site, where its layer has the given place.
func (p *problem) see(st, heldOut *statistics, place int, smoothed bool) {
	p.Moments, p.energy = st.moments, st.energies[place]
	if heldOut != nil {
		p.HeldOut = heldOut.moments
	}
	if smoothed { // rows of v_proj and up_proj may be scaled, too
		p.energy = outputEnergy(p.linear, st.moments)
	}
}

// layers yields all linear layers in the order of execution, quantized by their
// methods. Layers that an earlier run of the same quantization left in the store are
// not quantized again. After an error it ends.
func (q *quantization) layers(ctx context.Context) iter.Seq2[*layer, error] {
	return func(yield func(*layer, error) bool) {
		if q.trial.Method.Word("budget") != "" {
			var err error
			if q.chosen, err = q.share(ctx); err != nil {
				yield(nil, err)
				return
			}
		}
		if q.trial.Method.Method().Quantizes() {
			q.noteStored()
		}
		k := newKeeper(q.store())
		for p, err := range q.problems(ctx, false) {
			var l *layer
			if err == nil {
				l, err = q.layer(ctx, p, k)
			}
			if err == nil {
				step(ctx, Quantizing, p.index+1, len(q.source.linears))
			}
			if !yield(l, err) || err != nil {
				return
			}
		}
	}
}

// layer quantizes the layer of p, unless an earlier run has stored it. k may store it.
func (q *quantization) layer(ctx context.Context, p *problem, k *keeper) (*layer, error) {
	l := &layer{linear: p.linear, energy: p.energy}
	method, err := q.quantizer(p.index, p.Name)
	if err != nil || method == nil {
		return l, err
	}
	key, err := q.key(p.index)
	if err != nil {
		return nil, err
	}
	l.Quantized = &quant.Quantized{}
	if q.store().Has(key) {
		err := q.store().Get(key, func(r io.Reader, size int64) error { return l.decode(r, size) })
		if l.stored = err == nil; !l.stored && !errors.Is(err, store.ErrAbsent) {
			return nil, err
		}
	}
	sample := q.inputs.key(p.linear.Site).String()
	if l.stored && l.sample == sample {
		return l, nil
	}
	whole := p.whole()
	if !l.stored {
		start := time.Now()
		if l.Quantized, err = method.Quantize(whole); err != nil {
			return nil, err
		}
		l.seconds = time.Since(start).Seconds()
		l.measure(whole)
	}
	x, err := q.inputs.at(ctx, p.linear.Site)
	if err != nil {
		return nil, err
	}
	l.evaluatedLost, l.evaluatedEnergy = sampledError(whole.Weights, l, x, q.scales[p.linear.Site])
	if l.stored {
		return l, nil
	}
	l.sample = sample
	return l, k.add(key, l.encode)
}

func (q *quantization) store() *store.Store { return q.source.lab.Store }

// key names the i-th linear layer as it is quantized here.
func (q *quantization) key(i int) (store.Key, error) {
	l := q.source.linears[i]
	settings := q.settings(l.Name)
	method, err := json.Marshal(settings)
	if err != nil {
		return store.Key{}, err
	}
	parts := []string{revision, q.calibrated.statisticsKey(l.Site).String(), l.Name, string(method),
		fmt.Sprint(seed(q.trial.Calibration.Seed, i))}
	if settings.Word("criterion") == "oracle" {
		parts = append(parts, q.heldOut.statisticsKey(l.Site).String())
	}
	if settings.Word("smoothing_search") != "" { // what the scales depend on beside the settings
		parts = append(parts, q.calibrated.searchInputs(q.trial))
	}
	return store.NewKey("layer", 7, parts...), nil
}

// noteStored tells how many layers an earlier run has left.
func (q *quantization) noteStored() {
	n := 0
	for i := range q.source.linears {
		if key, err := q.key(i); err == nil && q.store().Has(key) {
			n++
		}
	}
	if n > 0 {
		q.source.lab.note("%s: goes on: %d of %d linear layers were quantized by a run that did not end",
			q.trial.Label, n, len(q.source.linears))
	}
}

// drop deletes the layers that were stored.
func (q *quantization) drop() {
	for i := range q.source.linears {
		if key, err := q.key(i); err == nil && q.store().Has(key) {
			q.store().Delete(key)
		}
	}
}
