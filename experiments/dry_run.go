package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/bench"
	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/experiments/trial"
	"github.com/mosaicquant/mosaicquant/internal/row"
)

// printPlan lists the trials of sw with an estimate of time and memory. Trials that
// must fail with the shapes of the model are an error.
func printPlan(ctx context.Context, out io.Writer, lab *trial.Lab, sw *plan.Sweep) error {
	rate := trial.Probe()
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "#\tid\ttime\tmemory\t  \tlabel\n")
	var total float64
	var memory int64
	n := 0
	var impossible []error
	for _, group := range plan.Groups(sw.Trials) {
		s, err := lab.Open(ctx, group[0])
		if err != nil {
			return err
		}
		total += s.EstimateLearning(group[0], rate) + s.EstimateCalibration(rate)
		for _, t := range group {
			e := s.Estimate(t, rate)
			total += e.Seconds
			memory = max(memory, e.Memory)
			n++
			if err := s.CheckShapes(t); err != nil {
				impossible = append(impossible, sw.LocateMethod(&t, err))
			}
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\t  \t%s\n", n, s.ID(t), seconds(e.Seconds), mebibytes(e.Memory), t.Label)
		}
		if err := s.Close(); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	timing, err := bench.EstimateSpeed(sw.Trials, rate)
	if err != nil {
		return err
	}
	if timing > 0 {
		fmt.Fprintf(out, "\ntiming layers in the form of each trial: %s\n", seconds(timing))
	}
	total += timing
	fmt.Fprintf(out, "\n%d trials, about %s at the machine's present %.0f GFLOP/s (within a factor of two), up to %s "+
		"for each trial that runs at a time",
		n, seconds(total), rate.FLOPS/1e9, mebibytes(memory))
	if m := row.Memory(); m > 0 {
		fmt.Fprintf(out, " (this machine has %s)", mebibytes(m))
	}
	fmt.Fprintln(out)
	return errors.Join(impossible...)
}

func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", (n+1<<20-1)>>20) }
