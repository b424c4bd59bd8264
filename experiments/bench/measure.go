package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/quant"
)

// contender is a variant on its way through the repeats.
type contender struct {
	variant string
	scheme  string
	weights *Weights
	layers  []Layer // copies to rotate through, or one
	err     error   // why it does not run
	nmse    float64
	times   []float64
}

// prepare lays w out for the variants of p.
func prepare(e Engine, p *plan.Product, w *Weights) ([]*contender, error) {
	var cs []*contender
	for _, v := range p.Variants {
		c := &contender{variant: v}
		cs = append(cs, c)
		if err := c.prepare(e, p, w); err != nil {
			return cs, err
		}
	}
	return cs, nil
}

// prepare lays w out for c, as often as the cache setting of p asks.
func (c *contender) prepare(e Engine, p *plan.Product, w *Weights) error {
	c.weights, c.scheme = w, p.Scheme
	for n := 1; len(c.layers) < n; {
		l, err := e.Prepare(w, c.scheme, c.variant)
		var none *Unsupported
		if errors.As(err, &none) {
			c.err = err
			return nil
		}
		if err != nil {
			return err
		}
		c.layers = append(c.layers, l)
		if p.Cache == "rotate" {
			n = copies(l.Bytes(p.Tokens), e.CacheBytes())
		}
	}
	return nil
}

// copies is how many streams of so many bytes it takes for each to be forgotten
// before it comes round again: twice the cache lies between.
func copies(bytes, cache int64) int { return int((2*cache+bytes-1)/bytes) + 1 }

// measured is a product after its repeats.
type measured struct {
	cache      string
	yardsticks []Yardstick
	samples    [][]float64 // of each yardstick
}

// measure runs p. It returns early with ctx's error when ctx ends.
func measure(ctx context.Context, e Engine, p *plan.Product, cs []*contender) (*measured, error) {
	x := roundBF16(normal(p.Seed+1, p.Tokens, p.K))
	var run []*contender
	for _, c := range cs {
		c.times = nil
		if len(c.layers) == 0 {
			continue
		}
		for _, l := range c.layers {
			if err := l.Load(x); err != nil {
				return nil, err
			}
			if _, err := l.Run(); err != nil {
				return nil, err
			}
		}
		if err := c.check(p, x); err != nil {
			return nil, err
		}
		if c.err == nil {
			run = append(run, c)
		}
	}
	m := &measured{yardsticks: e.Yardsticks(p.Scheme)}
	m.samples = make([][]float64, len(m.yardsticks))
	m.cache = map[string]string{
		"warm":   "warm: whatever the variants before left in it",
		"rotate": fmt.Sprintf("rotated: copies of the weights, each last touched more than %d MiB ago", 2*e.CacheBytes()>>20),
	}[p.Cache]
	runtime.GC()
	for i := range p.Repeats {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		for j, y := range m.yardsticks {
			v, err := y.Sample()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", y.Name, err)
			}
			m.samples[j] = append(m.samples[j], v)
		}
		for j := range run {
			c := run[(i+j)%len(run)] // each comes after each other
			if p.Cache == "flush" {
				m.cache = e.Flush()
			}
			took, err := c.layers[i%len(c.layers)].Run()
			if err != nil {
				return nil, err
			}
			if took <= 0 {
				return nil, fmt.Errorf("engine %s: %s took %v", e.Name(), c.variant, took)
			}
			c.times = append(c.times, took.Seconds())
		}
	}
	return m, nil
}

// checkedRows is how many rows of W the check of an output looks at.
const checkedRows = 64

// tolerance is the largest ||Y - reference||² / ||reference||² of a check. A code
// or an activation rounded to bfloat16 gives some 1e-6; a forgotten residual,
// scale or row far more than this.
const tolerance = 1e-4

// check compares the output with a float64 product of some rows of W, and sets
// c.err where they differ.
func (c *contender) check(p *plan.Product, x gemm.Matrix) error {
	y, err := c.layers[len(c.layers)-1].Output()
	if err != nil {
		return err
	}
	if y.Rows != x.Rows || y.Cols != p.N {
		return fmt.Errorf("%s: output is %dx%d, want %dx%d", c.variant, y.Rows, y.Cols, x.Rows, p.N)
	}
	in := x.View(0, min(4, x.Rows), 0, x.Cols).Clone()
	if c.variant != plan.W16A16 {
		activations(c.scheme).Apply(in)
	}
	q, weights := c.weights.Of(c.variant), gemm.NewMatrix(1, p.K)
	var lost, total float64
	for i := range min(checkedRows, p.N) {
		n := i * p.N / min(checkedRows, p.N)
		q.Load(weights, n, 0)
		for t := range in.Rows {
			var want float64
			for k, v := range in.Row(t) {
				want += float64(v) * float64(weights.Data[k])
			}
			d := float64(y.Row(t)[n]) - want
			lost += d * d
			total += want * want
		}
	}
	if c.nmse = lost / total; !(c.nmse < tolerance) {
		c.nmse, c.err = 0, fmt.Errorf("its output is not the product: normalised squared error %.3g", lost/total)
	}
	return nil
}

// activations returns what a scheme rounds its inputs to.
func activations(scheme string) quant.Activations {
	switch scheme {
	case "w4a8":
		return quant.A8
	case "w4a4":
		return quant.A4
	case "w4a16":
		return quant.A16
	}
	panic("bench: unknown scheme " + scheme) // plan has checked it
}

// report writes what c took into r, and its ratios to references.
func (m *measured) report(c *contender, references []*contender, p *plan.Product, r *row.Row) {
	bytes := float64(c.layers[0].Bytes(p.Tokens))
	flops := 2 * float64(p.Tokens) * float64(p.N) * float64(p.K)
	add := func(name, unit string, v []float64) {
		e := Bootstrap(v)
		r.Values = append(r.Values, row.Value{Name: name, Value: e.Value, Unit: unit, Low: &e.Low, High: &e.High})
	}
	add(row.Time, "s", c.times)
	add(row.Bandwidth, "B/s", per(bytes, c.times))
	add(row.Rate, "FLOP/s", per(flops, c.times))
	r.Execution.Yardsticks = map[string]string{}
	for _, y := range m.yardsticks {
		r.Execution.Yardsticks[y.Name] = y.What
	}
	r.Series = append(r.Series, row.Series{Name: row.Time, Unit: "s", Values: c.times})
	for i, y := range m.yardsticks {
		samples := m.samples[i]
		switch y.Name {
		case row.ReadBandwidth:
			add(row.BandwidthShare, "", Quotients(per(bytes, c.times), samples))
			add(y.Name, "B/s", samples)
			r.Series = append(r.Series, row.Series{Name: y.Name, Unit: "B/s", Values: samples})
		case row.PeakRate:
			add(row.RateShare, "", Quotients(per(flops, c.times), samples))
			add(y.Name, "FLOP/s", samples)
			r.Series = append(r.Series, row.Series{Name: y.Name, Unit: "FLOP/s", Values: samples})
		}
	}
	for _, o := range references {
		if o != c && len(o.times) > 0 {
			add(row.TimeOver(o.variant), "", Quotients(c.times, o.times))
		}
	}
	r.Values = append(r.Values, row.Value{Name: row.WeightBytes, Value: bytes, Unit: "B"},
		row.Value{Name: row.OutputNMSE, Value: c.nmse})
	if math.IsInf(bytes, 0) || bytes <= 0 {
		r.Warnings = append(r.Warnings, "the engine does not tell how many bytes it reads")
	}
}
