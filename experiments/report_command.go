package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/experiments/slurm"
	"github.com/mosaicquant/mosaicquant/internal/bounded"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports"
	"github.com/mosaicquant/mosaicquant/reports/figures"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

func reportCommand() *cobra.Command {
	var assets, addr string
	var serve, asJSON bool
	cmd := &cobra.Command{
		Use:   "report DIR",
		Short: "Draw the report of a results folder from its rows",
		Long: `Report reads DIR/rows.jsonl (and DIR/rows, where slices write), criteria.jsonl,
config.yaml and env.json and writes DIR/report.html, the same as report.md and as
a Jupyter notebook, plots and tables. The same rows give the same bytes.

Where there is a network the page's charts become interactive: it loads their
script from go-echarts' own host, and shows drawings otherwise. --assets bundles
the script into the page: from a file, from a folder that holds it (an unpacked
npm package, say), or with the word npm from "npm pack echarts@` + figures.EchartsVersion + `". With
--assets none the page has drawings alone.

With --serve nothing is written: the page is served to this machine and follows a
running sweep until Ctrl-C.`,
		Example: `  go run ./experiments report results/default
  go run ./experiments report results/default --assets npm
  go run ./experiments report results/default --serve`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if serve {
				return serveReport(cmd.Context(), cmd.OutOrStdout(), args[0], assets, addr)
			}
			if cmd.Flags().Changed("addr") {
				return errors.New("--addr needs --serve")
			}
			if asJSON {
				if err := writeReport(cmd.Context(), io.Discard, args[0], assets); err != nil {
					return err
				}
				table, err := os.ReadFile(filepath.Join(args[0], "tables", "results.csv"))
				if err != nil {
					return err
				}
				return writeRecords(cmd.OutOrStdout(), table)
			}
			if err := writeReport(cmd.Context(), cmd.OutOrStdout(), args[0], assets); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "\nreport: %s\n", filepath.Join(args[0], "report.html"))
			return nil
		},
	}
	cmd.Flags().StringVar(&assets, "assets", "",
		"bundle echarts.min.js "+figures.EchartsVersion+": a `file`, a folder, npm or none")
	jsonFlag(cmd, &asJSON)
	cmd.Flags().BoolVar(&serve, "serve", false, "serve the page to this machine, updated while the sweep runs")
	cmd.Flags().StringVar(&addr, "addr", "127.0.0.1:0", "loopback `address` to serve at; port 0 chooses one")
	cmd.MarkFlagsMutuallyExclusive("json", "serve")
	return cmd
}

// writeReport draws the report of the folder dir and prints its table.
func writeReport(ctx context.Context, out io.Writer, dir, assets string) error {
	in, err := readFolder(dir)
	if err != nil {
		return err
	}
	if err := useAssets(ctx, &in, assets); err != nil {
		return err
	}
	if err := reports.Write(dir, in); err != nil {
		return err
	}
	return summary(out, in.Table(), dir)
}

// summaryLines is how many lines a summary has at most, answerLines how many of them
// the answer, and summaryColumns how wide the answer is.
const summaryLines, answerLines, summaryColumns = 40, 20, 110

// summary prints the table of a report, or of a long one the rows that no other beats
// and the baselines, says where all are, and ends with the answer of each group.
func summary(out io.Writer, t *stats.Table, dir string) error {
	var table, answer bytes.Buffer
	if err := reports.Summary(&table, t); err != nil {
		return err
	}
	if err := reports.Answers(&answer, t, summaryColumns); err != nil {
		return err
	}
	page := filepath.Join(dir, "report.md")
	answers := strings.SplitAfter(answer.String(), "\n")
	answers = answers[:len(answers)-1]
	if len(answers) > answerLines {
		answers = append(answers[:answerLines-1],
			fmt.Sprintf("  ... the answers of all %d groups: %s\n", len(t.Groups), page))
	}
	if len(answers) > 0 {
		answers = append([]string{"\nCan 4 bits be accurate and fast?\n"}, answers...)
	}
	lines := strings.SplitAfter(table.String(), "\n")
	lines = lines[:len(lines)-1]
	room := summaryLines - strings.Count(strings.Join(answers, ""), "\n")
	if len(lines) > room {
		row := regexp.MustCompile(`^ *r[0-9]+ `)
		lines = slices.DeleteFunc(lines, func(l string) bool {
			return row.MatchString(l) && !strings.Contains(l, "non-dominated") && !strings.Contains(l, "baseline")
		})
		lines = append(lines[:min(len(lines), room-2)], fmt.Sprintf("\nshortened; all rows: %s\n", page))
	}
	_, err := io.WriteString(out, strings.Join(append(lines, answers...), ""))
	return err
}

