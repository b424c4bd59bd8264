package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/variants"
	"github.com/mosaicquant/mosaicquant/quant"
)

// contender is a variant on its way through the repeats.
type contender struct {
	variant string
	scheme  string
	weights *Weights
	layers  []Layer // copies to rotate through, or one
	none    error   // why the engine does not execute it
	err     error   // why it has no times of the product at hand
	nmse    float64
	times   []float64
	batch   int // products of a repeat
	at      int // the copy that comes next
}

// prepare lays w out for the variants of p. cs is what earlier products with w have
// prepared, or nil; it is returned with the copies that it lacks.
func prepare(e Engine, p *plan.Product, w *Weights, cs []*contender) ([]*contender, error) {
	if cs == nil {
		for _, v := range p.Variants {
			cs = append(cs, &contender{variant: v})
		}
	}
	for _, c := range cs {
		if err := c.prepare(e, p, w); err != nil {
			return cs, err
		}
	}
	return cs, nil
}

// prepare lays w out for c until there are as many copies as the cache setting of p asks.
func (c *contender) prepare(e Engine, p *plan.Product, w *Weights) error {
	c.weights, c.scheme = w, p.Scheme
	for n := 1; len(c.layers) < n && c.none == nil; {
		l, err := e.Prepare(w, c.scheme, c.variant)
		var none *Unsupported
		if errors.As(err, &none) {
			c.none = err
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

// copies returns how many streams of some bytes to use in turn so that none is still in
// the cache when its turn comes again: the others are at least twice the cache.
func copies(bytes, cache int64) int { return int((2*cache+bytes-1)/bytes) + 1 }

// measured is a product after its repeats.
type measured struct {
	cache      string
	yardsticks []Yardstick
	samples    [][]float64 // of each yardstick
	state      map[string]float64
	batch      int // the most products of a repeat
}

// measure runs p. It returns early with ctx's error when ctx ends.
func measure(ctx context.Context, e Engine, p *plan.Product, cs []*contender) (*measured, error) {
	x := roundBF16(normal(p.Seed+1, p.Tokens, p.K))
	var run []*contender
	for _, c := range cs {
		c.times, c.err, c.nmse, c.at, c.batch = nil, c.none, 0, 0, 1
		if c.none != nil {
			continue
		}
		shortest := time.Duration(math.MaxInt64)
		for _, l := range c.layers {
			if err := l.Load(x); err != nil {
				return nil, err
			}
			took, err := l.Run()
			if err != nil {
				return nil, err
			}
			shortest = min(shortest, took)
		}
		if _, ok := e.(batcher); ok && p.Cache == "rotate" {
			c.batch = products(shortest)
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
	for _, c := range run {
		m.batch = max(m.batch, c.batch)
	}
	m.cache = map[string]string{
		"warm":   "warm: whatever the variants before left in it",
		"rotate": fmt.Sprintf("rotated: copies of the weights, each last touched more than %d MiB ago", 2*e.CacheBytes()>>20),
	}[p.Cache]
	if m.batch > 1 {
		m.cache += fmt.Sprintf("; a repeat is the mean of up to %d products in a row", m.batch)
	}
	runtime.GC()
	if err := m.warmUp(e, run); err != nil {
		return nil, err
	}
	for i := 0; i < p.Repeats || i < plan.MostRepeats*p.Repeats && !Resolved(timesOf(run), p.Resolution, i); i++ {
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
			took, err := c.run(e)
			if err != nil {
				return nil, err
			}
			if took <= 0 {
				return nil, fmt.Errorf("engine %s: %s took %v", e.Name(), c.variant, took)
			}
			c.times = append(c.times, took.Seconds()/float64(c.batch))
		}
	}
	if s, ok := e.(stater); ok {
		for name, v := range s.State() {
			m.note(name, v)
		}
	}
	return m, nil
}

// Resolved reports whether the ratios of all times to the first, repeat by repeat, are known to
// a resolution: whether their intervals reach no farther than this share of the median. It
// looks after every eighth repeat, since it takes as long as a product.
func Resolved(times [][]float64, resolution float64, repeats int) bool {
	const each = 8
	if resolution == 0 || len(times) < 2 {
		return true
	}
	if repeats%each > 0 {
		return false
	}
	for _, t := range times[1:] {
		if e := Bootstrap(Quotients(t, times[0])); !(max(e.High-e.Value, e.Value-e.Low) <= resolution*e.Value) {
			return false
		}
	}
	return true
}

func timesOf(run []*contender) [][]float64 {
	var times [][]float64
	for _, c := range run {
		times = append(times, c.times)
	}
	return times
}

// shortestBatch is what a repeat of an engine that is a batcher takes at least:
// 200 steps of a clock of half a microsecond.
const shortestBatch = 100 * time.Microsecond

// products is how many products of so long a repeat has.
func products(one time.Duration) int {
	const most = 128 // an engine queues all of them
	return int(max(1, min(most, (shortestBatch+one-1)/max(one, 1))))
}

// run multiplies by the copies that are next, and returns the time of all.
func (c *contender) run(e Engine) (time.Duration, error) {
	next := func() Layer {
		l := c.layers[c.at%len(c.layers)]
		c.at++
		return l
	}
	if c.batch == 1 {
		return next().Run()
	}
	var all []Layer
	for range c.batch {
		all = append(all, next())
	}
	return e.(batcher).RunAll(all)
}

// warmUp runs the contenders by turns for as long as the engine asks, so that the
// device's clocks are those of work, and notes them.
func (m *measured) warmUp(e Engine, run []*contender) error {
	w, ok := e.(warmer)
	if !ok || len(run) == 0 {
		return nil
	}
	for start, i := time.Now(), 0; i == 0 || time.Since(start) < w.WarmUp(); i++ {
		if _, err := run[i%len(run)].run(e); err != nil {
			return err
		}
	}
	if s, ok := e.(stater); ok {
		for name, v := range s.State() {
			m.note(name+", before", v)
		}
	}
	return nil
}

func (m *measured) note(name string, v float64) {
	if m.state == nil {
		m.state = map[string]float64{}
	}
	m.state[name] = v
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
	if c.variant != variants.W16A16 {
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
