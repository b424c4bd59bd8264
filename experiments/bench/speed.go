package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/experiments/trial"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/variants"
	"github.com/mosaicquant/mosaicquant/quant"
)

// Speed times the forms in which the trials of a sweep store their weights: not
// every trial, but each distinct form once. Prepare measures, on random matrices of
// the shapes that the sweep names; Report adds the times to a trial's row.
// The zero value is ready; Close it at the end. Prepare is not for concurrent use: a
// measurement wants the machine for itself.
type Speed struct {
	// Checkpoint returns the form of all layers of a checkpoint that a method names;
	// nil: such trials are not timed.
	Checkpoint func(path string) (*quant.Form, error)

	engines map[string]Engine
	times   map[string]*row.Row   // by product and form
	read    map[string]checkpoint // by path
}

// checkpoint is what is known of the form of one.
type checkpoint struct {
	form *quant.Form
	err  error
}

// form is what decides how long products with the weights of a trial take.
type form struct {
	Quant    *quant.Form `json:"form"` // nil: 16-bit weights
	Density  float64     `json:"density"`
	Outliers float64     `json:"outliers"`
	Scheme   string      `json:"scheme"`
	// Code and Length are those of a base of trellis codes.
	Code    string `json:"code,omitempty"`
	Length  int    `json:"length,omitempty"`
	variant string
	trial   *plan.Trial
}

// formOf returns the form of the weights of t.
func (s *Speed) formOf(t *plan.Trial) (*form, error) {
	if t.Method.ByLayer() {
		return nil, errors.New("its layers have settings of their own, and so no one form to time")
	}
	q, err := t.Method.Form()
	if err != nil {
		return nil, err
	}
	if path := t.Method.Checkpoint(); path != "" {
		c := s.read[path]
		if q = c.form; c.err == nil && q == nil {
			c.err = errors.New("the form of a checkpoint is known once it is read")
		}
		if c.err != nil {
			return nil, c.err
		}
	}
	f := &form{Quant: q, Scheme: trial.Scheme(t.Activations), variant: variants.W16A16, trial: t}
	if q == nil {
		return f, nil
	}
	f.variant = trial.Variant(*q)
	f.Density, f.Outliers = t.Method.Float("density"), t.Method.Float("outliers")
	if q.Base.Kind == quant.Trellis {
		f.Code, f.Length = t.Method.Word("trellis_code"), t.Method.Int("trellis_length")
	}
	if q.Outliers && f.Outliers == 0 {
		return nil, errors.New("how many outliers a threshold gives depends on the weights")
	}
	return f, nil
}

// dense is the form that others are measured against: int4 in groups of 128.
func dense(scheme string) *form {
	return &form{Quant: &quant.Form{Base: quant.Int4(128)}, Scheme: scheme, variant: variants.Dense4}
}

// sixteen is the other one: 16-bit weights.
func sixteen(scheme string) *form { return &form{Scheme: scheme, variant: variants.W16A16} }

// key identifies a product with the weights of f. The products of 16-bit weights do
// not round their inputs.
func (f *form) key(p plan.Product) string {
	p.Variants = nil
	data, err := json.Marshal(f)
	if err != nil {
		panic("bench: " + err.Error()) // plan lets no NaN through
	}
	return identity(p, string(data), nil)
}

// Prepare measures what trials, of one sweep, ask for and what was not measured yet:
// at every shape and number of tokens all forms run in turns, int4 in groups of 128
// and 16-bit weights among them. What has no kernel is left to Report to tell.
// note, where not nil, is told of what will be measured.
func (s *Speed) Prepare(ctx context.Context, trials []plan.Trial, note func(format string, args ...any)) error {
	for _, t := range trials {
		path := t.Method.Checkpoint()
		if _, known := s.read[path]; known || path == "" || t.Speed == nil || s.Checkpoint == nil {
			continue
		}
		if s.read == nil {
			s.read = map[string]checkpoint{}
		}
		f, err := s.Checkpoint(path)
		s.read[path] = checkpoint{f, err}
	}
	order, forms := s.kindsOf(trials)
	for i := range order {
		t := &order[i]
		e, err := s.engine(t.Speed.Engine)
		if err != nil {
			return fmt.Errorf("speed: %w", err)
		}
		all := forms[i]
		for _, group := range byWeights(t.Timed()) {
			if !s.lacks(group, all) {
				continue
			}
			if note != nil {
				note("timing %s in %d forms, with nothing else running", group[0].Shape(), len(all))
			}
			if err := s.group(ctx, e, group, all); err != nil {
				return fmt.Errorf("speed: %s: %w", group[0].Shape(), err)
			}
		}
	}
	return nil
}