// readFolder reads what the results folder dir holds.
func readFolder(dir string) (reports.Input, error) {
	criteria, err := row.ReadCriteria(dir)
	if err != nil {
		return reports.Input{}, err
	}
	limits, err := row.ReadLimits(dir)
	if err != nil {
		return reports.Input{}, err
	}
	rows, warnings, err := readRows(dir)
	if errors.Is(err, fs.ErrNotExist) && (criteria != nil || limits != nil) { // a folder of studies alone
		err = nil
	}
	if err != nil {
		return reports.Input{}, err
	}
	in := reports.Input{Title: filepath.Base(dir), Rows: rows, Criteria: criteria, Limits: limits, Warnings: warnings,
		Styles: methodStyles()}
	in.Timing = "To measure them, add the line speed: {shapes: llama3.2-1b/down, tokens: [1, 512]} to a copy of the " +
		"sweep file and run go run ./experiments sweep -c COPY; a form without a kernel says so."
	if in.Env, err = row.ReadEnvironments(dir); err != nil {
		return in, err
	}
	return in, describeSweep(&in, dir)
}

// readRows reads the rows of the results folder dir. warnings tell of unfinished
// lines, and of slices that disagree on a trial.
func readRows(dir string) (rows []row.Row, warnings []string, err error) {
	rows, warnings, err = row.ReadFolder(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist): // a folder that the user named
		return nil, nil, badInput(err)
	case err != nil:
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
	config, err := bounded.ReadFile(file, maxSweepFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	in.Config = string(config)
	home := homeOf(dir)
	if b, err := plan.ParseBench(file, config); err == nil {
		own := path.Join("results", b.Name)
		in.Title, in.Folder = b.Name, cmp.Or(home, own)
		in.Command = fmt.Sprintf("go run ./experiments bench -c %s -o %s", slurm.Quote(in.Folder+"/config.yaml"), own)
		in.Draw, in.Question = "go run ./experiments report "+slurm.Quote(in.Folder), b.Question
		return nil
	}
	sw, err := plan.Parse(file, config)
	if err != nil { // an older version's, say: the rows are what counts
		in.Warnings = append(in.Warnings, fmt.Sprintf("this version cannot run the sweep file again, so commands are left "+
			"out: %s", strings.ReplaceAll(err.Error(), file, "config.yaml")))
		return nil
	}
	own := path.Join("results", sw.Name)
	in.Title, in.Folder = sw.Name, cmp.Or(home, own)
	in.Command = fmt.Sprintf("go run ./experiments sweep -c %s -o %s", slurm.Quote(in.Folder+"/config.yaml"), own)
	in.Question = sw.Question
	in.Draw = "go run ./experiments report " + slurm.Quote(in.Folder)
	in.Commands = map[string]string{}
	for _, r := range in.Rows {
		in.Commands[r.Trial] = fmt.Sprintf("go run ./experiments sweep -c %s -o results/again --trial %s",
			slurm.Quote(in.Folder+"/config.yaml"), r.Trial)
	}
	return nil
}

// homeOf returns the path of the folder dir from the root of this repository,
// where commands run, whatever the working directory; "" outside of it. What
// commands read is named there, and what they write is results/NAME, so that no
// command of a committed run writes into it.
func homeOf(dir string) string {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return ""
	}
	for root := filepath.Dir(dir); ; root = filepath.Dir(root) {
		mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
		if err == nil && slices.Contains(strings.Split(string(mod), "\n"), "module github.com/mosaicquant/mosaicquant") {
			home, err := filepath.Rel(root, dir)
			if err != nil {
				return ""
			}
			return filepath.ToSlash(home)
		}
		if root == filepath.Dir(root) {
			return ""
		}
	}
}
