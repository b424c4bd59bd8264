package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/experiments/row"
	"github.com/mosaicquant/mosaicquant/reports"
)

func reportCommand() *cobra.Command {
	var assets, addr string
	var serve bool
	cmd := &cobra.Command{
		Use:   "report DIR",
		Short: "Draw the report of a results folder from its rows",
		Long: `Report reads DIR/rows.jsonl (and DIR/rows, where slices write), criteria.jsonl,
config.yaml and env.json and writes DIR/report.html, the same as report.md and as
a Jupyter notebook, plots and tables. The same rows give the same bytes. With
--assets the charts of the page become interactive; the script is bundled into
the page.

With --serve nothing is written: the page is served to this machine and follows a
running sweep until Ctrl-C.`,
		Example: `  go run ./experiments report results/default
  go run ./experiments report results/default --assets echarts.min.js
  go run ./experiments report results/default --serve`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if serve {
				return serveReport(cmd.Context(), cmd.OutOrStdout(), args[0], assets, addr)
			}
			if cmd.Flags().Changed("addr") {
				return errors.New("--addr needs --serve")
			}
			if err := writeReport(cmd.OutOrStdout(), args[0], assets); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "\nreport: %s\n", filepath.Join(args[0], "report.html"))
			return nil
		},
	}
	cmd.Flags().StringVar(&assets, "assets", "", "echarts.min.js `file` to bundle, "+reports.EchartsVersion)
	cmd.Flags().BoolVar(&serve, "serve", false, "serve the page to this machine, updated while the sweep runs")
	cmd.Flags().StringVar(&addr, "addr", "127.0.0.1:0", "loopback `address` to serve at; port 0 chooses one")
	return cmd
}

// writeReport draws the report of the folder dir and prints its table.
func writeReport(out io.Writer, dir, assets string) error {
	in, err := readFolder(dir)
	if err != nil {
		return err
	}
	in.Assets = assets
	if err := reports.Write(dir, in); err != nil {
		return err
	}
	return reports.Summary(out, in.Table())
}

// readFolder reads what the results folder dir holds.
func readFolder(dir string) (reports.Input, error) {
	criteria, err := row.ReadCriteria(dir)
	if err != nil {
		return reports.Input{}, err
	}
	rows, warnings, err := readRows(dir)
	if errors.Is(err, fs.ErrNotExist) && criteria != nil { // a folder of studies alone
		err = nil
	}
	if err != nil {
		return reports.Input{}, err
	}
	in := reports.Input{Title: filepath.Base(dir), Rows: rows, Criteria: criteria, Warnings: warnings}
	if in.Env, err = row.ReadEnvironments(dir); err != nil {
		return in, err
	}
	return in, describeSweep(&in, dir)
}

// readRows reads the rows of the results folder dir. warnings tell of unfinished
// lines, and of slices that disagree on a trial.
func readRows(dir string) (rows []row.Row, warnings []string, err error) {
	if rows, warnings, err = row.ReadFolder(dir); err != nil {
		return nil, nil, err
	}
	files, err := row.Files(dir)
	if err != nil || len(files) == 1 {
		return rows, warnings, err
	}
	_, err = row.Join(files...)
	var conflict *row.ConflictError
	switch {
	case errors.As(err, &conflict):
		warnings = append(warnings, fmt.Sprintf("%v; the second is shown", conflict))
	case errors.Is(err, fs.ErrNotExist): // a merge has just joined them
	case err != nil:
		return nil, nil, err
	}
	return rows, warnings, nil
}

// describeSweep adds what config.yaml tells. A folder of rows alone, say merged
// ones, has none.
func describeSweep(in *reports.Input, dir string) error {
	file := filepath.Join(dir, "config.yaml")
	config, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	in.Config = string(config)
	if b, err := plan.ParseBench(file, config); err == nil {
		home := path.Join("results", b.Name)
		in.Title, in.Folder = b.Name, home
		in.Command = fmt.Sprintf("go run ./experiments bench -c %s/config.yaml -o %s", home, home)
		return nil
	}
	sw, err := plan.Parse(file, config)
	if err != nil { // an older version's, say: the rows are what counts
		in.Warnings = append(in.Warnings, fmt.Sprintf("this version cannot run the sweep file again, so commands are left out: %s", strings.ReplaceAll(err.Error(), file, "config.yaml")))
		return nil
	}
	// Commands name the usual place of the results and not dir, so that a
	// report does not depend on where it was drawn.
	home := path.Join("results", sw.Name)
	in.Title, in.Folder = sw.Name, home
	in.Command = fmt.Sprintf("go run ./experiments sweep -c %s/config.yaml -o %s", home, home)
	in.Commands = map[string]string{}
	for _, r := range in.Rows {
		in.Commands[r.Trial] = fmt.Sprintf("go run ./experiments sweep -c %s/config.yaml -o results/again --trial %s", home, r.Trial)
	}
	return nil
}
