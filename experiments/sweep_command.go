package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/mosaicquant/mosaicquant/configs"
	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/experiments/sweep"
	"github.com/mosaicquant/mosaicquant/experiments/trial"
	"github.com/mosaicquant/mosaicquant/internal/bounded"
	"github.com/mosaicquant/mosaicquant/internal/hf"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/store"
)

func sweepCommand() *cobra.Command {
	var config, out, cache, part string
	var dryRun, prepare bool
	var set []string
	var o sweep.Options
	cmd := &cobra.Command{
		Use:   "sweep",
		Short: "Run the trials of a sweep file and write a report",
		Long: `Run quantizes and evaluates a model as the sweep file says, one row per trial in
DIR/rows.jsonl, and draws DIR/report.html.

A sweep resumes: finished trials of DIR are skipped, and a changed setting (or
model, or text) makes a new trial. Interrupt it whenever you like.

With --slice I/N it runs the Ith of N slices of about equal work. Slices may run
on many machines that share DIR, or each in a DIR of its own; a slice writes its
rows to a file of its own in DIR/rows, draws no report, and succeeds when each of
its trials has a row, failed ones included. Merge joins the rows. --prepare first
computes what slices share, on one machine, into the cache they share.`,
		Example: `  go run ./experiments sweep
  go run ./experiments sweep -c configs/smoke.yaml -o results/smoke
  go run ./experiments sweep -c my.yaml --dry-run
  go run ./experiments sweep -c my.yaml --set activations=a8 --set "calibration.seed=[1, 2]"
  go run ./experiments sweep -c my.yaml --slice 3/12`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			sw, err := readSweep(config, set...)
			if err != nil {
				return err
			}
			if o.Dir = out; out == "" {
				o.Dir = filepath.Join("results", sw.Name)
			}
			if o.Only, err = trialNames(sw, o.Only, o.Dir, filepath.Dir(config)); err != nil {
				return badInput(err)
			}
			lab, err := newLab(cache, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer lab.Store.Report()
			if err := trial.Refused(sw.Trials); err != nil {
				return badInput(fmt.Errorf("%s: no kernel executes what the sweep asks for; leave it out by skip:, or use "+
					"execution: fake\n%w", config, err))
			}
			if err := trial.CheckEngines(sw.Trials); err != nil && !dryRun {
				return fmt.Errorf("%s: %w", config, err)
			}
			if prepare {
				return sw.Locate(prepareSweep(cmd, lab, sw, part))
			}
			if part != "" {
				if o.Part, err = keepSlice(cmd.Context(), lab, sw, part); err != nil {
					return err
				}
			}
			if dryRun {
				return sw.Locate(printPlan(cmd.Context(), cmd.OutOrStdout(), lab, sw))
			}
			return sw.Locate(runSweep(cmd, lab, sw, o))
		},
	}
	f := cmd.Flags()
	f.StringVarP(&config, "config", "c", "configs/default.yaml", "sweep `file`")
	setFlag(cmd, &set)
	f.StringVarP(&out, "output", "o", "", "results `folder` (default results/NAME of the sweep)")
	f.StringVar(&cache, "cache", "", "cache `folder` (default: the user's cache folder)")
	f.IntVar(&o.Jobs, "jobs", 0, "trials side by side (default 2, or 1 where memory is short)")
	f.StringSliceVar(&o.Only, "trial", nil, "run only these `trials`, each by "+namesHelp)
	f.BoolVar(&o.Fresh, "fresh", false, "set finished rows aside and run everything again")
	f.BoolVar(&dryRun, "dry-run", false, "list the trials and estimate time and memory, then stop")
	f.StringVar(&part, "slice", "", "run one slice, `I/N`, of the trials (with --prepare: of the models)")
	f.BoolVar(&prepare, "prepare", false, "compute what trials share into the cache, then stop")
	cmd.MarkFlagsMutuallyExclusive("slice", "fresh")
	cmd.MarkFlagsMutuallyExclusive("slice", "trial")
	for _, name := range []string{"dry-run", "fresh", "trial"} {
		cmd.MarkFlagsMutuallyExclusive("prepare", name)
	}
	return cmd
}

// keepSlice leaves in sw the trials of one slice, "I/N", and returns the name of that part.
func keepSlice(ctx context.Context, lab *trial.Lab, sw *plan.Sweep, text string) (string, error) {
	slice, err := sweep.ParseSlice(text)
	if err != nil {
		return "", fmt.Errorf("--slice %w", err)
	}
	parts, err := sweep.Slices(ctx, lab, sw.Trials, slice.N)
	if err != nil {
		return "", sw.Locate(fmt.Errorf("--slice %s: %w", slice, err))
	}
	sw.Trials = parts[slice.I-1]
	return fmt.Sprintf("%dof%d", slice.I, slice.N), nil
}

