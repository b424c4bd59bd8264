// Command bench-ggml times package zipper beside ggml's q4_K product on this
// machine, in turns: the yardstick of who runs 4-bit models on CPUs today. It
// fetches nothing: ggml's sources are in llama.cpp, and in the source package
// llama-cpp-python of PyPI under vendor/llama.cpp/ggml. Build the driver, then run
// both, with nothing else on the machine:
//
//	cmake -S scripts/bench-ggml/driver -B /tmp/ggml -DCMAKE_BUILD_TYPE=Release -DGGML_SOURCE=FOLDER
//	cmake --build /tmp/ggml --target driver
//	go build -o /tmp/bench-ggml ./scripts/bench-ggml && /tmp/bench-ggml -driver /tmp/ggml/driver
//
// q4_K has 4.5 bits per weight (scales and minima of 32 weights in 6 bits, two
// halves for 256) and meets activations in 8 bits with a scale for 256; int4 g128
// has 4.125 bits and a scale per token. Both read every weight once, so time per
// byte compares the kernels and time alone the formats.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/bench"
	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/experiments/trial"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/variants"
	"github.com/mosaicquant/mosaicquant/zipper"
)

// runner is one way to do the product.
type runner struct {
	name  string
	bytes float64
	run   func() (seconds float64, err error)
	times []float64
}

func main() {
	driver := flag.String("driver", "", "the built driver")
	n, k := flag.Int("n", 14336, "rows of W"), flag.Int("k", 4096, "columns of W")
	m := flag.Int("m", 1, "tokens")
	repeats := flag.Int("repeats", 50, "repeats")
	flag.Parse()
	if *driver == "" || flag.NArg() > 0 || *n < 1 || *k < 128 || *k%256 != 0 || *m < 1 || *repeats < 3 {
		fmt.Fprintln(os.Stderr, "usage: bench-ggml -driver FILE [-n N] [-k K, a multiple of 256] [-m M] [-repeats R >= 3]")
		os.Exit(2)
	}
	if err := zipper.CheckKernel(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	if err := compare(*driver, *n, *k, *m, *repeats); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func compare(driver string, n, k, m, repeats int) error {
	runners, err := ours(n, k, m)
	if err != nil {
		return err
	}
	theirs, stop, err := start(driver, n, k, m)
	if err != nil {
		return err
	}
	defer stop()
	runners = append(runners, theirs...)
	memory := zipper.Memory(256 << 20)
	var read []float64
	for i := range repeats + 1 { // the first is a warm-up
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
				return fmt.Errorf("%s: %w", r.name, err)
			}
			if i > 0 {
				r.times = append(r.times, seconds)
			}
		}
	}
	fmt.Printf("%dx%d, M=%d, %d threads, medians of %d repeats with 95 %% intervals; read %.1f GB/s\n",
		n, k, m, runtime.GOMAXPROCS(0), repeats, bench.Bootstrap(read).Value/1e9)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tms\t\t/ dense4\t\tMB\tGB/s")
	for _, r := range runners {
		t, over := bench.Bootstrap(r.times), bench.Bootstrap(bench.Quotients(r.times, runners[0].times))
		fmt.Fprintf(w, "%s\t%.3f\t[%.3f, %.3f]\t%.3f\t[%.3f, %.3f]\t%.1f\t%.1f\n", r.name, 1e3*t.Value, 1e3*t.Low, 1e3*t.High,
			over.Value, over.Low, over.High, r.bytes/1e6, r.bytes/t.Value/1e9)
	}
	return w.Flush()
}

// ours returns dense4 and zipper, w4a8 g128 with 10 % of 16x64 blocks.
func ours(n, k, m int) ([]*runner, error) {
	l := plan.Layout{Scheme: "w4a8", Group: 128, Density: 0.1, Block: plan.Block{Rows: 16, Cols: 64},
		Variants: []string{variants.Dense4, variants.Zipper}}
	weights := bench.Random(n, k, &l, 1)
	x, y := gemm.NewMatrix(m, k), gemm.NewMatrix(m, n)
	for i := range x.Data {
		x.Data[i] = float32(i%17) - 8
	}
	var all []*runner
	for _, v := range l.Variants {
		p, err := trial.Pack(weights.Of(v), l.Scheme, v)
		if err != nil {
			return nil, err
		}
		all = append(all, &runner{name: v, bytes: float64(p.Bytes()), run: func() (float64, error) {
			start := time.Now()
			p.MulNT(y, x)
			return time.Since(start).Seconds(), nil
		}})
	}
	return all, nil
}

// start starts the driver and returns its ways.
func start(driver string, n, k, m int) ([]*runner, func(), error) {
	cmd := exec.Command(driver, strconv.Itoa(n), strconv.Itoa(k), strconv.Itoa(m), strconv.Itoa(runtime.GOMAXPROCS(0)))
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
	fields := strings.Fields(line)
	if err != nil || len(fields) < 3 || fields[0] != "ready" {
		stop()
		return nil, nil, fmt.Errorf("%s: says %q and not that it is ready (%v)", driver, line, err)
	}
	bytes, err := strconv.ParseFloat(fields[1], 64)
	if err != nil {
		stop()
		return nil, nil, fmt.Errorf("%s: %w", driver, err)
	}
	var all []*runner
	for _, way := range fields[2:] {
		all = append(all, &runner{name: "ggml q4_K " + way, bytes: bytes, run: func() (float64, error) {
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
	return all, stop, nil
}