// kindsOf returns a trial of each kind of products that trials ask for, those of one
// scheme and speed section, and all forms of each kind: 16-bit weights and int4 in
// groups of 128 come first.
func (s *Speed) kindsOf(trials []plan.Trial) (order []plan.Trial, forms [][]*form) {
	at := map[string]int{}
	for i := range trials {
		t := &trials[i]
		if t.Speed == nil {
			continue
		}
		f, err := s.formOf(t)
		if err != nil {
			continue
		}
		kind := fmt.Sprint(t.Speed, f.Scheme)
		k, ok := at[kind]
		if !ok {
			k = len(order)
			at[kind] = k
			order, forms = append(order, *t), append(forms, []*form{sixteen(f.Scheme), dense(f.Scheme)})
		}
		key := f.key(plan.Product{})
		if !slices.ContainsFunc(forms[k], func(o *form) bool { return o.key(plan.Product{}) == key }) {
			forms[k] = append(forms[k], f)
		}
	}
	return order, forms
}

// lacks reports whether some product of group was not measured in one of forms.
func (s *Speed) lacks(group []plan.Product, forms []*form) bool {
	return slices.ContainsFunc(forms, func(f *form) bool {
		return slices.ContainsFunc(group, func(p plan.Product) bool { return s.times[f.key(p)] == nil })
	})
}

// group measures products with matrices of one shape in all forms.
func (s *Speed) group(ctx context.Context, e Engine, group []plan.Product, forms []*form) (err error) {
	cs := make([]*contender, len(forms))
	defer func() { err = errors.Join(err, closeAll(cs)) }()
	weights := weightsOf(group[0].N, group[0].K, group[0].Seed)
	for i, f := range forms {
		if cs[i], err = f.prepare(e, &group[0], weights); err != nil {
			return err
		}
	}
	references := cs[:2]
	for i := range group {
		p := &group[i]
		m, err := measure(ctx, e, p, cs)
		if err != nil {
			return fmt.Errorf("%d tokens: %w", p.Tokens, err)
		}
		for i, c := range cs {
			out := &row.Row{Label: fmt.Sprintf("%s M=%d", p.Shape(), p.Tokens), Status: row.OK,
				Execution: &row.Execution{Engine: e.Name(), Device: e.Device(), Requested: e.Requested()}}
			if c.err != nil {
				out.Status, out.Error = row.Failed, c.err.Error()
			} else {
				out.Execution.Kernel, out.Execution.Cache = c.layers[0].Kernel(), m.cache
				m.report(c, references, p, out)
			}
			if s.times == nil {
				s.times = map[string]*row.Row{}
			}
			s.times[forms[i].key(*p)] = out
		}
	}
	return nil
}

// prepare lays weights, of the shape of p, out in the form f.
func (f *form) prepare(e Engine, p *plan.Product, weights gemm.Matrix) (*contender, error) {
	c := &contender{variant: f.variant}
	if f.trial != nil && f.Quant != nil {
		if c.none = trial.Takes(*f.Quant, *f.trial, p.N, p.K); c.none != nil {
			return c, nil
		}
	}
	w, err := example(f, weights, p.Seed)
	if err != nil {
		c.none = err
		return c, nil
	}
	own := *p
	own.Scheme = f.Scheme
	return c, c.prepare(e, &own, w)
}

// Report adds the times of t's form to r, named by row.Speed. What was not timed is a
// warning that says why.
func (s *Speed) Report(t *plan.Trial, r *row.Row) {
	f, err := s.formOf(t)
	if err == nil {
		err = trial.Executable(*t)
	}
	if err != nil {
		r.Warnings = append(r.Warnings, fmt.Sprintf("speed: not timed: %v", err))
		return
	}
	for _, p := range t.Timed() {
		m := s.times[f.key(p)]
		if m == nil {
			r.Warnings = append(r.Warnings, fmt.Sprintf("speed: %s M=%d not timed", p.Shape(), p.Tokens))
			continue
		}
		if m.Status != row.OK {
			r.Warnings = append(r.Warnings, fmt.Sprintf("speed: %s not timed: %s", m.Label, m.Error))
			continue
		}
		for _, v := range m.Values {
			if v.Name != row.OutputNMSE {
				v.Name = row.Speed(m.Label, v.Name)
				r.Values = append(r.Values, v)
			}
		}
		r.Execution = m.Execution // its kernels executed the trial too, if any did
	}
}

func (s *Speed) engine(name string) (Engine, error) {
	if e := s.engines[name]; e != nil {
		return e, nil
	}
	e, err := Open(name)
	if err != nil {
		return nil, err
	}
	if s.engines == nil {
		s.engines = map[string]Engine{}
	}
	s.engines[name] = e
	return e, nil
}

// Close closes the engines that were opened.
func (s *Speed) Close() error {
	var errs []error
	for e := range maps.Values(s.engines) {
		errs = append(errs, e.Close())
	}
	s.engines = nil
	return errors.Join(errs...)
}