// setFlag adds the flag --set, whose assignments readSweep and readBench take.
func setFlag(cmd *cobra.Command, assignments *[]string) {
	cmd.Flags().StringArrayVar(assignments, "set", nil,
		"give a key of the file another value, `KEY=VALUE`, such as calibration.seed=2; may be repeated")
}

// maxSweepFile bounds the bytes of a sweep or bench file that are read at all;
// package plan allows less.
const maxSweepFile = 16 << 20

func readSweep(path string, assignments ...string) (*plan.Sweep, error) {
	data, err := readConfig(path)
	if err != nil {
		return nil, err
	}
	sw, err := plan.ParseWith(readConfig, path, data, assignments...)
	return sw, badInput(err)
}

// readConfig reads a sweep or bench file, or, where there is none, the one of that name
// in this repository's folder configs, which this program carries.
func readConfig(path string) ([]byte, error) {
	data, err := bounded.ReadFile(path, maxSweepFile)
	if !errors.Is(err, fs.ErrNotExist) {
		return data, badInput(err)
	}
	if dir := filepath.ToSlash(filepath.Dir(path)); dir == "configs" || dir == "." {
		if own, e := configs.Files.ReadFile(filepath.Base(path)); e == nil {
			return own, nil
		}
	}
	return nil, badInput(err)
}

// newLab returns a lab that caches in the given folder, or in the user's where it
// is empty. A folder that the user names must be usable; without the user's own
// the lab has no cache, which costs time and is said once.
func newLab(cache string, progress io.Writer) (*trial.Lab, error) {
	warn := func(text string) { fmt.Fprintln(progress, "note:", text) }
	models, _ := hf.HubCache() // a model of the hub says what is missing
	if cache == "" {
		dir, err := store.DefaultDir()
		if err != nil {
			return &trial.Lab{Store: store.None(err, warn), HubCache: models, Progress: progress}, nil
		}
		cache = dir
	}
	st, err := store.Open(filepath.Join(cache, "store"), warn)
	if err != nil {
		return nil, err
	}
	return &trial.Lab{Store: st, HubCache: models, Progress: progress}, nil
}

func runSweep(cmd *cobra.Command, lab *trial.Lab, sw *plan.Sweep, o sweep.Options) error {
	p, watch := newProgress(cmd.ErrOrStderr())
	o.Progress, lab.Progress = watch, p
	start := time.Now()
	res, err := sweep.Run(cmd.Context(), lab, sw, o)
	p.end()
	if err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	if err != nil {
		p.Note("interrupted: %d trials finished before are kept in %s; the same command goes on from there",
			res.Finished+res.Ran, o.Dir)
		return err
	}
	if o.Part != "" {
		fmt.Fprintf(cmd.OutOrStdout(), "%d trials in %s (%d were finished before, %d failed); rows: %s\n",
			res.Ran, time.Since(start).Round(100*time.Millisecond), res.Finished, res.Failed, filepath.Join(o.Dir, row.Parts))
		return nil
	}
	if err := writeReport(cmd.Context(), cmd.OutOrStdout(), o.Dir, ""); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "\n%d trials in %s (%d were finished before); report: %s\n",
		res.Ran, time.Since(start).Round(time.Second), res.Finished, filepath.Join(o.Dir, "report.html"))
	if res.Failed > 0 {
		return trialsFailed(fmt.Errorf("%d of %d trials failed; the report and %s say why", res.Failed, res.Ran,
			filepath.Join(o.Dir, row.File)))
	}
	return nil
}

// prepareSweep prepares the groups of trials that part names, all where empty.
func prepareSweep(cmd *cobra.Command, lab *trial.Lab, sw *plan.Sweep, part string) error {
	groups := plan.Groups(sw.Trials)
	if part != "" {
		slice, err := sweep.ParseSlice(part)
		if err != nil {
			return fmt.Errorf("--slice %w", err)
		}
		n := len(groups)
		groups = groups[(slice.I-1)*n/slice.N : slice.I*n/slice.N]
	}
	start := time.Now()
	if err := sweep.Prepare(cmd.Context(), lab, groups); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "prepared %d groups of trials in %s: %s\n", len(groups),
		time.Since(start).Round(100*time.Millisecond), lab.Store.Dir())
	return nil
}
