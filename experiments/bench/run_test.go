package bench

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/experiments/trial"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/variants"
	"github.com/mosaicquant/mosaicquant/quant"
)

// fake is an engine of known times: in repeat i the machine is 1+i times slower
// for everybody, dense4 takes 1 ms on it, zipper 1.25 ms. separate computes
// something else, and outlier16 has no kernel.
type fake struct {
	repeat  int
	order   string // initials of what ran
	flushed int
	closed  int
	cancel  func() // called in the second repeat
}

func (e *fake) Name() string      { return "cuda" }
func (e *fake) Device() string    { return "a fake" }
func (e *fake) Requested() string { return "auto" }
func (e *fake) CacheBytes() int64 { return 1000 }
func (e *fake) Flush() string     { e.flushed++; return "flushed" }
func (e *fake) Close() error      { e.closed++; return nil }

func (e *fake) Yardsticks(string) []Yardstick {
	return []Yardstick{{row.ReadBandwidth, "invented", func() (float64, error) {
		e.repeat++
		if e.repeat == 2 && e.cancel != nil {
			e.cancel()
		}
		e.order += " "
		return 1e6 / float64(e.repeat), nil
	}}}
}

func (e *fake) Prepare(w *Weights, scheme, variant string) (Layer, error) {
	if variant == variants.Outlier16 {
		return nil, &Unsupported{"cuda", scheme, variant, "none was written"}
	}
	return &fakeLayer{engine: e, variant: variant, w: w.Of(variant)}, nil
}

type fakeLayer struct {
	engine  *fake
	variant string
	w       *quant.Quantized
	x       gemm.Matrix
}

func (l *fakeLayer) Bytes(int) int64          { return 600 }
func (l *fakeLayer) Load(x gemm.Matrix) error { l.x = x; return nil }
func (l *fakeLayer) Kernel() string           { return "k-" + l.variant }
func (l *fakeLayer) Close() error             { l.engine.closed++; return nil }

func (l *fakeLayer) Run() (time.Duration, error) {
	l.engine.order += l.variant[:1]
	took := time.Millisecond
	if l.variant == variants.Zipper {
		took = 1250 * time.Microsecond
	}
	return took * time.Duration(1+l.engine.repeat), nil
}

func (l *fakeLayer) Output() (gemm.Matrix, error) {
	x := l.x.Clone()
	quant.A8.Apply(x)
	n, _ := l.w.Dims()
	y := gemm.NewMatrix(x.Rows, n)
	w := l.w
	if l.variant == variants.Separate {
		w = &quant.Quantized{Base: w.Base} // it forgets the residual
	}
	gemm.MulNT(y, x, w)
	return y, nil
}

const fakeBench = `
name: fake
engine: cuda
repeats: 4
products:
  - {shapes: 64x256, tokens: [1, 3], block: 16x16, variants: [dense4, separate, outlier16, zipper]}
`

