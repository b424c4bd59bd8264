// Command bench-ggml times package zipper beside ggml's products of 4-bit weights on this
// machine, in turns: the yardstick of who runs 4-bit models on CPUs today. It fetches
// nothing: ggml's sources are github.com/ggml-org/ggml, and lie in llama.cpp under ggml.
// Build the driver, then run both, with nothing else on the machine:
//
//	cmake -S scripts/bench-ggml/driver -B /tmp/ggml -DCMAKE_BUILD_TYPE=Release -DGGML_SOURCE=FOLDER
//	cmake --build /tmp/ggml --target driver
//	go run ./scripts/bench-ggml -driver /tmp/ggml/driver -o results/kernels-ggml
//
// Rows are those of `experiments bench`, with engine ggml for those that are not ours. Their
// variants are a type and a layout: plain is that of files, repacked what llama.cpp turns
// it into when it loads a model. A type that ggml does not repack has no such row.
//
// q4_K has 4.5 bits per weight (scales and minima of 32 weights in 6 bits, two halves for
// 256), q4_0 and iq4_nl have 4.5 (a half for 32), mxfp4 4.25 (a byte for 32), and all meet
// activations in 8 bits with a scale for 32 or 256; int4 g128 has 4.125 bits and a scale per
// token. All read every weight once, so time per byte compares kernels and time formats.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/bench"
	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/experiments/trial"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/variants"
	"github.com/mosaicquant/mosaicquant/zipper"
)

// settings are those of a run.
type settings struct {
	driver, out string
	types       []string
	shapes      [][2]int // N, K
	tokens      []int
	repeats     int
	resolution  float64
}

// product is one that all runners do in turns.
type product struct {
	N       int `json:"n"`
	K       int `json:"k"`
	Tokens  int `json:"tokens"`
	Repeats int `json:"repeats"`
}

// runner is one way to do the product.
type runner struct {
	engine, name, kernel string
	bytes                float64
	run                  func() (seconds float64, err error)
	times                []float64
}

