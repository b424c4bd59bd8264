package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/experiments/trial"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/row"
)

func criteriaCommand() *cobra.Command {
	var config, model, out, cache string
	var criteria, set []string
	densities := []float64{1, 2.5, 5, 10, 20, 40}
	cmd := &cobra.Command{
		Use:   "criteria",
		Short: "Compare how criteria choose residual blocks, layer by layer",
		Long: `Criteria takes the mosaic settings of a sweep file, whatever their criterion and
density, and compares on every linear layer which blocks each criterion keeps:
the share of the base's output distortion that they recover at each density, on
the calibration's activations and on those of the evaluated text, the rank
correlation of scores, and the overlap of choices. The criterion oracle chooses
on the evaluated text itself.

It writes DIR/criteria.jsonl, a line per layer, and prints means over layers with
their standard errors. Finished studies of DIR are not run again.`,
		Example: `  go run ./experiments criteria -c configs/ablation-criterion.yaml
  go run ./experiments criteria -c configs/paper-criteria.yaml --densities 5,10 --criteria delta,full,oracle`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			sw, err := readSweep(config, set...)
			if err != nil {
				return err
			}
			for i, d := range densities {
				if !(d > 0 && d <= 100) {
					return fmt.Errorf("--densities: %g is outside 0..100 percent", d)
				}
				densities[i] = d / 100
			}
			for i, c := range criteria {
				if !slices.Contains(trial.Criteria, c) || slices.Contains(criteria[:i], c) {
					return fmt.Errorf("--criteria: %q is unknown or given twice (%s)", c, strings.Join(trial.Criteria, ", "))
				}
			}
			if model != "" {
				for i := range sw.Trials {
					sw.Trials[i].Model = model
				}
			}
			if out == "" {
				out = filepath.Join("results", sw.Name)
			}
			lab, err := newLab(cache, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer lab.Store.Report()
			err = runStudies(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), lab, sw, out, criteria, densities)
			if model != "" { // which is not the file's
				return err
			}
			return sw.Locate(err)
		},
	}
	f := cmd.Flags()
	setFlag(cmd, &set)
	f.StringVarP(&config, "config", "c", "configs/ablation-criterion.yaml", "sweep `file`")
	f.StringVarP(&model, "model", "m", "", "`model` in place of the file's")
	f.StringVarP(&out, "output", "o", "", "results `folder` (default results/NAME of the sweep)")
	f.StringVar(&cache, "cache", "", "cache `folder` (default: the user's cache folder)")
	f.StringSliceVar(&criteria, "criteria", trial.Criteria, "criteria to compare")
	f.Float64SliceVar(&densities, "densities", densities, "densities in percent")
	return cmd
}

// runStudies runs the studies that the trials of sw stand for and prints a table
// of each.
func runStudies(ctx context.Context, out, log io.Writer, lab *trial.Lab, sw *plan.Sweep, dir string, criteria []string,
	densities []float64) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	list, err := row.ReadCriteria(dir)
	if err != nil {
		return err
	}
	env, err := row.SaveEnvironment(dir, row.Capture(gemm.Kernel(), gemm.Features()))
	if err != nil {
		return err
	}
	var studies []plan.Trial
	for _, t := range sw.Trials {
		if t, ok := trial.StudyOf(t); ok && !slices.Contains(studies, t) {
			studies = append(studies, t)
		}
	}
	if len(studies) == 0 {
		return errors.New("the sweep file has no mosaic trial with joint: false, and so no criterion to study")
	}
	for _, group := range plan.Groups(studies) {
		err := func() error {
			s, err := lab.Open(ctx, group[0])
			if err != nil {
				return err
			}
			defer s.Close()
			for _, t := range group {
				id := s.StudyID(t, criteria, densities)
				of := func(c row.Criteria) bool { return c.Study == id }
				if !slices.ContainsFunc(list, of) {
					rows, err := s.Study(ctx, t, criteria, densities)
					if err != nil {
						return err
					}
					for i := range rows {
						rows[i].Label, rows[i].Env = studyLabel(studies, t), env
					}
					list = append(list, rows...)
					if err := row.WriteCriteria(dir, list); err != nil {
						return err
					}
				}
				var rows []row.Criteria
				for _, c := range list {
					if of(c) {
						rows = append(rows, c)
					}
				}
				if err := printStudy(out, rows); err != nil {
					return err
				}
			}
			return nil
		}()
		if err != nil {
			return err
		}
	}
	fmt.Fprintf(log, "%s: %d layers\n", filepath.Join(dir, row.CriteriaFile), len(list))
	return nil
}

