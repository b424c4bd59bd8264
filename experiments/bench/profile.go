package bench

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
)

// profiler is an engine that can tell a profiler when to look.
type profiler interface{ Profile(func() error) error }

// Profile runs every product of b once where a profiler looks, such as
//
//	ncu --profile-from-start off ... bench --profile
//
// and prints what ran, in order. Choosing tiles and everything else comes before.
// It writes no rows: times under a profiler are not those of a run.
func Profile(ctx context.Context, out io.Writer, b *plan.Bench) (err error) {
	e, err := Open(b.Engine)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	f, ok := e.(profiler)
	if !ok {
		return fmt.Errorf("engine %s (%s) has no profiler to tell", e.Name(), e.Requested())
	}
	var weights lastWeights
	for i := range b.Products {
		p := b.Products[i]
		p.Cache = "warm" // the profiler flushes
		if err := profile(ctx, out, e, f, &p, weights.of(&p)); err != nil {
			return fmt.Errorf("%s, %d tokens: %w", p.Shape(), p.Tokens, err)
		}
	}
	return nil
}

func profile(ctx context.Context, out io.Writer, e Engine, f profiler, p *plan.Product, w *Weights) (err error) {
	cs, err := prepare(e, p, w, nil)
	defer func() { err = errors.Join(err, closeAll(cs)) }()
	if err != nil {
		return err
	}
	x := roundBF16(normal(p.Seed+1, p.Tokens, p.K))
	for _, c := range cs {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := fmt.Sprintf("%s, %s, M=%d %s", p.Shape(), describeLayout(&p.Layout), p.Tokens, c.variant)
		if c.none != nil {
			fmt.Fprintf(out, "%s: not profiled: %v\n", name, c.none)
			continue
		}
		l := c.layers[0]
		if err := l.Load(x); err != nil {
			return err
		}
		if _, err := l.Run(); err != nil {
			return err
		}
		if err := c.check(p, x); err != nil {
			return err
		}
		if c.err != nil {
			return c.err
		}
		if err := f.Profile(func() error { _, err := l.Run(); return err }); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: %s\n", name, l.Kernel())
	}
	return nil
}
