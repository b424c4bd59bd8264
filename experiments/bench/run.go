package bench

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/experiments/trial"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/row"
)

// Options of a run.
type Options struct {
	Dir   string // results folder
	Fresh bool   // measure again what is finished
	// Progress is told of every product that was measured, and whether its rows
	// were there already; may be nil.
	Progress func(rows []*row.Row, finished bool, took time.Duration)
	Note     func(format string, args ...any)
}

// Result is what a run did.
type Result struct {
	Rows     []*row.Row // of the file's products and generations, in its order
	Finished int        // rows found finished
	Failed   int
}

// Run measures what b asks for into o.Dir and returns its rows. Rows that this
// program measured on this device are not measured again, unless a variant
// beside them is missing: those of one product are measured together. When ctx
// ends, the product at hand is dropped and ctx's error returned.
func Run(ctx context.Context, lab *trial.Lab, b *plan.Bench, o Options) (res *Result, err error) {
	res = &Result{}
	if o.Progress == nil {
		o.Progress = func([]*row.Row, bool, time.Duration) {}
	}
	if o.Note == nil {
		o.Note = func(string, ...any) {}
	}
	e, err := Open(b.Engine)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	if f, ok := e.(warner); ok && f.Warning() != "" {
		o.Note("%s", f.Warning())
	}
	w, warning, err := row.OpenWriter(o.Dir)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	if warning != "" {
		o.Note("%s", warning)
	}
	resolved, err := b.YAML()
	if err != nil {
		return nil, err
	}
	if err := row.WriteFile(filepath.Join(o.Dir, "config.yaml"), resolved); err != nil {
		return nil, err
	}
	env, err := row.SaveEnvironment(o.Dir, row.Capture(gemm.Kernel(), gemm.Features()))
	if err != nil {
		return nil, err
	}
	rows, _, err := row.ReadFile(filepath.Join(o.Dir, row.File))
	if err != nil {
		return nil, err
	}
	r := &runner{engine: e, cpu: cpuDevice(), o: o, writer: w, env: env, done: map[string]*row.Row{},
		res: res, content: map[string]string{
			"epoch": revision, "engine": e.Name(), "device": e.Device(), "requested": e.Requested(), "program": program(),
		}}
	for _, d := range row.Merge(rows) {
		if d.Status == row.OK && !o.Fresh {
			r.done[d.Trial] = &d
		}
	}
	for _, group := range byWeights(b.Products) {
		if err := r.products(ctx, group); err != nil {
			return res, err
		}
	}
	for i := range b.Generations {
		if err := r.generation(ctx, lab, &b.Generations[i]); err != nil {
			return res, err
		}
	}
	return res, nil
}

// Open opens the named engine, or for auto the best one there is. Where this
// program has the engine but the machine lacks what it needs, the CPU takes its
// place, and says so in every row.
func Open(name string) (Engine, error) {
	wanted := name
	if name == "auto" {
		if wanted = "cuda"; Engines[wanted] == nil {
			wanted = "cpu"
		}
	}
	open := Engines[wanted]
	if open == nil {
		return nil, fmt.Errorf("engine %s: this program was built without it (go build -tags %s)", name, name)
	}
	e, err := open()
	if err == nil || wanted == "cpu" {
		return e, err
	}
	instead, cpuErr := Engines["cpu"]()
	if cpuErr != nil {
		return nil, errors.Join(err, cpuErr)
	}
	return &fallback{instead, name, err}, nil
}

// revision is part of every row's identity, under its older name epoch. Raise it when
// the protocol changes.
const revision = "1"

// program is the hash of the running program: a time belongs to the code that
// took it.
var program = sync.OnceValue(func() string {
	path, err := os.Executable()
	if err != nil {
		return "unknown"
	}
	f, err := os.Open(path)
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "unknown"
	}
	return hex.EncodeToString(h.Sum(nil))
})

type runner struct {
	engine  Engine
	o       Options
	writer  *row.Writer
	env     string
	cpu     string // the device of generations
	content map[string]string
	weights lastWeights
	done    map[string]*row.Row
	res     *Result
}

// byWeights groups products that multiply by the same matrices, in the order in
// which they first appear.
func byWeights(all []plan.Product) [][]plan.Product {
	var groups [][]plan.Product
	for _, p := range all {
		i := slices.IndexFunc(groups, func(g []plan.Product) bool {
			o := g[0]
			o.Tokens = p.Tokens
			return identity(o, "", nil) == identity(p, "", nil)
		})
		if i < 0 {
			groups = append(groups, nil)
			i = len(groups) - 1
		}
		groups[i] = append(groups[i], p)
	}
	return groups
}

// lastWeights is the matrix that was made last: schemes and variants share it.
type lastWeights struct {
	id string
	w  *Weights
}

// of returns the matrix of p.
func (l *lastWeights) of(p *plan.Product) *Weights {
	same := *p
	same.Model, same.Layer, same.Scheme, same.Tokens, same.Timing = "", "", "", 0, plan.Timing{Seed: p.Seed}
	if id := identity(same, "", nil); l.w == nil || l.id != id {
		l.id, l.w = id, Random(p.N, p.K, &p.Layout, p.Seed)
	}
	return l.w
}

