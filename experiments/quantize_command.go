package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/experiments/trial"
	"github.com/mosaicquant/mosaicquant/internal/foreign"
	"github.com/mosaicquant/mosaicquant/internal/row"
)

func quantizeCommand() *cobra.Command {
	var config, model, only, dir, format, cache string
	var set []string
	cmd := &cobra.Command{
		Use:   "quantize",
		Short: "Write the quantized model of one trial as a checkpoint, packed or for other programs",
		Long: `Quantize runs the method of one trial of a sweep file, calibration included, and
writes a folder that eval reads: safetensors with the packed weights, their
settings, ledger and hashes in its metadata, config.json and tokenizer.json.

With --format it writes the same weights for other programs instead: as
compressed-tensors (pack-quantized), GPTQModel, AutoAWQ or llama.cpp (gguf) store
them, or dequantized to half precision (16-bit), which holds every method. What a
format cannot hold exactly is refused, and what was written is read back.

A sweep file of one trial needs no --trial; of another file name the trial by
` + namesHelp + `.`,
		Example: `  go run ./experiments quantize -c method.yaml -o packed
  go run ./experiments quantize -c configs/default.yaml --trial "tiny-llama3 rtn g128" -o packed
  go run ./experiments quantize -c method.yaml -m /models/Llama-3.2-1B -o packed
  go run ./experiments quantize -c method.yaml --format compressed-tensors -o served`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return badInput(errors.New("no folder to write: give --output"))
			}
			sw, err := readSweep(config, set...)
			if err != nil {
				return err
			}
			lab, err := newLab(cache, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer lab.Store.Report()
			names, err := trialNames(sw, []string{only}, filepath.Dir(config))
			if err != nil {
				return badInput(err)
			}
			t, err := chooseTrial(cmd.Context(), lab, sw, model, names[0])
			if located := sw.Locate(err); located != err {
				return located
			}
			if err != nil {
				return badInput(fmt.Errorf("%s: %w", config, err))
			}
			if format != "packed" {
				e, err := lab.Export(cmd.Context(), t, dir, format)
				if err != nil {
					return err
				}
				return printExported(cmd, e, dir, format)
			}
			p, err := lab.Quantize(cmd.Context(), t, dir)
			if err != nil && model != "" { // its model is not the file's
				return err
			}
			if err != nil {
				return sw.Locate(err)
			}
			return printPacked(cmd, p, dir)
		},
	}
	f := cmd.Flags()
	setFlag(cmd, &set)
	f.StringVarP(&config, "config", "c", "", "sweep `file`")
	f.StringVarP(&model, "model", "m", "", "`model` in place of the file's: a folder, builtin:NAME or hub:ORG/NAME")
	f.StringVar(&only, "trial", "", "the `trial`, by "+namesHelp)
	f.StringVarP(&dir, "output", "o", "", "`folder` to write, new or empty")
	f.StringVar(&format, "format", "packed", "`format` to write: packed, "+strings.Join(foreign.Targets, ", "))
	f.StringVar(&cache, "cache", "", "cache `folder` (default: the user's cache folder)")
	cmd.MarkFlagRequired("config")
	return cmd
}

// chooseTrial returns the trial of sw with the given id, or its only one, on
// model where that is not empty.
func chooseTrial(ctx context.Context, lab *trial.Lab, sw *plan.Sweep, model, id string) (plan.Trial, error) {
	trials := sw.Trials
	if id != "" {
		var found []plan.Trial
		for _, group := range plan.Groups(trials) {
			s, err := lab.Open(ctx, group[0])
			if err != nil {
				return plan.Trial{}, err
			}
			for _, t := range group {
				if t.Label == id || s.ID(t) == id {
					found = append(found, t)
				}
			}
			if err := s.Close(); err != nil {
				return plan.Trial{}, err
			}
		}
		if trials = found; len(trials) == 0 {
			return plan.Trial{}, fmt.Errorf("no trial has the label or id %.200s", id)
		}
	}
	if len(trials) != 1 {
		var labels []string
		for _, t := range trials[:min(len(trials), 4)] {
			labels = append(labels, t.Label)
		}
		return plan.Trial{}, fmt.Errorf("%d trials (%s, …): choose one with --trial", len(trials),
			strings.Join(labels, ", "))
	}
	t := trials[0]
	if model != "" {
		t.Model = model
	}
	return t, nil
}

func printPacked(cmd *cobra.Command, p *trial.Packed, dir string) error {
	return printLedger(cmd.OutOrStdout(), p.String(), p.Ledger, filepath.Join(dir, "model.safetensors"))
}

func printExported(cmd *cobra.Command, e *trial.Exported, dir, format string) error {
	title := fmt.Sprintf("%s as %s, %.3f bits per weight in the file", e.Trial.Label, format, e.BitsPerWeight)
	if e.Rounded > 0 {
		title += fmt.Sprintf("; rounding to half precision loses %.1e of a layer's energy", e.Rounded)
	}
	return printLedger(cmd.OutOrStdout(), title, e.Ledger, filepath.Join(dir, e.Weights))
}

// printLedger prints a title, the bytes of the quantized layers, and the file.
func printLedger(out io.Writer, title string, ledger []row.Item, file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s\n\n", title)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	var total int64
	for _, item := range ledger {
		fmt.Fprintf(w, "%s\t%d\tB\t\n", item.Name, item.Bytes)
		total += item.Bytes
	}
	fmt.Fprintf(w, "quantized layers\t%d\tB\t\nwhole file\t%d\tB\t\n", total, info.Size())
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "\n%s\n", file)
	return err
}
