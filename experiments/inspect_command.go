package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/mosaicquant/mosaicquant/experiments/trial"
	"github.com/mosaicquant/mosaicquant/reports"
	"github.com/mosaicquant/mosaicquant/reports/figures"
)

func inspectCommand() *cobra.Command {
	var in trial.Inspection
	var cache, format, dir string
	cmd := &cobra.Command{
		Use:   "inspect",
		Short: "Show the outliers of a model's weights and activations, layer by layer",
		Long: `Inspect measures what makes a model hard to quantize: how heavy the tails of its
weights are, and those of the inputs of its linear layers on a text. The model is
read layer by layer.

  kurtosis  excess kurtosis, 0 for a Gaussian
  max/rms   largest magnitude over the root mean square
  >6σ       share of elements more than six standard deviations from the mean
  row       largest |x| of a row over the median row's; a row of an activation is a token
  channel   the same of input channels
  ch. rms   root mean square of the largest input channel over the median channel's
  top       the largest channels by root mean square, and their ratio to the median

A dash stands where a ratio has no value.`,
		Example: `  go run ./experiments inspect
  go run ./experiments inspect -m /models/Qwen3-0.6B --text wiki.test.raw --context 2048 -o inspected
  go run ./experiments inspect -m builtin:tiny-qwen3 --text "" --format csv`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains(inspectFormats, format) {
				return fmt.Errorf("--format %s: want %s", format, strings.Join(inspectFormats, ", "))
			}
			lab, err := newLab(cache, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer lab.Store.Report()
			in.BOSAsTokenizer = !cmd.Flags().Changed("bos")
			result, err := lab.Inspect(cmd.Context(), in)
			if err != nil {
				return err
			}
			if err := writeInspected(cmd.OutOrStdout(), result, format); err != nil || dir == "" {
				return err
			}
			return saveInspected(dir, result)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&in.Model, "model", "m", "builtin:tiny-llama3",
		"`model`: a folder, a .gguf file, builtin:NAME or hub:ORG/NAME")
	f.StringVar(&in.Calibration.Text, "text", "builtin:calibration",
		"`text` for activations: builtin:NAME or a file; \"\" looks at weights only")
	f.IntVar(&in.Calibration.Tokens, "tokens", 8192, "`tokens` of the text, drawn in pieces of one context")
	f.IntVar(&in.Calibration.Context, "context", 0, "`tokens` of a piece (default: the model's positions, at most 2048)")
	f.Uint64Var(&in.Calibration.Seed, "seed", 1, "`seed` of the draw")
	f.BoolVar(&in.BOS, "bos", true, "begin every piece with the BOS token (default: if the tokenizer has one)")
	f.StringVar(&format, "format", "text", "`format` of the tables: "+strings.Join(inspectFormats, ", "))
	f.StringVarP(&dir, "output", "o", "", "`folder` for heat maps (PNG) and the tables as Markdown, CSV and JSON")
	f.StringVar(&cache, "cache", "", "cache `folder` (default: the user's cache folder)")
	return cmd
}

var inspectFormats = []string{"text", "md", "csv", "json"}

// measure is one column of the tables.
type measure struct {
	key, head, format string
	of                func(trial.Outliers) float64
}

var measures = []measure{
	{"kurtosis", "kurtosis", "%.2f", func(o trial.Outliers) float64 { return o.Kurtosis }},
	{"max_over_rms", "max/rms", "%.1f", func(o trial.Outliers) float64 { return o.MaxOverRMS }},
	{"far", ">6σ", "%.1e", func(o trial.Outliers) float64 { return o.Far }},
	{"row_peak", "row", "%.2f", func(o trial.Outliers) float64 { return o.RowPeak }},
	{"channel_peak", "channel", "%.2f", func(o trial.Outliers) float64 { return o.ColPeak }},
	{"channel_rms", "ch. rms", "%.2f", func(o trial.Outliers) float64 { return o.ColRMS }},
}

func defined(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// inspectedRow is one weight or activation as JSON. Values without a
// definition are missing.
type inspectedRow struct {
	Name     string             `json:"name"`
	Rows     int                `json:"rows"`
	Cols     int                `json:"cols"`
	RMS      float64            `json:"rms"`
	Values   map[string]float64 `json:"values"`
	Channels []inspectedChannel `json:"channels"` // largest root mean square first
}

type inspectedChannel struct {
	Index int      `json:"index"`
	Ratio *float64 `json:"ratio,omitempty"` // to the median channel
}

func newInspectedRow(o trial.Outliers) inspectedRow {
	r := inspectedRow{Name: o.Name, Rows: o.Rows, Cols: o.Cols, RMS: o.RMS, Values: map[string]float64{}}
	for _, m := range measures {
		if v := m.of(o); defined(v) {
			r.Values[m.key] = v
		}
	}
	for _, c := range o.Top {
		ch := inspectedChannel{Index: c.Index}
		if defined(c.Ratio) {
			ch.Ratio = &c.Ratio
		}
		r.Channels = append(r.Channels, ch)
	}
	return r
}

func writeInspected(out io.Writer, r *trial.Inspected, format string) error {
	switch format {
	case "json":
		return inspectedJSON(out, r)
	case "csv":
		return inspectedCSV(out, r)
	}
	in := r.Inspection
	fmt.Fprintf(out, "%s, weights stored as %s\n", in.Model, r.Precision)
	for _, w := range r.Warnings {
		fmt.Fprintln(out, "note:", w)
	}
	table := inspectedText
	if format == "md" {
		table = inspectedMarkdown
	}
	fmt.Fprint(out, "\nWeights\n\n")
	if err := table(out, r.Weights); err != nil || len(r.Activations) == 0 {
		return err
	}
	c := in.Calibration
	fmt.Fprintf(out, "\nInputs of linear layers: %d tokens of %s, context %d, seed %d, bos %v\n\n", r.Tokens, c.Text,
		c.Context, c.Seed, in.BOS)
	return table(out, r.Activations)
}

// cells are the columns of a table row after the name.
func cells(o trial.Outliers) []string {
	var list []string
	for _, m := range measures {
		s := "–"
		switch v := m.of(o); {
		case !defined(v):
		case v == 0:
			s = "0"
		default:
			s = fmt.Sprintf(m.format, v)
		}
		list = append(list, s)
	}
	var channels []string
	for _, c := range o.Top {
		s := fmt.Sprint(c.Index)
		if defined(c.Ratio) {
			s += fmt.Sprintf(" (%.1f)", c.Ratio)
		}
		channels = append(channels, s)
	}
	return append(list, strings.Join(channels, ", "))
}

func heads() []string {
	var list []string
	for _, m := range measures {
		list = append(list, m.head)
	}
	return append(list, "top channels")
}

func inspectedText(out io.Writer, list []trial.Outliers) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "name\tshape\t%s\n", strings.Join(heads(), "\t"))
	for _, o := range list {
		fmt.Fprintf(w, "%s\t%dx%d\t%s\n", shortName(o.Name), o.Rows, o.Cols, strings.Join(cells(o), "\t"))
	}
	return w.Flush()
}

