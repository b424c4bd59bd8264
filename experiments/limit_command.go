package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/experiments/trial"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/quant/rate"
)

func limitCommand() *cobra.Command {
	var config, out, cache string
	var only, set []string
	cmd := &cobra.Command{
		Use:   "limit",
		Short: "Compare quantized layers with the rate–distortion bound",
		Long: `Limit quantizes the layers of the trials of a sweep file and compares the error of
each layer's output on the evaluated text with the least error that any code could
have at its bits, if weights were independent and normal: the rate–distortion
function of a Gaussian source under the second moments H of the layer's inputs. It
is a yardstick and no law: weights that depend on each other, and budgets that
layers share, can do better. The text needs ten tokens for each column of a layer.

It writes DIR/limit.jsonl, a line per layer, and prints for each trial how far it is
from the bound: in dB of error at its bits, and in bits at its error, as means over
layers. A scalar code with ideal entropy coding is 1.53 dB away. Finished trials of
DIR are not run again, and report draws what it finds there.`,
		Example: `  go run ./experiments limit -c configs/default.yaml --only "tiny-llama3 rtn g32,tiny-llama3 gptq g32"`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			sw, err := readSweep(config, set...)
			if err != nil {
				return err
			}
			if out == "" {
				out = filepath.Join("results", sw.Name)
			}
			trials, err := limitTrials(sw.Trials, only)
			if err != nil {
				return err
			}
			lab, err := newLab(cache, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer lab.Store.Report()
			return sw.Locate(runLimits(cmd.Context(), cmd.OutOrStdout(), lab, trials, out))
		},
	}
	f := cmd.Flags()
	setFlag(cmd, &set)
	f.StringVarP(&config, "config", "c", "configs/default.yaml", "sweep `file`")
	f.StringVarP(&out, "output", "o", "", "results `folder` (default results/NAME of the sweep)")
	f.StringVar(&cache, "cache", "", "cache `folder` (default: the user's cache folder)")
	f.StringSliceVar(&only, "only", nil, "`labels` of the trials to compare (default: all that quantize)")
	return cmd
}

// limitTrials chooses the trials to compare: those with the given labels, or all that
// quantize.
func limitTrials(all []plan.Trial, labels []string) ([]plan.Trial, error) {
	var chosen []plan.Trial
	for _, t := range all {
		if t.Method.Method().Quantizes() && t.Method.Checkpoint() == "" &&
			(len(labels) == 0 || slices.Contains(labels, t.Label)) {
			chosen = append(chosen, t)
		}
	}
	for _, l := range labels {
		if !slices.ContainsFunc(chosen, func(t plan.Trial) bool { return t.Label == l }) {
			return nil, fmt.Errorf("--only: no trial that quantizes has the label %q; sweep --dry-run lists them", l)
		}
	}
	if len(chosen) == 0 {
		return nil, errors.New("no trial of the sweep file quantizes")
	}
	return chosen, nil
}

// runLimits compares trials and prints a table.
func runLimits(ctx context.Context, out io.Writer, lab *trial.Lab, trials []plan.Trial, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	list, err := row.ReadLimits(dir)
	if err != nil {
		return err
	}
	env, err := row.SaveEnvironment(dir, row.Capture(gemm.Kernel(), gemm.Features()))
	if err != nil {
		return err
	}
	for _, group := range plan.Groups(trials) {
		if list, err = limitGroup(ctx, out, lab, group, dir, env, list); err != nil {
			return err
		}
	}
	return nil
}

// limitGroup compares trials of one subject. It returns list with what was measured, which
// is in the folder dir too.
func limitGroup(ctx context.Context, out io.Writer, lab *trial.Lab, group []plan.Trial, dir, env string,
	list []row.Limit) ([]row.Limit, error) {
	s, err := lab.Open(ctx, group[0])
	if err != nil {
		return list, err
	}
	defer s.Close()
	study := s.LimitStudy()
	fmt.Fprintf(out, "%s, %s: distance from the Gaussian bound, mean of layers; a scalar code has %.2f dB at best\n",
		group[0].Model, group[0].Activations, rate.ScalarLoss)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "bits/weight\tabove the bound, dB\tbits above the bound\t  \tlabel\n")
	for _, t := range group {
		id := study.ID(t)
		of := func(l row.Limit) bool { return l.Study == id }
		if !slices.ContainsFunc(list, of) {
			rows, err := study.Run(ctx, t)
			if err != nil {
				return list, fmt.Errorf("%s: %w", t.Label, err)
			}
			for i := range rows {
				rows[i].Label, rows[i].Env = t.Label, env
			}
			list = append(list, rows...)
			if err := row.WriteLimits(dir, list); err != nil {
				return list, err
			}
		}
		var n, weights, stored, db, above float64
		for _, l := range list {
			if of(l) {
				n++
				weights += float64(l.N) * float64(l.K)
				stored += float64(l.N) * float64(l.K) * l.BitsPerWeight
				db += 10 * math.Log10(l.Error/l.Bound)
				above += l.BitsPerWeight - l.BoundBits
			}
		}
		fmt.Fprintf(w, "%.3f\t%.2f\t%.3f\t  \t%s\n", stored/weights, db/n, above/n, t.Label)
	}
	return list, w.Flush()
}