func main() {
	s := settings{}
	flag.StringVar(&s.driver, "driver", "", "the built driver")
	flag.StringVar(&s.out, "o", "", "folder for rows; empty: none are kept")
	types := flag.String("types", "q4_0,q4_K,mxfp4,iq4_nl", "types of ggml")
	shapes := flag.String("shapes", "4096x14336,14336x4096", "layers, NxK; K a multiple of 256")
	tokens := flag.String("tokens", "1,4,16,512", "tokens at once")
	flag.IntVar(&s.repeats, "repeats", 31, "repeats, at least 3")
	flag.Float64Var(&s.resolution, "resolution", .02, "repeat, up to ten times as often, until ratios are known so well; 0: do not")
	flag.Parse()
	err := zipper.CheckKernel()
	if err == nil {
		err = s.parse(*types, *shapes, *tokens)
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		err = s.all(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-ggml:", err)
		os.Exit(1)
	}
}

// parse checks what the flags say.
func (s *settings) parse(types, shapes, tokens string) error {
	switch {
	case flag.NArg() > 0:
		return fmt.Errorf("%q: takes flags alone", flag.Arg(0))
	case s.driver == "":
		return errors.New("-driver is missing: build it as the comment of scripts/bench-ggml/main.go says")
	case s.repeats < 3:
		return fmt.Errorf("-repeats %d: want at least 3", s.repeats)
	case s.resolution < 0 || s.resolution > .5:
		return fmt.Errorf("-resolution %g: want 0 to 0.5", s.resolution)
	}
	s.types = strings.Split(types, ",")
	for _, text := range strings.Split(shapes, ",") {
		var n, k int
		if got, err := fmt.Sscanf(text, "%dx%d", &n, &k); got != 2 || err != nil || n < 1 || k < 256 || k%256 != 0 ||
			text != fmt.Sprintf("%dx%d", n, k) {
			return fmt.Errorf("-shapes %q: want NxK, K a multiple of 256", text)
		}
		s.shapes = append(s.shapes, [2]int{n, k})
	}
	for _, text := range strings.Split(tokens, ",") {
		m, err := strconv.Atoi(text)
		if err != nil || m < 1 {
			return fmt.Errorf("-tokens %q: want a positive number", text)
		}
		s.tokens = append(s.tokens, m)
	}
	return nil
}

// all measures every shape and number of tokens, and keeps its rows at once.
func (s *settings) all(ctx context.Context) error {
	keep := func([]*row.Row) error { return nil }
	env := ""
	if s.out != "" {
		w, warning, err := row.OpenWriter(s.out)
		if err != nil {
			return err
		}
		defer w.Close()
		if warning != "" {
			fmt.Fprintln(os.Stderr, "bench-ggml:", warning)
		}
		if env, err = row.SaveEnvironment(s.out, row.Capture(gemm.Kernel(), gemm.Features())); err != nil {
			return err
		}
		keep = func(rows []*row.Row) error {
			for _, r := range rows {
				if err := w.Append(r); err != nil {
					return err
				}
			}
			return nil
		}
	}
	memory := zipper.Memory(256 << 20)
	for _, shape := range s.shapes {
		for _, m := range s.tokens {
			rows, err := s.compare(ctx, &product{N: shape[0], K: shape[1], Tokens: m, Repeats: s.repeats}, memory, env)
			if err == nil {
				err = keep(rows)
			}
			if err != nil {
				return fmt.Errorf("%dx%d, %d tokens: %w", shape[0], shape[1], m, err)
			}
		}
	}
	return nil
}

// compare runs all runners in turns, and returns their rows.
func (s *settings) compare(ctx context.Context, p *product, memory []byte, env string) ([]*row.Row, error) {
	start := time.Now()
	runners, err := ours(p)
	if err != nil {
		return nil, err
	}
	theirs, stop, err := s.start(p)
	if err != nil {
		return nil, err
	}
	defer stop()
	runners = append(runners, theirs...)
	var read []float64
	more := func(i int) bool {
		times := make([][]float64, len(runners))
		for j, r := range runners {
			times[j] = r.times
		}
		return i <= s.repeats || i <= plan.MostRepeats*s.repeats && !bench.Resolved(times, s.resolution, i-1)
	}
	for i := 0; more(i); i++ { // the first is a warm-up
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		from := time.Now()
		zipper.Sum(memory)
		if i > 0 {
			read = append(read, float64(len(memory))/time.Since(from).Seconds())
		}
		for j := range runners {
			r := runners[(i+j)%len(runners)]
			zipper.Sum(memory) // so that nobody's weights are in the cache
			seconds, err := r.run()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", r.name, err)
			}
			if i > 0 {
				r.times = append(r.times, seconds)
			}
		}
	}
	p.print(runners, read, time.Since(start))
	var rows []*row.Row
	for _, r := range runners {
		out, err := p.row(r, runners[0], read, len(memory))
		if err != nil {
			return nil, err
		}
		out.Env, out.Start = env, start.UTC().Format(time.RFC3339)
		rows = append(rows, out)
	}
	return rows, nil
}

func (p *product) print(runners []*runner, read []float64, took time.Duration) {
	fmt.Printf("%dx%d, M=%d, %d threads, medians of %d repeats with 95 %% intervals, in %.0f s; read %.1f GB/s\n",
		p.N, p.K, p.Tokens, runtime.GOMAXPROCS(0), len(read), took.Seconds(), bench.Bootstrap(read).Value/1e9)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tms\t\t/ dense4\t\tper byte\tMB\tGB/s")
	first := runners[0]
	for _, r := range runners {
		t, over := bench.Bootstrap(r.times), bench.Bootstrap(bench.Quotients(r.times, first.times))
		fmt.Fprintf(w, "%s\t%.3f\t[%.3f, %.3f]\t%.3f\t[%.3f, %.3f]\t%.3f\t%.1f\t%.1f\n", r.name, 1e3*t.Value, 1e3*t.Low,
			1e3*t.High, over.Value, over.Low, over.High, over.Value*first.bytes/r.bytes, r.bytes/1e6, r.bytes/t.Value/1e9)
	}
	w.Flush()
}

