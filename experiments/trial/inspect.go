package trial

import (
	"context"
	"fmt"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/outliers"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
)

// Inspection asks for the outliers of a model.
type Inspection struct {
	Model string
	// Calibration names the text whose activations are looked at; without a
	// text only weights are. Context 0 is the model's positions, or 2048 if it
	// has more.
	Calibration plan.Calibration
	BOS         bool // begin every sequence with the BOS token
	// BOSAsTokenizer puts the tokenizer's choice in place of BOS.
	BOSAsTokenizer bool
}

// Inspected is the outcome of an Inspection.
type Inspected struct {
	Inspection  Inspection // with defaults resolved
	Precision   string     // of the weights in the file: "BF16", "Q4_1/Q8_0"
	Tokens      int        // that went through the model
	Weights     []Outliers // of each linear layer, in the order of execution
	Activations []Outliers // of each input that linear layers have
	Warnings    []string
}

// Outliers are those of the weight or the activation Name.
type Outliers struct {
	Name string
	outliers.Stats
}

// Inspect measures the outliers of weights and of the inputs of linear layers.
// The model runs over the text layer by layer, each layer twice, so that its
// weights are read from disk once and memory holds one layer's and two copies
// of the hidden states of all tokens.
func (l *Lab) Inspect(ctx context.Context, in Inspection) (*Inspected, error) {
	files, err := l.OpenModel(ctx, in.Model)
	if err != nil {
		return nil, err
	}
	model, err := llm.Open(files)
	if err != nil {
		return nil, err
	}
	defer model.Close()
	if in.Calibration.Context == 0 {
		in.Calibration.Context = min(model.Config().MaxPositions, 2048)
	}
	s := l.newSource(in.Model, model)
	if err := s.readTokenizer(files, in.BOS, in.BOSAsTokenizer); err != nil {
		return nil, err
	}
	in.BOS = s.bos >= 0
	calibrated := &calibrator{source: s, settings: in.Calibration}
	var batches []*sequences
	if in.Calibration.Text != "" {
		if err := calibrated.sample(); err != nil {
			return nil, err
		}
		if n, limit := in.Calibration.Context, model.Config().MaxPositions; n > limit {
			s.warn("a context of %d is beyond the %d positions the model was trained for", n, limit)
		}
		if batches, err = calibrated.batches(); err != nil {
			return nil, err
		}
	}
	out := &Inspected{Inspection: in, Precision: model.Checkpoint().Precision(),
		Tokens: calibrated.tokens(), Warnings: s.warnings}
	for first := 0; first < len(s.linears); {
		end := first
		for end < len(s.linears) && s.linears[end].Layer == s.linears[first].Layer {
			end++
		}
		linears := s.linears[first:end]
		weights, err := inspectWeights(ctx, linears)
		if err != nil {
			return nil, err
		}
		activations, err := inspectActivations(ctx, linears, batches)
		if err != nil {
			return nil, err
		}
		for _, w := range linears {
			release(w)
		}
		out.Weights, out.Activations = append(out.Weights, weights...), append(out.Activations, activations...)
		first = end
	}
	return out, nil
}

// inspectWeights measures the weights of one layer, several at a time.
func inspectWeights(ctx context.Context, linears []llm.Linear) ([]Outliers, error) {
	list := make([]Outliers, len(linears))
	err := parallel.For(len(linears), func(i int) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		s, err := outliers.Of(linears[i].Weights)
		if err != nil {
			return fmt.Errorf("%s.weight: %w", linears[i].Name, err)
		}
		list[i] = Outliers{linears[i].Name, s}
		return nil
	})
	return list, err
}

// sequences are some that go through the model together, and how far they have come.
type sequences struct {
	model  *llm.Model
	seqs   [][]int32
	stream *llm.Stream
}

// batches returns the sequences, before the first layer.
func (c *calibrator) batches() ([]*sequences, error) {
	var list []*sequences
	for rest := c.sequences; len(rest) > 0; {
		n := min(len(rest), max(1, batchTokens/len(rest[0])))
		stream, err := c.source.model.Begin(rest[:n])
		if err != nil {
			return nil, err
		}
		list = append(list, &sequences{c.source.model, rest[:n], stream})
		rest = rest[n:]
	}
	return list, nil
}

// rehearse runs the next layer without advancing.
func (b *sequences) rehearse(ctx context.Context, tap func(string, gemm.Matrix)) error {
	copied, err := b.model.Resume(b.seqs, b.stream.Layer(), b.stream.State().Clone())
	if err != nil {
		return err
	}
	return copied.Advance(ctx, tap)
}

// inspectActivations advances the batches by the layer that linears are of and
// measures their inputs.
func inspectActivations(ctx context.Context, linears []llm.Linear, batches []*sequences) ([]Outliers, error) {
	if len(batches) == 0 {
		return nil, nil
	}
	var sites []string
	collectors := map[string]*outliers.Collector{}
	for _, w := range linears {
		if collectors[w.Site] == nil {
			sites = append(sites, w.Site)
			collectors[w.Site] = outliers.NewCollector(w.K)
		}
	}
	tap := func(site string, x gemm.Matrix) { collectors[site].Add(x) }
	for _, b := range batches {
		if err := b.rehearse(ctx, tap); err != nil {
			return nil, err
		}
	}
	for _, c := range collectors {
		c.Turn()
	}
	for _, b := range batches {
		if err := b.stream.Advance(ctx, tap); err != nil {
			return nil, err
		}
	}
	var list []Outliers
	for _, site := range sites {
		stats, err := collectors[site].Stats()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", site, err)
		}
		list = append(list, Outliers{site, stats})
	}
	return list, nil
}
