package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

func compareCommand() *cobra.Command {
	var format string
	var asJSON bool
	var threshold float64
	var across []string
	cmd := &cobra.Command{
		Use:   "compare A B",
		Short: "Compare two results folders row by row, with paired statistics",
		Long: `Compare matches the rows of two results folders and prints how B differs from A in
bits per weight, perplexity and mean KL, paired by evaluation window.

Rows match one to one by trial ID; else, among those left, by all their settings;
else by all settings but those of --across. What finds no single partner is listed.
Rows of another model, protocol or text are not compared, and it says why.

The exit code is 1 if a matched row got worse by more than --threshold, in mean KL
or in perplexity, distinguishably so after Holm's correction over all pairs, or if
it fails in B alone; and if no rows match at all.`,
		Example: `  go run ./experiments compare results/before results/after --threshold 2
  go run ./experiments compare results/density5 results/density10 --across density --format md`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := knownFormat(format, reports.DiffFormats); err != nil {
				return err
			}
			if !(threshold >= 0 && threshold <= 1e6) {
				return badInput(fmt.Errorf("--threshold %v is not a percentage of at least 0", threshold))
			}
			var rows [2][]row.Row
			var warnings []string
			for i, dir := range args {
				var some []string
				var err error
				if rows[i], some, err = readRows(dir); err != nil {
					return err
				}
				warnings = append(warnings, some...)
			}
			d, err := stats.Compare(rows[0], rows[1],
				stats.DiffOptions{Names: [2]string{args[0], args[1]}, Across: across, Threshold: threshold / 100})
			if err != nil {
				return err
			}
			d.Notes = append(d.Notes, warnings...)
			var b bytes.Buffer
			if asJSON {
				format = "csv"
			}
			if err := reports.WriteDiff(d, &b, format); err != nil {
				return err
			}
			if asJSON {
				err = writeRecords(cmd.OutOrStdout(), b.Bytes())
			} else {
				_, err = cmd.OutOrStdout().Write(b.Bytes())
			}
			if err != nil {
				return err
			}
			if bad := d.Regressions(); len(bad) > 0 {
				var names []string
				for _, p := range bad[:min(len(bad), 4)] {
					names = append(names, p.A.Label)
				}
				return fmt.Errorf("%d of %d matched rows got worse by more than %v %%: %s", len(bad), len(d.Pairs), threshold,
					strings.Join(names, ", "))
			}
			return nil
		},
	}
	cmd.Flags().Float64Var(&threshold, "threshold", 0, "accept increases of KL and perplexity up to `PCT` percent")
	cmd.Flags().StringSliceVar(&across, "across", nil, "match rows that differ in these `axes`, such as density")
	cmd.Flags().StringVar(&format, "format", "text", "output `format`: "+strings.Join(reports.DiffFormats, ", "))
	jsonFlag(cmd, &asJSON)
	cmd.MarkFlagsMutuallyExclusive("json", "format")
	return cmd
}

func knownFormat(format string, known []string) error {
	if !slices.Contains(known, format) {
		return badInput(fmt.Errorf("--format %q is not one of %s", format, strings.Join(known, ", ")))
	}
	return nil
}
