//go:build cuda && linux && cgo

package cudallm

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/zipper/cuda"
	"github.com/mosaicquant/mosaicquant/zipper/cuda/driver"
)

// Model is a model on a GPU. Its methods are safe for concurrent use, and wait for each other.
type Model struct {
	mu      sync.Mutex
	device  *cuda.Device
	name    string
	options Options
	source  *llm.Model // its vocabulary and rotations

	vocab, dim, q, kv, inter int // V, D, Q, KV, I
	heads                    cuda.Heads
	eps                      float32

	embed  driver.Buffer // bfloat16 or float32 [V,D]
	table  cuda.Type     // its type
	norm   driver.Buffer
	layers []*layer
	output *linear

	rotations driver.Buffer // of positions so far
	positions int
	space     space
	steps     recorded
}

// layer is a decoder layer on the device.
type layer struct {
	inputNorm, postNorm, qNorm, kNorm driver.Buffer
	window                            int
	linears                           [7]*linear // q, k, v, o, gate, up, down
}

// Available reports why no model runs on a GPU here, nil if one does.
func Available() error {
	n, err := driver.Count()
	switch {
	case err != nil:
		return fmt.Errorf("engine cuda: %w", err)
	case n == 0:
		return errors.New("engine cuda: there is no CUDA device")
	}
	return nil
}

// Open puts m on the first device, as the view m executes it. Its weights are copied: m may be closed, but for its
// vocabulary. What has no kernel is an error that names the layer.
func Open(m *llm.Model, o Options) (*Model, error) {
	blocks := m.Blocks()
	for l := range blocks {
		if online := blocks[l].Online; len(online) > 0 {
			return nil, fmt.Errorf("engine cuda: %s: inputs that are turned while the model runs have no kernel", online[0])
		}
	}
	if len(m.Prefix()) > 0 {
		return nil, errors.New("engine cuda: tokens that stand before every sequence have no kernel")
	}
	if o.Repeat > 0 {
		blocks = slices.Repeat(blocks[:1], o.Repeat)
	}
	c := m.Config()
	g := &Model{name: m.Name(), options: o, source: m, vocab: c.VocabSize, dim: c.HiddenSize, q: c.Heads * c.HeadDim,
		kv: c.KVHeads * c.HeadDim, inter: c.MLPSize, eps: float32(c.RMSNormEps),
		heads: cuda.Heads{Heads: c.Heads, KVHeads: c.KVHeads, Dim: c.HeadDim}}
	if o.Fast {
		g.heads.Type = cuda.Half
	}
	if err := g.heads.Check(); err != nil {
		return nil, fmt.Errorf("engine cuda: %w", err)
	}
	var err error
	if g.device, err = cuda.Open(0); err != nil {
		return nil, fmt.Errorf("engine cuda: %w", err)
	}
	l := &loader{g.device, o, map[string]*cuda.Layout{}, map[string][2][]byte{}}
	if err := g.load(m, l, blocks); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

// load copies all weights.
func (g *Model) load(m *llm.Model, l *loader, blocks []llm.Block) error {
	if err := g.loadEnds(m); err != nil {
		return err
	}
	for i := range blocks {
		b, y := &blocks[i], &layer{window: blocks[i].Window}
		g.layers = append(g.layers, y)
		err := g.device.Do(func(w *cuda.Work) error {
			err := errors.Join(w.Fill(&y.inputNorm, float32Bytes(b.InputNorm)),
				w.Fill(&y.postNorm, float32Bytes(b.PostNorm)))
			if err == nil && b.QNorm != nil {
				err = errors.Join(w.Fill(&y.qNorm, float32Bytes(b.QNorm)), w.Fill(&y.kNorm, float32Bytes(b.KNorm)))
			}
			return err
		})
		for j := range b.Linears {
			if err != nil {
				return err
			}
			y.linears[j], err = l.linear(b.Linears[j], !g.options.Fast)
		}
		if err != nil {
			return err
		}
	}
	var err error
	g.output, err = l.linear(m.OutputPart(), true)
	return err
}

// loadEnds copies what is before the first layer and behind the last but the output layer.
func (g *Model) loadEnds(m *llm.Model) error {
	cut := split(m.Embedding(), g.options.Fast)
	data := cut[0]
	g.table = cuda.BFloat16
	if cut[1] != nil { // not a table of bfloat16
		whole := gemm.NewMatrix(g.vocab, g.dim)
		m.Embedding().Load(whole, 0, 0)
		data, g.table = float32Bytes(whole.Data), cuda.Float32
	}
	return g.device.Do(func(w *cuda.Work) error {
		return errors.Join(w.Fill(&g.embed, data), w.Fill(&g.norm, float32Bytes(m.FinalNorm())))
	})
}

// Close frees the model.
func (g *Model) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	err := g.output.close(g.device)
	for _, l := range g.layers {
		for _, w := range l.linears {
			err = errors.Join(err, w.close(g.device))
		}
	}
	err = errors.Join(err, g.device.Do(func(w *cuda.Work) error {
		err := errors.Join(w.Free(&g.embed), w.Free(&g.norm), w.Free(&g.rotations), g.space.free(w),
			w.FreeGraph(g.steps.graph))
		for _, l := range g.layers {
			err = errors.Join(err, w.Free(&l.inputNorm), w.Free(&l.postNorm), w.Free(&l.qNorm), w.Free(&l.kNorm))
		}
		return err
	}))
	return errors.Join(err, g.device.Close())
}

// Device describes the GPU.
func (g *Model) Device() string {
	i := g.device.Info
	return fmt.Sprintf("%s, %d SMs, compute capability %s, CUDA driver %s", i.Name, i.SMs, i.Capability, i.Driver)
}

// Warning says of emulated kernels that their times are none.
func (g *Model) Warning() string {
	if g.device.Info.Emulated {
		return "kernels were emulated on the CPU: this time says nothing about a GPU"
	}
	return ""
}

// WeightBytes is what the linear layers of the decoder read for one step.
func (g *Model) WeightBytes() int64 {
	var n int64
	for _, l := range g.layers {
		for _, w := range l.linears {
			n += w.bytes()
		}
	}
	return n
}

// Kernels says what multiplies: "14 x w4a8_zip, 1 x cuBLAS bf16". After Generate it also says if its steps
// could not be recorded as a graph.
func (g *Model) Kernels() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	count := map[string]int{}
	name := func(l *linear) string {
		if l.packed != nil {
			return l.packed.Name()
		}
		return "cuBLAS bf16"
	}
	for _, l := range g.layers {
		for _, w := range l.linears {
			count[name(w)]++
		}
	}
	count[name(g.output)]++
	var all []string
	for _, k := range slices.Sorted(maps.Keys(count)) {
		all = append(all, fmt.Sprintf("%d x %s", count[k], k))
	}
	if g.steps.why != nil {
		all = append(all, fmt.Sprintf("steps without a graph (%v)", g.steps.why))
	}
	return strings.Join(all, ", ")
}
