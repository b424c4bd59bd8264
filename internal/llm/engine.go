package llm

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/quant"
)

// Engine executes the forward pass of a view of a model in another place, such as a GPU. Its methods
// do what those of Model say that have the same names, and are safe for concurrent use.
type Engine interface {
	Hidden(ctx context.Context, seqs [][]int32) (gemm.Matrix, error)
	Logits(dst, hidden gemm.Matrix) error
}

// WithEngine returns a view of m that e executes, which must have been made of m. Views of
// it that change a layer run on the CPU again. The inputs of
// linear layers cannot be tapped there, nor caches be filled.
func (m *Model) WithEngine(e Engine) *Model {
	v := *m
	v.engine = e
	return &v
}

// OnEngine reports whether an engine executes m.
func (m *Model) OnEngine() bool { return m.engine != nil }

var errEngine = errors.New("llm: a model on an engine has neither taps nor caches of this package")

// engineAfter is HiddenAfter on the engine, which runs whole sequences.
func (m *Model) engineAfter(ctx context.Context, seqs [][]int32, after []int) (gemm.Matrix, error) {
	whole, rows, total := make([][]int32, len(seqs)), 0, 0
	for i, ids := range seqs {
		if whole[i] = ids; after[i] >= 0 {
			whole[i] = slices.Concat(seqs[after[i]], ids)
		}
		rows, total = rows+len(ids), total+len(whole[i])
	}
	all, err := m.engine.Hidden(ctx, whole)
	if err != nil || rows == total {
		return all, err
	}
	y, from, to := gemm.NewMatrix(rows, m.dim), 0, 0
	for i, ids := range seqs {
		from += len(whole[i]) - len(ids)
		for range ids {
			copy(y.Row(to), all.Row(from))
			from, to = from+1, to+1
		}
	}
	return y, nil
}

// Part is one linear layer as a view executes it.
type Part struct {
	Name    string
	Weights gemm.Source // [N,K]
	Bias    []float32   // [N], or nil
	Act     quant.Activations
	Product Product // or nil, for Weights and Act
}

// Block is a decoder layer as a view executes it, for engines.
type Block struct {
	InputNorm, PostNorm []float32 // [D]
	QNorm, KNorm        []float32 // [d], or nil
	Window              int       // tokens that a token sees, its own included; 0 for all
	// Q, K, V, O, Gate, Up and Down.
	Linears [7]Part
	// Online are the sites whose inputs are turned while the model runs.
	Online []string
}

// Blocks returns the decoder layers.
func (m *Model) Blocks() []Block {
	var all []Block
	for l := range m.layers {
		w := &m.layers[l]
		b := Block{InputNorm: w.inputNorm, PostNorm: w.postNorm, QNorm: w.qNorm, KNorm: w.kNorm, Window: w.window}
		i := 0
		for site, group := range w.linears {
			for j := range group {
				b.Linears[i] = group[j].part()
				i++
			}
			if w.online[site] != nil {
				b.Online = append(b.Online, siteName(l, site))
			}
		}
		all = append(all, b)
	}
	return all
}

// OutputPart returns the output layer.
func (m *Model) OutputPart() Part { return m.output.part() }

func (w *linear) part() Part {
	return Part{Name: w.name, Weights: w.weights, Bias: w.bias, Act: w.act, Product: w.product}
}

// Rotations returns the cosines, then the sines of each of the first n positions, [n, 2, d/2].
func (m *Model) Rotations(n int) []float32 { return m.rope.table(n)[:n*m.headDim] }

// CheckIDs returns an error for a token id outside of the vocabulary.
func (m *Model) CheckIDs(seqs [][]int32) error {
	for i, ids := range seqs {
		if err := m.checkIDs(ids, 0); err != nil {
			return fmt.Errorf("llm: %s: sequence %d: %w", m.name, i, err)
		}
	}
	return nil
}

// Name is that of the model's folder, for errors.
func (m *Model) Name() string { return m.name }
