package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/mosaicquant/mosaicquant/experiments/bench"
	"github.com/mosaicquant/mosaicquant/experiments/trial"
)

func generateCommand() *cobra.Command {
	var g trial.Generation
	var cache string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Let a 16-bit or packed model continue a text, and time it",
		Long: `Generate prints the text that a model continues a prompt with, each token the most
likely one, and how fast: prefill is the time from the prompts to their first tokens, decode
the time for each token after them. All linear layers run on the kernels: those of a packed model
(see quantize) with the codes that it stores, others as bfloat16.

With --batch 1,4,8,16 that number of copies of the prompt is continued at a time; rates are tokens
of all copies together. For figures to keep, let the machine do nothing else meanwhile.

With --engine cuda the whole model runs on an NVIDIA GPU, activations and the cache of keys and values in
16 bits. That needs a build with the tag cuda.`,
		Example: `  go run ./experiments generate --prompt "The castle stands on"
  go run ./experiments quantize -c my.yaml --trial "mosaic" -o packed
  go run ./experiments generate -m packed --prompt "The castle stands on" --batch 1,4,8,16
  ./mosaicquant generate -m packed --prompt "The castle stands on" --batch 1,4,8,16 --engine cuda`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("prompt") {
				return errors.New("nothing to continue: give --prompt")
			}
			if g.Tokens < 2 || g.Repeats < 1 {
				return fmt.Errorf("--tokens %d, --repeats %d: want at least 2 and 1", g.Tokens, g.Repeats)
			}
			for _, b := range g.Batches {
				if b < 1 || b > 1024 {
					return fmt.Errorf("--batch %d: want 1 to 1024 copies", b)
				}
			}
			if !slices.Contains(trial.Engines, g.Engine) {
				return fmt.Errorf("--engine %s: want cpu or cuda", g.Engine)
			}
			lab, err := newLab(cache, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer lab.Store.Report()
			g.BOSAsTokenizer = !cmd.Flags().Changed("bos")
			out, err := lab.Generate(cmd.Context(), g)
			if err != nil {
				return err
			}
			rep := newGenerateReport(out)
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", " ")
				return enc.Encode(rep)
			}
			return rep.print(cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVarP(&g.Model, "model", "m", "builtin:tiny-llama3",
		"`model`: a folder, a .gguf file, builtin:NAME or hub:ORG/NAME")
	f.StringVar(&g.Prompt, "prompt", "", "`text` to continue")
	f.IntVar(&g.Tokens, "tokens", 32, "`tokens` to generate")
	f.IntSliceVar(&g.Batches, "batch", []int{1},
		"copies of the prompt that are continued at a time; several `sizes` are timed one after another")
	f.IntVar(&g.Repeats, "repeats", 3, "how often each batch is timed, after a run that is not; the median counts")
	f.StringVar(&g.Activations, "activations", "",
		"`format` of the inputs of linear layers: a16, a8 or a4 (default: a16, or what a packed model was made for)")
	f.StringVar(&g.Engine, "engine", "cpu", "`engine` that runs the model: cpu or cuda (an NVIDIA GPU)")
	f.BoolVar(&g.BOS, "bos", true, "begin the prompt with the BOS token (default: if the tokenizer has one)")
	f.BoolVar(&asJSON, "json", false, "print JSON, with the seconds of every repeat")
	f.StringVar(&cache, "cache", "", "cache `folder` (default: the user's cache folder)")
	return cmd
}

// generateReport is what generate prints.
type generateReport struct {
	Model        string           `json:"model"`
	Method       string           `json:"method,omitempty"` // of a packed model
	Activations  string           `json:"activations"`
	Execution    string           `json:"execution"`
	BOS          bool             `json:"bos"`
	Prompt       string           `json:"prompt"`
	Text         string           `json:"text"`
	PromptTokens int              `json:"prompt_tokens"`
	Tokens       int              `json:"tokens"`
	WeightBytes  int64            `json:"weight_bytes"` // that linear layers read for one token
	Batches      []generatedBatch `json:"batches"`
}

type generatedBatch struct {
	Batch       int       `json:"batch"`
	PrefillRate float64   `json:"prefill_tokens_per_second"`
	DecodeRate  float64   `json:"decode_tokens_per_second"`
	PrefillTime []float64 `json:"prefill_seconds"`
	DecodeTime  []float64 `json:"decode_seconds"`
}

func newGenerateReport(g *trial.Generated) *generateReport {
	asked := g.Generation
	rep := &generateReport{Model: asked.Model, Activations: asked.Activations, Execution: g.Execution, BOS: asked.BOS,
		Prompt: asked.Prompt, Text: g.Text, PromptTokens: g.PromptTokens, Tokens: asked.Tokens, WeightBytes: g.WeightBytes}
	if g.Packed != nil {
		rep.Method = g.Packed.String()
	}
	for _, s := range g.Speeds {
		rate := func(tokens int, seconds []float64) float64 {
			return float64(tokens*s.Batch) / bench.Bootstrap(seconds).Value
		}
		rep.Batches = append(rep.Batches, generatedBatch{s.Batch, rate(g.PromptTokens, s.Prefill),
			rate(asked.Tokens-1, s.Decode), s.Prefill, s.Decode})
	}
	return rep
}

func (r *generateReport) print(w io.Writer) error {
	fmt.Fprintf(w, "%s%s\n\n", r.Prompt, r.Text)
	if r.Method != "" {
		fmt.Fprintln(w, r.Method)
	}
	fmt.Fprintf(w, "%s, %s, %s; linear layers read %d bytes for a token\n", r.Model, r.Activations, r.Execution,
		r.WeightBytes)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "batch\tprompt\ttokens\tprefill token/s\tdecode token/s\tms for a token of each\t")
	for _, b := range r.Batches {
		fmt.Fprintf(t, "%d\t%d\t%d\t%.4g\t%.4g\t%.4g\t\n", b.Batch, r.PromptTokens, r.Tokens, b.PrefillRate, b.DecodeRate,
			1e3*float64(b.Batch)/b.DecodeRate)
	}
	return t.Flush()
}