// identity is the trial of a variant of p.
func identity(what any, variant string, content map[string]string) string {
	data, err := json.Marshal(struct {
		Measured any               `json:"measured"`
		Variant  string            `json:"variant"`
		Content  map[string]string `json:"content"`
	}{what, variant, content})
	if err != nil {
		panic("bench: " + err.Error()) // plan lets no NaN through
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

// products measures products of one matrix.
func (r *runner) products(ctx context.Context, group []plan.Product) (err error) {
	var cs []*contender
	defer func() { err = errors.Join(err, closeAll(cs)) }()
	for i := range group {
		p := &group[i]
		start := time.Now()
		rows := r.describe(p)
		if found := r.finished(rows); found != nil {
			r.res.Finished += len(found)
			r.res.Rows = append(r.res.Rows, found...)
			r.o.Progress(found, true, 0)
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if cs, err = prepare(r.engine, p, r.weights.of(p), cs); err != nil {
			return fmt.Errorf("%s: %w", p.Shape(), err)
		}
		m, err := measure(ctx, r.engine, p, cs)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("%s, %d tokens: %w", p.Shape(), p.Tokens, err)
		}
		for i, c := range cs {
			out := rows[i]
			out.Execution.State = m.state
			if c.err != nil {
				out.Status, out.Error = row.Failed, c.err.Error()
				r.res.Failed++
			} else {
				out.Execution.Kernel, out.Execution.Cache = c.layers[0].Kernel(), m.cache
				m.report(c, cs, p, out)
			}
		}
		if err := r.save(rows); err != nil {
			return err
		}
		r.o.Progress(rows, false, time.Since(start))
	}
	return nil
}

func closeAll(cs []*contender) error {
	var errs []error
	for _, c := range cs {
		for _, l := range c.layers {
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(errs...)
}

// finished returns the rows of earlier runs in place of rows, or nil unless all
// are there.
func (r *runner) finished(rows []*row.Row) []*row.Row {
	var found []*row.Row
	for _, o := range rows {
		d := r.done[o.Trial]
		if d == nil {
			return nil
		}
		found = append(found, d)
	}
	return found
}

// save appends the rows of a product.
func (r *runner) save(rows []*row.Row) error {
	for _, o := range rows {
		if err := o.Storable(); err != nil {
			o.Fail(err)
			r.res.Failed++
		}
		if err := r.writer.Append(o); err != nil {
			return fmt.Errorf("cannot save the row of %s: %w", o.Label, err)
		}
	}
	r.res.Rows = append(r.res.Rows, rows...)
	return nil
}

// describe returns the rows of p without results.
func (r *runner) describe(p *plan.Product) []*row.Row {
	var rows []*row.Row
	for _, v := range p.Variants {
		axes := layoutAxes(&p.Layout)
		axes["bench"], axes["engine"], axes["variant"] = "product", r.engine.Name(), v
		axes["shape"], axes["tokens"], axes["cache"] = fmt.Sprintf("%dx%d", p.N, p.K), strconv.Itoa(p.Tokens), p.Cache
		if p.Model != "" {
			axes["model"], axes["layer"] = p.Model, p.Layer
		}
		label := fmt.Sprintf("%s, %s, M=%d %s", p.Shape(), describeLayout(&p.Layout), p.Tokens, v)
		rows = append(rows, r.newRow(p, v, label, axes))
	}
	return rows
}

// newRow returns the row of a variant without results.
func (r *runner) newRow(what any, variant, label string, axes map[string]string) *row.Row {
	config, err := json.Marshal(what)
	if err != nil {
		panic("bench: " + err.Error()) // plan lets no NaN through
	}
	out := &row.Row{
		Schema: row.Schema, Trial: identity(what, variant, r.content), Label: label, Axes: axes, Config: config,
		Env: r.env, Status: row.OK, Start: time.Now().UTC().Format(time.RFC3339),
		Execution: &row.Execution{Engine: r.engine.Name(), Device: r.engine.Device(), Requested: r.engine.Requested()},
	}
	if e, ok := r.engine.(warner); ok {
		if text := e.Warning(); text != "" {
			out.Warnings = append(out.Warnings, text)
		}
	}
	return out
}

func layoutAxes(l *plan.Layout) map[string]string {
	axes := map[string]string{"scheme": l.Scheme, "group": "row", "density": share(l.Density)}
	if l.Group > 0 {
		axes["group"] = strconv.Itoa(l.Group)
	}
	if l.Density > 0 {
		axes["block"], axes["residual_scale"] = l.Block.String(), "block"
		switch {
		case l.RowScale:
			axes["residual_scale"] = "row"
		case l.HalfSteps:
			axes["residual_scale"], axes["index"] = "half", cmp.Or(l.Index, "rows")
		}
	}
	if l.Outliers > 0 {
		axes["outliers"] = share(l.Outliers)
	}
	return axes
}

func share(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// describeLayout is "w4a8 g128 10% 16x64".
func describeLayout(l *plan.Layout) string {
	text := l.Scheme + " per-row"
	if l.Group > 0 {
		text = fmt.Sprintf("%s g%d", l.Scheme, l.Group)
	}
	if l.Density > 0 {
		text += fmt.Sprintf(" %.4g%% %s", 100*l.Density, l.Block)
		switch {
		case l.RowScale:
			text += " row-scale"
		case l.HalfSteps:
			text += " half-steps " + cmp.Or(l.Index, "rows")
		}
	}
	if l.Outliers > 0 {
		text += fmt.Sprintf(" %.4g%% outliers", 100*l.Outliers)
	}
	return text
}
