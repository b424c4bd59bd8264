package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/mosaicquant/mosaicquant/experiments/trial"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/tasks"
	"github.com/mosaicquant/mosaicquant/reports/stats"
)

func evalCommand() *cobra.Command {
	var e trial.Evaluation
	var cache, harness string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "eval",
		Short: "Measure the perplexity and zero-shot tasks of a 16-bit or packed model",
		Long: `Eval scores a model as it is stored, with 16-bit weights or as the quantize command
packs them, on a text, on zero-shot tasks, or on both. Tasks have the prompts,
tokenisation and metrics of lm-evaluation-harness 0.4: acc_norm divides
log-likelihoods by the characters of a choice, acc_bytes by its UTF-8 bytes.
Standard errors are over windows of the text and items of a task.

A task is builtin:choice, builtin:cloze or TASK=FILE with a TASK of
` + strings.Join(tasks.Names(), ", ") + `;
FILE is JSON lines as Hugging Face exports them, or Parquet. TASK alone is read from
Hugging Face's cache on this machine. A text may be Parquet with a column text.`,
		Example: `  go run ./experiments eval --text builtin:heldout --tasks builtin:choice,builtin:cloze
  go run ./experiments eval -m hub:meta-llama/Llama-3.2-1B --text wiki.test.raw --context 2048
  go run ./experiments eval -m /models/Qwen3-0.6B --bos=false --tasks arc_easy=ARC-Easy-test.jsonl --limit 500
  go run ./experiments eval -m /models/Qwen3-0.6B --tasks arc_easy,hellaswag`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkEvaluation(cmd, e); err != nil {
				return err
			}
			lab, err := newLab(cache, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer lab.Store.Report()
			e.BOSAsTokenizer = !cmd.Flags().Changed("bos")
			result, err := lab.Evaluate(cmd.Context(), e)
			if err != nil {
				return err
			}
			if harness != "" {
				if err := writeLMEval(harness, result); err != nil {
					return err
				}
			}
			rep, err := newEvalReport(result)
			if err != nil {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", " ")
				return enc.Encode(rep)
			}
			return rep.print(cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVarP(&e.Model, "model", "m", "builtin:tiny-llama3",
		"`model`: a folder, a .gguf file, builtin:NAME or hub:ORG/NAME")
	f.StringVar(&e.Protocol.Text, "text", "", "`text` for perplexity: builtin:NAME or a file")
	f.IntVar(&e.Protocol.Context, "context", 0,
		"`tokens` a window of the text (default: the model's positions, at most 2048)")
	f.IntVar(&e.Protocol.Stride, "stride", 0, "`tokens` from one window to the next (default: the context)")
	f.IntVar(&e.Protocol.Tokens, "tokens", 0, "score at most so many `tokens` of the text (default: all)")
	f.BoolVar(&e.Protocol.BOS, "bos", true,
		"begin every window and task context with the BOS token (default: if the tokenizer has one)")
	f.StringSliceVar(&e.Tasks, "tasks", nil, "`tasks`, separated by commas")
	f.IntVar(&e.Limit, "limit", 0, "score only the first `n` items of each task (default: all)")
	f.IntVar(&e.MaxLength, "max-length", 0, "`tokens` of a task's request that the model reads (default: its positions)")
	f.StringVar(&e.Activations, "activations", "",
		"`format` of the inputs of linear layers: a16, a8 or a4 (default: a16, or what a packed model was made for)")
	f.StringVar(&e.Execution, "execution", "fake",
		"`way` to multiply by the codes of a packed model: fake (float32 products with what they stand for) or packed (on "+
			"the kernels)")
	f.StringVar(&e.Engine, "engine", "cpu", "`engine` that runs the model: cpu or cuda (an NVIDIA GPU)")
	f.BoolVar(&asJSON, "json", false, "print JSON, with the values of every window and item")
	f.StringVar(&harness, "lm-eval-json", "", "`file` to write the tasks to, in the layout of lm-evaluation-harness")
	f.StringVar(&cache, "cache", "", "cache `folder` (default: the user's cache folder)")
	return cmd
}

// checkEvaluation returns an error if the flags of eval ask for nothing, or have a value out of range.
func checkEvaluation(cmd *cobra.Command, e trial.Evaluation) error {
	if e.Protocol.Text == "" && len(e.Tasks) == 0 {
		return errors.New("nothing to measure: give --text, --tasks or both")
	}
	for _, name := range []string{"context", "stride", "tokens", "limit", "max-length"} {
		if n, err := cmd.Flags().GetInt(name); err != nil || n < 0 {
			return fmt.Errorf("--%s %d: want a positive number, or 0 for the default", name, n)
		}
	}
	if e.Execution != "fake" && e.Execution != "packed" {
		return fmt.Errorf("--execution %s: want fake or packed", e.Execution)
	}
	if !slices.Contains(trial.Engines, e.Engine) {
		return fmt.Errorf("--engine %s: want cpu or cuda", e.Engine)
	}
	return nil
}

// evalReport is what eval prints.
type evalReport struct {
	Model       string     `json:"model"`
	Activations string     `json:"activations"`
	Execution   string     `json:"execution"`
	Engine      string     `json:"engine"`
	GPU         string     `json:"gpu,omitempty"`
	BOS         bool       `json:"bos"`
	Method      string     `json:"method,omitempty"` // of a packed model
	Text        *textEval  `json:"text,omitempty"`
	Tasks       []taskEval `json:"tasks,omitempty"`
	Warnings    []string   `json:"warnings,omitempty"`
}

type textEval struct {
	Ref     string       `json:"ref"`
	Context int          `json:"context"`
	Stride  int          `json:"stride"`
	Tokens  int          `json:"tokens"` // scored
	Values  []row.Value  `json:"values"`
	Series  []row.Series `json:"series"`
}

type taskEval struct {
	Name      string      `json:"name"`
	Ref       string      `json:"ref"`
	SHA256    string      `json:"sha256"`
	MaxLength int         `json:"max_length"`
	Truncated int         `json:"truncated"` // requests that lost tokens
	Metrics   []row.Value `json:"metrics"`
	Items     []itemEval  `json:"items"`
}

type itemEval struct {
	At             string    `json:"at"`
	LogLikelihoods []float64 `json:"log_likelihoods"` // nat, of each request
	Greedy         []bool    `json:"greedy"`
	// Of choices.
	Choice       *int `json:"choice,omitempty"`
	ChoiceByChar *int `json:"choice_by_char,omitempty"`
	ChoiceByByte *int `json:"choice_by_byte,omitempty"`
	Answer       *int `json:"answer,omitempty"`
}

func newEvalReport(e *trial.Evaluated) (*evalReport, error) {
	asked, p := e.Evaluation, e.Evaluation.Protocol
	rep := &evalReport{Model: asked.Model, Activations: asked.Activations, Execution: asked.Execution, Engine: asked.Engine,
		GPU: e.GPU, BOS: p.BOS, Warnings: e.Warnings}
	if e.Packed != nil {
		rep.Method = e.Packed.String()
	}
	if e.Text != nil {
		t := &textEval{Ref: p.Text, Context: p.Context, Stride: p.Stride, Values: e.Text.Values, Series: e.Text.Series}
		for _, n := range e.Text.Windows(row.WindowTokens) {
			t.Tokens += int(n)
		}
		nll, err := stats.Mean(e.Text.Windows(row.WindowNLL), e.Text.Windows(row.WindowTokens))
		if err != nil {
			return nil, err
		}
		if ppl := nll.Exp(); nll.Interval() {
			for i := range t.Values {
				switch v := &t.Values[i]; v.Name {
				case row.NLL:
					v.SE = &nll.SE
				case row.PPLToken:
					v.SE = &ppl.SE
				}
			}
		}
		rep.Text = t
	}
	for _, r := range e.Tasks {
		t := taskEval{Name: r.Task.Name, Ref: r.Task.Ref, SHA256: r.Task.SHA256, MaxLength: asked.MaxLength,
			Truncated: r.Truncated}
		for _, m := range r.Metrics {
			t.Metrics = append(t.Metrics, row.Value{Name: m.Name, Value: m.Value, SE: m.SE})
		}
		for i, a := range r.Answers {
			item := itemEval{At: r.Task.Items[i].At, LogLikelihoods: a.LogLikelihoods, Greedy: a.Greedy}
			if r.Task.Items[i].Choices != nil {
				item.Choice, item.ChoiceByChar, item.ChoiceByByte = &a.Choice, &a.ChoiceByChar, &a.ChoiceByByte
				item.Answer = &r.Task.Items[i].Answer
			}
			t.Items = append(t.Items, item)
		}
		rep.Tasks = append(rep.Tasks, t)
	}
	return rep, nil
}

func (r *evalReport) print(out io.Writer) error {
	fmt.Fprintf(out, "%s, activations %s, bos %v\n", r.Model, r.Activations, r.BOS)
	if r.Method != "" {
		fmt.Fprintln(out, "quantized:", r.Method)
	}
	if r.GPU != "" {
		fmt.Fprintln(out, r.GPU)
	}
	for _, text := range r.Warnings {
		fmt.Fprintln(out, "note:", text)
	}
	if t := r.Text; t != nil {
		fmt.Fprintf(out, "\n%s: context %d, stride %d, %d tokens in %d windows\n", t.Ref, t.Context, t.Stride, t.Tokens,
			len(t.Series[0].Values))
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		for _, v := range t.Values {
			fmt.Fprintf(w, "%s\t%.4f\t%s\t%s\n", v.Name, v.Value, standardError(v), v.Unit)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if len(r.Tasks) == 0 {
		return nil
	}
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "task\titems\tmetric\tvalue\tSE\t")
	for _, t := range r.Tasks {
		for i, v := range t.Metrics {
			name, items := t.Name, fmt.Sprint(len(t.Items))
			if i > 0 {
				name, items = "", ""
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%.4f\t%s\t\n", name, items, v.Name, v.Value, standardError(v))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, t := range r.Tasks {
		if t.Truncated > 0 {
			fmt.Fprintf(out, "%s: %d requests were longer than %d tokens and lost some at their beginning\n", t.Name,
				t.Truncated, t.MaxLength)
		}
	}
	return nil
}

func standardError(v row.Value) string {
	if v.SE == nil {
		return ""
	}
	return fmt.Sprintf("± %.4f", *v.SE)
}
