package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mosaicquant/mosaicquant/experiments/bench"
	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/experiments/trial"
	"github.com/mosaicquant/mosaicquant/internal/row"
)

func benchCommand() *cobra.Command {
	var config, out, cache, device string
	var o bench.Options
	var profile bool
	var set []string
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Time ZipperEngine and its variants on layers of language models",
		Long: `Bench multiplies by random 4-bit weights in the shapes of a bench file, all
variants in turns, and prints the medians with 95 % intervals: time, its ratio to
the dense 4-bit base, bytes per second and their share of the read bandwidth
measured in the same run. Rows go to DIR/rows.jsonl.

A run resumes: what this program measured on this device is not measured again.
For figures to keep, let the machine do nothing else meanwhile.`,
		Example: `  go run ./experiments bench
  go run ./experiments bench -c configs/kernels-smoke.yaml --set repeats=31
  go run ./experiments bench -c configs/kernels-gpu.yaml --predict h200
  go build -o mosaicquant ./experiments && ./mosaicquant bench -c my.yaml -o results/my --fresh`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := readBench(config, set...)
			if err != nil {
				return err
			}
			if profile {
				return bench.Profile(cmd.Context(), cmd.OutOrStdout(), b)
			}
			if o.Dir = out; out == "" {
				o.Dir = filepath.Join("results", b.Name)
			}
			if device != "" {
				if out == "" {
					o.Dir += "-predicted-" + device
				}
				return bench.Predict(cmd.OutOrStdout(), b, device, o.Dir)
			}
			lab, err := newLab(cache, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer lab.Store.Report()
			return runBench(cmd, lab, b, o)
		},
	}
	f := cmd.Flags()
	setFlag(cmd, &set)
	f.StringVarP(&config, "config", "c", "configs/kernels.yaml", "bench `file`")
	f.StringVarP(&out, "output", "o", "", "results `folder` (default results/NAME of the file)")
	f.StringVar(&cache, "cache", "", "cache `folder` for models from the hub (default: the user's cache folder)")
	f.StringVar(&device, "predict", "",
		"measure nothing: what a model of the `device` expects of a GPU ("+strings.Join(bench.PredictedDevices(), ", ")+")")
	f.BoolVar(&profile, "profile", false,
		"for ncu --profile-from-start off: run every product once where it looks, and write no rows")
	f.BoolVar(&o.Fresh, "fresh", false, "measure again what is finished")
	return cmd
}

func readBench(path string, assignments ...string) (*plan.Bench, error) {
	data, err := readConfig(path)
	if err != nil {
		return nil, err
	}
	b, err := plan.ParseBenchWith(readConfig, path, data, assignments...)
	return b, badInput(err)
}

func runBench(cmd *cobra.Command, lab *trial.Lab, b *plan.Bench, o bench.Options) error {
	stdout, stderr := cmd.OutOrStdout(), cmd.ErrOrStderr()
	o.Note = func(format string, args ...any) { fmt.Fprintf(stderr, "note: "+format+"\n", args...) }
	var failed error
	o.Progress = func(rows []*row.Row, _ bool, _ time.Duration) {
		if err := bench.Print(stdout, rows); err != nil && failed == nil {
			failed = err
		}
	}
	start := time.Now()
	res, err := bench.Run(cmd.Context(), lab, b, o)
	if err != nil {
		if errors.Is(err, context.Canceled) {
			o.Note("interrupted: what was measured before is kept in %s; the same command goes on from there", o.Dir)
		}
		return err
	}
	if failed != nil {
		return failed
	}
	fmt.Fprintf(stdout, "\n%d rows in %s (%d were there before): %s\n", len(res.Rows),
		time.Since(start).Round(time.Second), res.Finished, filepath.Join(o.Dir, row.File))
	if res.Failed > 0 {
		return trialsFailed(fmt.Errorf("%d of %d rows could not be measured; the rows say why", res.Failed, len(res.Rows)))
	}
	return nil
}