// studyLabel names t by its model and the settings that vary between studies.
func studyLabel(studies []plan.Trial, t plan.Trial) string {
	axes, parts := t.Axes(), []string{t.Model}
	if t.Stress.Channels > 0 {
		parts = append(parts, fmt.Sprintf("synthetic stress %.4g%% x%g", 100*t.Stress.Channels, t.Stress.Gain))
	}
	always := []string{"base", "group", "block"}
	for _, k := range slices.Sorted(maps.Keys(axes)) {
		varies := slices.ContainsFunc(studies, func(o plan.Trial) bool { return o.Axes()[k] != axes[k] })
		if k != "model" && (varies && !strings.HasPrefix(k, "stress.") || slices.Contains(always, k)) {
			parts = append(parts, k+" "+axes[k])
		}
	}
	return strings.Join(parts, ", ")
}

// printStudy prints means over the layers of one study.
func printStudy(out io.Writer, rows []row.Criteria) error {
	first := rows[0]
	fmt.Fprintf(out, "%s: %d layers\n", first.Label, len(rows))
	for _, w := range first.Warnings {
		fmt.Fprintf(out, "note: %s\n", w)
	}
	at := len(first.Densities) - 1 // where choices are compared
	for i, d := range first.Densities {
		if d >= 0.1 {
			at = i
			break
		}
	}
	fmt.Fprintf(out, "share of the base's output distortion that is recovered, in %%, mean of layers ± standard error; "+
		"on the evaluated text\n")
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "criterion\t")
	for _, d := range first.Densities {
		fmt.Fprintf(w, "%.3g %%\t", 100*d)
	}
	fmt.Fprintf(w, "calibration %.3g %%\toverlap\tSpearman\t\n", 100*first.Densities[at])
	for i, c := range first.Criteria {
		fmt.Fprintf(w, "%s\t", c.Name)
		for d := range first.Densities {
			fmt.Fprintf(w, "%s\t",
				percentOf(rows, func(r row.Criteria) (float64, bool) { return r.Criteria[i].HeldOut[d], true }))
		}
		fmt.Fprintf(w, "%s\t",
			percentOf(rows, func(r row.Criteria) (float64, bool) { return r.Criteria[i].Recovered[at], true }))
		fmt.Fprintf(w, "%s\t", percentOf(rows, func(r row.Criteria) (float64, bool) {
			v, ok := r.Criteria[i].Overlap["oracle"]
			if !ok {
				return 0, false
			}
			return v[at], true
		}))
		fmt.Fprintf(w, "%s\t\n",
			percentOf(rows, func(r row.Criteria) (float64, bool) { v, ok := r.Criteria[i].Spearman["oracle"]; return v, ok }))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "overlap and Spearman are with oracle, overlap at %.3g %%; both in %%\n\n", 100*first.Densities[at])
	return nil
}

// percentOf returns the mean over rows and its standard error, in percent.
func percentOf(rows []row.Criteria, value func(row.Criteria) (float64, bool)) string {
	var n, sum, squares float64
	for _, r := range rows {
		if v, ok := value(r); ok {
			n++
			sum += 100 * v
			squares += 100 * v * 100 * v
		}
	}
	if n == 0 {
		return "-"
	}
	mean := sum / n
	if n == 1 {
		return fmt.Sprintf("%.1f", mean)
	}
	return fmt.Sprintf("%.1f ± %.1f", mean, math.Sqrt(max(0, squares/n-mean*mean)/(n-1)))
}
