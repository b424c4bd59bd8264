// Command bench-openblas is our half of run.sh: it times gemm.MulNT on the
// matrices that sgemm.c gives to OpenBLAS.
package main

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

func main() {
	err := gemm.CheckKernel()
	if err == nil {
		err = run(os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-openblas:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("usage: bench-openblas REPEATS SIZE")
	}
	repeats, err := strconv.Atoi(args[0])
	if err != nil || repeats < 1 {
		return fmt.Errorf("REPEATS %q: want a positive number", args[0])
	}
	for _, arg := range args[1:] {
		n, err := strconv.Atoi(arg)
		if err != nil || n < 1 {
			return fmt.Errorf("SIZE %q: want a positive number", arg)
		}
		best := measure(n, repeats)
		fmt.Printf("%s/%d\t%d\t%d ns/op\t%.1f GFLOP/s\n", gemm.Kernel(), n, repeats, best.Nanoseconds(),
			2*float64(n)*float64(n)*float64(n)/float64(best.Nanoseconds()))
	}
	return nil
}

// measure returns the shortest of the given number of runs after one that warms up.
func measure(n, repeats int) time.Duration {
	a, b, c := gemm.NewMatrix(n, n), gemm.NewMatrix(n, n), gemm.NewMatrix(n, n)
	for i := range a.Data {
		a.Data[i] = float32(i%17)*0.25 - 2
		b.Data[i] = float32(i%13)*0.25 - 1.5
	}
	best := time.Duration(1<<63 - 1)
	for r := range repeats + 1 {
		start := time.Now()
		gemm.MulNT(c, a, b)
		if d := time.Since(start); r > 0 {
			best = min(best, d)
		}
	}
	return best
}
