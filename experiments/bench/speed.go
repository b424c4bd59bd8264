package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/experiments/trial"
	"github.com/mosaicquant/mosaicquant/internal/row"
)

// Speed adds times of layers to the rows of a sweep's trials. It keeps what it has
// measured: trials whose weights have the same form share their times.
// The zero value is ready; Close it at the end. Not for concurrent use: a
// measurement wants the machine for itself.
type Speed struct {
	engines map[string]Engine
	rows    map[string]*row.Row // by product and variant
}

// Measure times the products that t asks for and adds their values to r, named by
// row.Speed. What has no kernel is a warning in r.
func (s *Speed) Measure(ctx context.Context, t *plan.Trial, r *row.Row) error {
	if err := trial.Executable(*t); err != nil {
		r.Warnings = append(r.Warnings, fmt.Sprintf("speed: not timed: %v", err))
		return nil
	}
	products, own, why := t.Products()
	if why != "" {
		r.Warnings = append(r.Warnings, "speed: not timed: "+why)
		return nil
	}
	e, err := s.engine(t.Speed.Engine)
	if err != nil {
		return fmt.Errorf("speed: %w", err)
	}
	for _, group := range byWeights(products) {
		if err := s.group(ctx, e, group, own); err != nil {
			return err
		}
		for i := range group {
			m := s.rows[identity(&group[i], own, nil)]
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
	return nil
}

// group measures products of one matrix, unless they were measured before.
func (s *Speed) group(ctx context.Context, e Engine, group []plan.Product, own string) (err error) {
	var w *Weights
	var cs []*contender
	defer func() { err = errors.Join(err, closeAll(cs)) }()
	for i := range group {
		p := &group[i]
		id := identity(p, own, nil)
		if s.rows[id] != nil {
			continue
		}
		if w == nil {
			w = Random(p.N, p.K, &p.Layout, p.Seed)
		}
		if cs, err = prepare(e, p, w, cs); err != nil {
			return fmt.Errorf("speed: %s: %w", p.Shape(), err)
		}
		m, err := measure(ctx, e, p, w, cs)
		if err != nil {
			return fmt.Errorf("speed: %s: %w", p.Shape(), err)
		}
		for _, c := range cs {
			if c.variant != own {
				continue
			}
			out := &row.Row{Label: fmt.Sprintf("%s M=%d", p.Shape(), p.Tokens), Status: row.OK,
				Execution: &row.Execution{Engine: e.Name(), Device: e.Device(), Requested: e.Requested()}}
			if c.err != nil {
				out.Status, out.Error = row.Failed, c.err.Error()
			} else {
				out.Execution.Kernel, out.Execution.Cache = c.layers[0].Kernel(), m.cache
				m.report(c, p, out)
			}
			if s.rows == nil {
				s.rows = map[string]*row.Row{}
			}
			s.rows[id] = out
		}
	}
	return nil
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