func runFake(t *testing.T, ctx context.Context, dir, yaml string, e *fake, fresh bool) (*Result, []row.Row, error) {
	t.Helper()
	Engines["cuda"] = func() (Engine, error) { return e, nil }
	defer delete(Engines, "cuda")
	b, err := plan.ParseBench("fake.yaml", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	res, err := Run(ctx, &trial.Lab{}, b, Options{Dir: dir, Fresh: fresh})
	rows, _, err2 := row.ReadFile(filepath.Join(dir, row.File))
	if err2 != nil {
		t.Fatal(err2)
	}
	return res, rows, err
}

func TestRun(t *testing.T) {
	dir, e := t.TempDir(), &fake{}
	res, rows, err := runFake(t, t.Context(), dir, fakeBench, e, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 8 || len(res.Rows) != 8 || res.Failed != 4 || e.closed != 4 {
		t.Fatalf("%d rows, %+v, %d closed", len(rows), res, e.closed)
	}
	// A warm-up of all, then each repeat begins with the next that runs; the same
	// weights serve the other number of tokens.
	if want := "dsz dz zd dz zddsz dz zd dz zd"; e.order != want || e.flushed != 16 {
		t.Errorf("ran %q, want %q; flushed %d times", e.order, want, e.flushed)
	}
	by := map[string]row.Row{}
	for _, r := range rows {
		if r.Axes["tokens"] == "3" {
			by[r.Axes["variant"]] = r
		}
	}
	z := by[variants.Zipper]
	value := func(name string, want float64) {
		t.Helper()
		v, ok := z.Value(name)
		if !ok || !(math.Abs(v.Value-want) <= 1e-12*want) || v.Low == nil || !(*v.Low <= v.Value && v.Value <= *v.High) {
			t.Errorf("%s is %+v, want %v", name, v, want)
		}
	}
	// Times are 1.25 ms times 6, 7, 8 and 9: the machine slows down. Ratios and
	// shares, within a repeat, do not see it.
	value(row.Time, 1.25e-3*7.5)
	value(row.TimeOver(variants.Dense4), 1.25)
	if v, _ := z.Value(row.TimeOver(variants.Dense4)); *v.Low != *v.High {
		t.Errorf("ratio of equal ratios: %v to %v", *v.Low, *v.High)
	}
	if v, _ := z.Value(row.Time); *v.Low >= *v.High {
		t.Errorf("interval of time: %v to %v", *v.Low, *v.High)
	}
	if s := z.Windows(row.Time); len(s) != 4 {
		t.Errorf("repeats %v", s)
	}
	if v, ok := z.Value(row.TimeOver(variants.Separate)); ok {
		t.Errorf("a ratio to a wrong product: %+v", v)
	}
	if v, _ := z.Value(row.OutputNMSE); !(v.Value < 1e-10) {
		t.Errorf("check: %v", v.Value)
	}
	if x := z.Execution; x == nil || x.Kernel != "k-zipper" || x.Cache != "flushed" || x.Yardsticks[row.ReadBandwidth] != "invented" || x.Engine != "cuda" {
		t.Errorf("execution %+v", x)
	}
	if r := by[variants.Separate]; r.Status != row.Failed || !strings.Contains(r.Error, "not the product") || len(r.Values) != 0 {
		t.Errorf("separate: %+v", r)
	}
	if r := by[variants.Outlier16]; r.Status != row.Failed || r.Error != "engine cuda has no kernel for w4a8 outlier16: none was written" {
		t.Errorf("outlier16: %+v", r)
	}
	if _, err := os.Stat(filepath.Join(dir, "config.yaml")); err != nil {
		t.Error(err)
	}
}

func TestResume(t *testing.T) {
	dir := t.TempDir()
	yaml := strings.Replace(fakeBench, "separate, outlier16, ", "", 1)
	ctx, cancel := context.WithCancel(t.Context())
	e := &fake{cancel: cancel}
	if _, rows, err := runFake(t, ctx, dir, yaml, e, false); !errors.Is(err, context.Canceled) || len(rows) != 0 || e.closed != 3 {
		t.Fatalf("interrupted in the first product: %v, %d rows, %d closed", err, len(rows), e.closed)
	}
	one := strings.Replace(yaml, "[1, 3]", "3", 1)
	if res, rows, err := runFake(t, t.Context(), dir, one, &fake{}, false); err != nil || len(rows) != 2 || res.Finished != 0 {
		t.Fatalf("one product: %v, %d rows, %+v", err, len(rows), res)
	}
	res, rows, err := runFake(t, t.Context(), dir, yaml, &fake{}, false)
	if err != nil || len(rows) != 4 || res.Finished != 2 || len(res.Rows) != 4 {
		t.Fatalf("the rest: %v, %d rows, %+v", err, len(rows), res)
	}
	if res.Rows[0].Axes["tokens"] != "1" || res.Rows[3].Axes["tokens"] != "3" {
		t.Error("rows are not in the order of the file")
	}
	if res, rows, err = runFake(t, t.Context(), dir, yaml, &fake{}, true); err != nil || len(rows) != 8 || res.Finished != 0 || len(row.Merge(rows)) != 4 {
		t.Fatalf("afresh: %v, %d rows, %+v", err, len(rows), res)
	}
	if res, rows, err = runFake(t, t.Context(), dir, strings.Replace(yaml, "repeats: 4", "repeats: 5", 1), &fake{}, false); err != nil || len(rows) != 12 || res.Finished != 0 {
		t.Fatalf("more repeats: %v, %d rows, %+v", err, len(rows), res)
	}
}

func TestRotate(t *testing.T) {
	e := &fake{}
	yaml := strings.Replace(fakeBench, "repeats: 4", "repeats: 4\ncache: rotate", 1)
	yaml = strings.Replace(yaml, "tokens: [1, 3], block: 16x16, variants: [dense4, separate, outlier16, zipper]", "block: 16x16, variants: [dense4, zipper]", 1)
	_, rows, err := runFake(t, t.Context(), t.TempDir(), yaml, e, false)
	if err != nil {
		t.Fatal(err)
	}
	// 600 bytes a copy: 4 others are more than twice the cache of 1000 bytes.
	if n := copies(600, 1000); n != 5 || e.closed != 2*n+1 || e.flushed != 0 || !strings.Contains(rows[0].Execution.Cache, "rotated") {
		t.Errorf("%d copies, %d closed, %d flushes, %q", n, e.closed, e.flushed, rows[0].Execution.Cache)
	}
}

// quick is a fake whose products take 3 µs, as on a GPU, and are timed together.
type quick struct {
	fake
	batches [][]Layer
}

func (e *quick) Prepare(w *Weights, scheme, variant string) (Layer, error) {
	l, err := e.fake.Prepare(w, scheme, variant)
	return &quickLayer{l.(*fakeLayer)}, err
}
func (e *quick) RunAll(layers []Layer) (time.Duration, error) {
	e.batches = append(e.batches, layers)
	return time.Duration(len(layers)) * 3 * time.Microsecond, nil
}
func (e *quick) WarmUp() time.Duration { return time.Microsecond }
func (e *quick) State() map[string]float64 {
	return map[string]float64{"batches": float64(len(e.batches))}
}

type quickLayer struct{ *fakeLayer }

func (l *quickLayer) Run() (time.Duration, error) { return 3 * time.Microsecond, nil }

// TestBatches: short products are timed by the batch, which goes on through the
// copies where the last one ended; clocks are noted before and after; tokens
// share copies.
func TestBatches(t *testing.T) {
	e := &quick{}
	Engines["cuda"] = func() (Engine, error) { return e, nil }
	defer delete(Engines, "cuda")
	b, err := plan.ParseBench("quick.yaml", []byte("{name: q, engine: cuda, repeats: 4, cache: rotate, products: [{shapes: 64x256, tokens: [1, 3], block: 16x16, variants: [dense4]}]}"))
	if err != nil {
		t.Fatal(err)
	}
	res, err := Run(t.Context(), &trial.Lab{}, b, Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if e.closed != 5+1 {
		t.Errorf("%d closed, want 5 copies for both products, and the engine", e.closed)
	}
	const want = 34 // 100 µs of 3
	at := map[Layer]int{}
	for i, l := range e.batches[0][:5] {
		at[l] = i
	}
	n := 0
	for _, batch := range e.batches[:5] { // of the first product: a warm-up and 4 repeats, at least
		if len(batch) != want || len(at) != 5 {
			t.Fatalf("a batch of %d over %d copies", len(batch), len(at))
		}
		for _, l := range batch {
			if at[l] != n%5 {
				t.Fatalf("product %d is of copy %d", n, at[l])
			}
			n++
		}
	}
	r := res.Rows[0]
	if got := r.Series[0].Values[0]; math.Abs(got-3e-6) > 1e-12 {
		t.Errorf("a product takes %g s", got)
	}
	if s := r.Execution.State; s["batches, before"] < 1 || s["batches"] != s["batches, before"]+4 {
		t.Errorf("state %v", s)
	}
	if !strings.Contains(r.Execution.Cache, "34 products") {
		t.Errorf("the row does not tell of batches: %q", r.Execution.Cache)
	}
}

func TestNoEngine(t *testing.T) {
	b := &plan.Bench{Engine: "cuda"}
	if _, err := Run(t.Context(), &trial.Lab{}, b, Options{Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "built without it") {
		t.Error(err)
	}
}

// TestRandom: what is drawn is what quant would store, of the asked share.
func TestRandom(t *testing.T) {
	for _, c := range []struct {
		n, k int
		l    plan.Layout
	}{
		{64, 256, plan.Layout{Group: 128, Density: 0.25, Block: plan.Block{Rows: 16, Cols: 16}}},
		{33, 101, plan.Layout{Density: 0.5, Block: plan.Block{Rows: 16, Cols: 8}, RowScale: true}},
		{32, 96, plan.Layout{Group: 32, Outliers: 0.05}},
		{300, 300, plan.Layout{Group: 100, Density: 1, Block: plan.Block{Rows: 1, Cols: 24}}},
	} {
		c.l.Variants = variants.All
		w := Random(c.n, c.k, &c.l, 1)
		for _, q := range []*quant.Quantized{w.Packed, w.Outlier} {
			data, err := q.MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			var again quant.Quantized
			if err := again.UnmarshalBinary(data); err != nil {
				t.Errorf("%dx%d %+v: %v", c.n, c.k, c.l, err)
			}
		}
		if d := w.Packed.Density(); math.Abs(d-c.l.Density) > 0.02 {
			t.Errorf("density %v, want %v", d, c.l.Density)
		}
		if d := w.Outlier.Density(); c.l.Outliers > 0 && math.Abs(d-c.l.Outliers) > 0.001 {
			t.Errorf("outliers %v, want %v", d, c.l.Outliers)
		}
		a, b := w.Packed.Ledger().Total(), w.Outlier.Ledger().Total()
		if c.l.Outliers == 0 && c.l.Density < 1 && math.Abs(float64(a-b)) > 0.02*float64(a)+8*float64(c.n) {
			t.Errorf("%d bytes with a residual, %d with outliers", a, b)
		}
	}
}
