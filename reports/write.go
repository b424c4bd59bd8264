package reports

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports/figures"
	"github.com/mosaicquant/mosaicquant/reports/format"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

// WriteHeatMap draws h to path at the width of a paper's column. An empty h is an
// error.
func WriteHeatMap(h figures.HeatMap, path string) error {
	if h.Empty() {
		return fmt.Errorf("reports: %s: a heat map of %s has no number to show", path, h.Quantity)
	}
	png, err := h.Figure().PNG()
	if err == nil {
		err = replace(path, png)
	}
	if err != nil {
		return fmt.Errorf("reports: %s: %w", path, err)
	}
	return nil
}

// Input is all a report is made from.
type Input struct {
	Title    string // name of the sweep
	Question string // what was asked, in a sentence or two; may be empty
	Rows     []row.Row
	Criteria []row.Criteria             // studies of the criteria
	Limits   []row.Limit                // studies of the distance from the rate–distortion bound
	Config   string                     // the resolved YAML
	Env      map[string]row.Environment // env.json, by the rows' Env key
	Warnings []string                   // about the sweep as a whole
	Command  string                     // runs the whole sweep again
	Commands map[string]string          // by trial: runs that trial again
	Draw     string                     // draws the report again
	Timing   string                     // says how to measure times, for pages of rows without any
	Folder   string                     // where the report is, from the repository's root
	Styles   figures.Styles             // how the methods look; see Style. None: each by its name
	// Script is the text of echarts.min.js (see EchartsVersion) to inline for
	// interactive charts. With "" the page loads it from go-echarts' own host
	// where there is a network; the drawings stay where there is none.
	Script   string
	NoCharts bool  // leave the drawings; no script at all
	Live     *Live // on a page that is served while the sweep runs
}

// Write draws the report of in into dir: report.html, the same as report.md and
// as the notebook report.ipynb, plots/*.png and *.svg, tables/results.{csv,md,tex}
// and tables/iso_bits.csv, tables/long.csv (a line for each value of each trial), tables/tasks.csv
// where rows have zero-shot scores,
// and tables/timings.csv where they were timed. Files of an earlier report are
// replaced, each in one step, so that a reader never sees half a page.
func Write(dir string, in Input) error {
	if err := in.Styles.Check(); err != nil {
		return err
	}
	in = in.visible()
	t := in.Table()
	d := documentOf(t, in)
	page, err := d.page(in)
	if err != nil {
		return err
	}
	type file struct {
		name string
		data []byte
	}
	files := []file{
		{"tables/results.csv", resultsCSV(t)}, {"tables/results.md", tablesMarkdown(t)},
		{"tables/results.tex", resultsLatex(t)}, {"tables/iso_bits.csv", isoCSV(t)}, {"tables/long.csv", longCSV(t)},
	}
	if hasTasks(t) {
		files = append(files, file{"tables/tasks.csv", taskCSV(t)})
	}
	if len(t.Timings) > 0 {
		files = append(files, file{"tables/timings.csv", timingCSV(t)})
	}
	pngs := map[string][]byte{}
	for _, f := range d.figures() {
		png, err := f.PNG()
		if err != nil {
			return fmt.Errorf("reports: figure %s: %w", f.Key, err)
		}
		pngs[f.Key] = png
		svg, err := f.SVG()
		if err != nil {
			return fmt.Errorf("reports: figure %s: %w", f.Key, err)
		}
		files = append(files, file{"plots/" + f.Key + ".png", png}, file{"plots/" + f.Key + ".svg", svg})
	}
	files = append(files, // last: they refer to nothing that is not there yet
		file{"report.md", d.markdown()}, file{"report.ipynb", d.notebook(in.Folder, pngs)}, file{"report.html", page})
	for _, f := range files {
		if err := replace(filepath.Join(dir, filepath.FromSlash(f.name)), f.data); err != nil {
			return fmt.Errorf("reports: %w", err)
		}
	}
	return nil
}

// Table analyses what a report of in shows.
func (in Input) Table() *stats.Table {
	t := stats.Build(in.Rows, in.Styles.Families()...)
	t.Studies = stats.Studies(in.Criteria)
	t.Limits = stats.Limits(in.Limits)
	return t
}

// Page returns report.html alone.
func Page(in Input) ([]byte, error) {
	if err := in.Styles.Check(); err != nil {
		return nil, err
	}
	in = in.visible()
	return documentOf(in.Table(), in).page(in)
}

// visible is in with all that could hide or reorder text spelled out.
func (in Input) visible() Input {
	in.Title, in.Question = format.Visible(in.Title, false), format.Visible(in.Question, true)
	in.Config, in.Command, in.Folder = format.Visible(in.Config, true), format.Visible(in.Command, true),
		format.Visible(in.Folder, false)
	in.Draw, in.Timing = format.Visible(in.Draw, true), format.Visible(in.Timing, true)
	warnings := make([]string, len(in.Warnings))
	for i, w := range in.Warnings {
		warnings[i] = format.Visible(w, true)
	}
	in.Warnings = warnings
	commands := map[string]string{}
	for k, c := range in.Commands {
		commands[format.Visible(k, false)] = format.Visible(c, true)
	}
	in.Commands = commands
	return in
}

// replace writes data to path by way of a temporary file beside it.
func replace(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Chmod(f.Name(), 0o644)
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
