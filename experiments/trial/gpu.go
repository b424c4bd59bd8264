package trial

import (
	"fmt"

	"github.com/mosaicquant/mosaicquant/internal/cudallm"
	"github.com/mosaicquant/mosaicquant/internal/llm"
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
