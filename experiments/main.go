// Command experiments is the MosaicQuant harness:
//
//	go run ./experiments sweep
//
// runs the sweep of configs/default.yaml and writes a report of accuracy
// against bits to results/default. Each command has a file of its own,
// NAME_command.go, which reads flags, calls the packages below and prints:
//
//	kinds   types of settings
//	method  the registry of quantization methods
//	plan    from a sweep or bench file to trials
//	trial   runs one trial: model, calibration, quantization, evaluation
//	bench   times products and generation
//	sweep   runs many trials and resumes
//	slurm   runs a sweep on a cluster
//
// serve.go shows the report while a sweep runs; exit.go has the exit codes.
package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/zipper"
)

// grace is the time from a signal to the end of the process.
const grace = 10 * time.Second

func main() {
	if err := cmp.Or(checkAddressSpace(), gemm.CheckKernel(), zipper.CheckKernel()); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	if os.Getenv("GOGC") == "" {
		// The heap is a few large arrays without pointers: collecting them often
		// costs little, and letting them pile up costs memory.
		debug.SetGCPercent(40)
	}
	if m := row.Memory(); m > 0 && os.Getenv("GOMEMLIMIT") == "" {
		// Where memory is short the heap is collected before it outgrows the
		// machine. The rest is for the system and the pages of weights.
		debug.SetMemoryLimit(m / 4 * 3)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal ends cleanly; a second one kills as usual. What takes too
	// long to notice is left: a batch system that asks for the machine kills
	// some 30 seconds later, and rows survive either way.
	context.AfterFunc(ctx, func() {
		stop()
		time.AfterFunc(grace, func() {
			fmt.Fprintln(os.Stderr, "interrupted: left what did not end within", grace)
			os.Exit(exitInterrupted)
		})
	})
	err := root().ExecuteContext(ctx)
	code := exitCode(err)
	if err != nil && code != exitInterrupted {
		fmt.Fprintln(os.Stderr, "error:", err)
	}
	os.Exit(code)
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "experiments",
		Short: "Can a 4-bit LLM be both accurate and fast, and why?",
		Long: `MosaicQuant (arXiv 2606.15652) quantizes a weight matrix to a dense 4-bit base
and adds a sparse 4-bit residual on the blocks whose error hurts the output
most. This harness measures it beside RTN, GPTQ and mixed precision.

` + exitHelp,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.AddCommand(sweepCommand(), benchCommand(), submitCommand(), mergeCommand(),
		reportCommand(), compareCommand(), tablesCommand(),
		evalCommand(), generateCommand(), quantizeCommand(), inspectCommand(), criteriaCommand(), limitCommand(),
		docsCommand(), keysCommand(), doctorCommand())
	cmd.Version = version()
	cmd.SetVersionTemplate("{{.Version}}\n")
	checkInput(cmd)
	completeFlags(cmd)
	return cmd
}

// version names the source that this program was built from, as rows do.
func version() string {
	e := row.Capture(gemm.Kernel(), nil)
	text := "mosaicquant " + cmp.Or(e.Commit, "of an unknown commit")
	if e.Dirty != nil && *e.Dirty {
		text += ", with uncommitted changes"
	}
	return fmt.Sprintf("%s, %s %s/%s", text, e.Go, e.OS, e.Arch)
}