// row is what r took; first is what it is compared with.
func (p *product) row(r, first *runner, read []float64, memory int) (*row.Row, error) {
	shape := fmt.Sprintf("%dx%d", p.N, p.K)
	out := &row.Row{Schema: row.Schema, Label: fmt.Sprintf("%s, M=%d %s", shape, p.Tokens, r.name), Status: row.OK,
		Axes: map[string]string{"bench": "product", "engine": r.engine, "variant": r.name, "shape": shape, "scheme": "w4a8",
			"tokens": strconv.Itoa(p.Tokens), "cache": "flush"},
		Execution: &row.Execution{Engine: r.engine, Device: fmt.Sprintf("%d threads", runtime.GOMAXPROCS(0)),
			Requested: "auto", Kernel: r.kernel,
			Cache: fmt.Sprintf("flushed: %d MiB were read before each product", memory>>20),
			Yardsticks: map[string]string{row.ReadBandwidth: fmt.Sprintf("sum of %d MiB, %d threads", memory>>20,
				runtime.GOMAXPROCS(0))}},
	}
	var err error
	if out.Trial, out.Config, err = identity(p, r); err != nil {
		return nil, err
	}
	add := func(name, unit string, v []float64) {
		e := bench.Bootstrap(v)
		out.Values = append(out.Values, row.Value{Name: name, Value: e.Value, Unit: unit, Low: &e.Low, High: &e.High})
	}
	rates := make([]float64, len(r.times))
	over := bench.Quotients(r.times, first.times)
	perByte := make([]float64, len(over))
	for i, t := range r.times {
		rates[i], perByte[i] = r.bytes/t, over[i]*first.bytes/r.bytes
	}
	add(row.Time, "s", r.times)
	add(row.Bandwidth, "B/s", rates)
	add(row.BandwidthShare, "", bench.Quotients(rates, read))
	add(row.ReadBandwidth, "B/s", read)
	add(row.TimeOver(first.name), "", over)
	add(row.Over("time_per_byte", first.name), "", perByte)
	out.Values = append(out.Values, row.Value{Name: row.WeightBytes, Value: r.bytes, Unit: "B"})
	out.Series = []row.Series{{Name: row.Time, Unit: "s", Values: r.times},
		{Name: row.ReadBandwidth, Unit: "B/s", Values: read}}
	return out, out.Storable()
}

// ours returns dense4, and a residual that rides in its codes, exactly 2 of 16 blocks of 1x8.
func ours(p *product) ([]*runner, error) {
	l := plan.Layout{Scheme: "w4a8", Group: 128, Density: .125, Block: plan.Block{Rows: 1, Cols: 8}, HalfSteps: true,
		Index: "exact", Variants: []string{variants.Dense4, variants.Zipper}}
	weights := bench.Random(p.N, p.K, &l, 1)
	x, y := gemm.NewMatrix(p.Tokens, p.K), gemm.NewMatrix(p.Tokens, p.N)
	for i := range x.Data {
		x.Data[i] = float32(i%17) - 8
	}
	var all []*runner
	for _, v := range l.Variants {
		packed, err := trial.Pack(weights.Of(v), l.Scheme, v)
		if err != nil {
			return nil, err
		}
		all = append(all, &runner{engine: "cpu", name: v, kernel: zipper.Kernel(), bytes: float64(packed.Bytes()),
			run: func() (float64, error) {
				start := time.Now()
				packed.MulNT(y, x)
				return time.Since(start).Seconds(), nil
			}})
	}
	return all, nil
}

// start starts the driver and returns its ways.
func (s *settings) start(p *product) ([]*runner, func(), error) {
	args := append([]string{strconv.Itoa(p.N), strconv.Itoa(p.K), strconv.Itoa(p.Tokens),
		strconv.Itoa(runtime.GOMAXPROCS(0))}, s.types...)
	cmd := exec.Command(s.driver, args...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	stop := func() {
		in.Close() // ends it
		cmd.Wait()
	}
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	version, ready := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if err != nil || !ready {
		stop()
		return nil, nil, fmt.Errorf("%s says %q and not that it is ready (%v)", s.driver, line, err)
	}
	var all []*runner
	for {
		line, err := lines.ReadString('\n')
		if err == nil && line == "go\n" {
			return all, stop, nil
		}
		var way, layout string
		var bytes float64
		if n, _ := fmt.Sscan(line, &way, &layout, &bytes); err != nil || n != 3 {
			stop()
			return nil, nil, fmt.Errorf("%s says %q and not what it has (%v)", s.driver, line, err)
		}
		way += " " + layout
		all = append(all, &runner{engine: "ggml", name: way, kernel: "ggml " + version, bytes: bytes,
			run: func() (float64, error) {
				if _, err := io.WriteString(in, way+"\n"); err != nil {
					return 0, err
				}
				line, err := lines.ReadString('\n')
				if err != nil {
					return 0, err
				}
				return strconv.ParseFloat(strings.TrimSpace(line), 64)
			}})
	}
}