func inspectedMarkdown(out io.Writer, list []trial.Outliers) error {
	var b strings.Builder
	fmt.Fprintf(&b, "| name | shape | %s |\n|---|---|%s---|\n", strings.Join(heads(), " | "),
		strings.Repeat("---:|", len(measures)))
	for _, o := range list {
		fmt.Fprintf(&b, "| %s | %dx%d | %s |\n", shortName(o.Name), o.Rows, o.Cols, strings.Join(cells(o), " | "))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// shortName leaves out what all names share.
func shortName(name string) string { return strings.TrimPrefix(name, "model.layers.") }

func inspectedCSV(out io.Writer, r *trial.Inspected) error {
	w := csv.NewWriter(out)
	head := []string{"kind", "name", "rows", "cols", "rms"}
	for _, m := range measures {
		head = append(head, m.key)
	}
	w.Write(append(head, "channel"))
	number := func(v float64) string {
		if !defined(v) {
			return ""
		}
		return strconv.FormatFloat(v, 'g', 8, 64)
	}
	for i, list := range [][]trial.Outliers{r.Weights, r.Activations} {
		for _, o := range list {
			line := []string{[]string{"weight", "activation"}[i], o.Name, strconv.Itoa(o.Rows), strconv.Itoa(o.Cols),
				number(o.RMS)}
			for _, m := range measures {
				line = append(line, number(m.of(o)))
			}
			w.Write(append(line, strconv.Itoa(o.Top[0].Index)))
		}
	}
	w.Flush()
	return w.Error()
}

func inspectedJSON(out io.Writer, r *trial.Inspected) error {
	c := r.Inspection.Calibration
	v := struct {
		Model       string         `json:"model"`
		Precision   string         `json:"precision"` // of the weights in the file
		Text        string         `json:"text,omitempty"`
		Tokens      int            `json:"tokens,omitempty"`
		Context     int            `json:"context,omitempty"`
		Seed        uint64         `json:"seed,omitempty"`
		BOS         bool           `json:"bos"`
		Warnings    []string       `json:"warnings,omitempty"`
		Weights     []inspectedRow `json:"weights"`
		Activations []inspectedRow `json:"activations,omitempty"`
	}{Model: r.Inspection.Model, Precision: r.Precision, BOS: r.Inspection.BOS, Warnings: r.Warnings}
	if c.Text != "" {
		v.Text, v.Tokens, v.Context, v.Seed = c.Text, r.Tokens, c.Context, c.Seed
	}
	for _, o := range r.Weights {
		v.Weights = append(v.Weights, newInspectedRow(o))
	}
	for _, o := range r.Activations {
		v.Activations = append(v.Activations, newInspectedRow(o))
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", " ")
	return enc.Encode(v)
}

// saveInspected writes the tables and a heat map of each measure to dir.
func saveInspected(dir string, r *trial.Inspected) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, format := range inspectFormats[1:] {
		var b bytes.Buffer
		if err := writeInspected(&b, r, format); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "inspect."+format), b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	for kind, list := range map[string][]trial.Outliers{"weights": r.Weights, "activations": r.Activations} {
		for _, m := range measures {
			h := heatMap(list, m)
			if h.Empty() {
				continue // nothing lies that far out, or no text was given
			}
			if err := reports.WriteHeatMap(h, filepath.Join(dir, kind+"-"+m.key+".png")); err != nil {
				return err
			}
		}
	}
	return nil
}

// heatMap arranges list with a row per kind of tensor and a column per layer.
func heatMap(list []trial.Outliers, m measure) figures.HeatMap {
	h := figures.HeatMap{Quantity: m.head, Axis: "layer", Log: true}
	if m.key == "kurtosis" {
		h.Quantity = "kurtosis (3 is a Gaussian's)"
	}
	for _, o := range list {
		layer, kind, _ := strings.Cut(shortName(o.Name), ".")
		i, j := place(&h.Rows, kind), place(&h.Columns, layer)
		for len(h.Values) <= i {
			h.Values = append(h.Values, nil)
		}
		for len(h.Values[i]) <= j {
			h.Values[i] = append(h.Values[i], math.NaN())
		}
		v := m.of(o)
		if m.key == "kurtosis" {
			v += 3 // never below 1, so that it has a logarithm
		}
		h.Values[i][j] = v
	}
	return h
}

// place returns the index of name in list, where it appends a new one.
func place(list *[]string, name string) int {
	i := slices.Index(*list, name)
	if i < 0 {
		i = len(*list)
		*list = append(*list, name)
	}
	return i
}
