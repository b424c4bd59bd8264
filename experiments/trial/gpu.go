package trial

import (
	"context"
	"errors"
	"fmt"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/cudallm"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/zipper/cuda"
)

// Engines are what models run on: the CPU, or the first NVIDIA GPU.
var Engines = []string{"cpu", "cuda"}

// checkEngine reports why engine does not run here. "" is the CPU.
func checkEngine(engine string) error {
	switch engine {
	case "", "cpu":
		return nil
	case "cuda":
		return cudallm.Available()
	}
	return fmt.Errorf("engine %q: want cpu or cuda", engine)
}

// describeGPU is what a model on a GPU runs on, for readers.
func describeGPU(g *cudallm.Model) string {
	text := fmt.Sprintf("engine cuda: %s; %s", g.Device(), g.Kernels())
	if w := g.Warning(); w != "" {
		text += "; " + w
	}
	return text
}

// openGPU copies view to a GPU, exactly as it is (see package cudallm), and returns the view that runs there.
// Its quantized layers run on the kernels for packed weights where packed says so. The caller closes g.
func openGPU(view *llm.Model, packed bool) (on *llm.Model, g *cudallm.Model, err error) {
	if g, err = cudallm.Open(view, cudallm.Options{Packed: packed}); err != nil {
		return nil, nil, err
	}
	return view.WithEngine(g), g, nil
}

// CheckEngines reports why a trial's engine does not run here.
func CheckEngines(trials []plan.Trial) error {
	for _, t := range trials {
		if err := checkEngine(t.Engine); err != nil {
			return fmt.Errorf("trial %q: %w", t.Label, err)
		}
	}
	return nil
}

// refusedByGPU reports what no kernel of a GPU does of t, however its weights are executed.
func refusedByGPU(t plan.Trial) error {
	if t.Engine != "cuda" {
		return nil
	}
	act, err := activations(t)
	switch {
	case err != nil:
		return err
	case act != quant.A16 && act != quant.A8 && act != quant.A4:
		return fmt.Errorf("activations %s have no kernel", act)
	case t.ActivationsScale != "":
		return errors.New("scales of inputs that are found beforehand have no kernel")
	case t.ActivationsWide > 0:
		return errors.New("inputs with wide channels have no kernel")
	case t.Prefix != "":
		return errors.New("tokens that stand before every sequence have no kernel")
	}
	return nil
}

// cudaScheme is what packed weights are executed under with inputs of the format act.
func cudaScheme(act quant.Activations) cuda.Scheme {
	switch act {
	case quant.A8:
		return cuda.W4A8
	case quant.A4:
		return cuda.W4A4
	}
	return cuda.W4A16BF16
}

// evaluate scores the view of the trial t on the engine of t, and says in r what ran, where that is
// not the CPU.
func (s *Subject) evaluate(ctx context.Context, t plan.Trial, view *llm.Model,
	r *row.Row) (e *evaluation, err error) {
	if t.Engine == "cuda" {
		on, g, failed := openGPU(view, t.Execution == "packed")
		if failed != nil {
			return nil, failed
		}
		defer func() { err = errors.Join(err, g.Close()) }()
		view = on
		r.Execution = &row.Execution{Engine: "cuda", Device: g.Device(), Requested: "cuda", Kernel: g.Kernels()}
		if text := g.Warning(); text != "" {
			r.Warnings = append(r.Warnings, text)
		}
	}
	return s.evaluator.evaluate(ctx, view, s.ID(t))
}

// fullModel is the 16-bit model of an evaluation on its engine, without prefix. On a GPU it is there
// from the first time that it is asked for.
type fullModel struct {
	e *evaluator
	g *cudallm.Model
}

func (f *fullModel) hidden(ctx context.Context, seqs [][]int32) (y gemm.Matrix, err error) {
	model := f.e.source.model.WithPrefix(nil)
	if f.e.engine == "" {
		return model.Hidden(ctx, seqs, nil)
	}
	if f.g == nil {
		if _, f.g, err = openGPU(model, false); err != nil {
			return y, err
		}
	}
	return f.g.Hidden(ctx, seqs)
}

func (f *fullModel) close() error {
	if f.g == nil {
		return nil
	}
	return f.g.Close()
}
