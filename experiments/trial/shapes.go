package trial

import (
	"fmt"
	"math/rand/v2"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/quant"
)

// CheckShapes returns why the trial t, one of this subject, must fail with the shapes of
// its model's linear layers: groups that do not divide K, a branch of a rank that no
// layer has, or a form that has no kernel where the trial asks for packed execution. It
// returns nil for what cannot be told without quantizing.
func (s *Subject) CheckShapes(t plan.Trial) error {
	m := t.Method
	for _, l := range s.linears {
		// quik, atom and llmint8 take channels out first.
		if m.Group > 0 && l.K%m.Group != 0 && m.Columns == 0 && m.Name != "llmint8" {
			return fmt.Errorf("%s: K=%d not divisible by group %d", l.Name, l.K, m.Group)
		}
		if low := min(l.N, l.K); m.Rank > low {
			return fmt.Errorf("%s: rank %d outside 1..%d", l.Name, m.Rank, low)
		}
	}
	if t.Execution != "packed" || m.Name == "none" {
		return nil
	}
	return checkKernel(t)
}

// checkKernel quantizes a small matrix of random weights as t says and packs it: whether
// there is a kernel depends on the form and not on the size.
func checkKernel(t plan.Trial) error {
	m := t.Method
	m.Budget, m.Rank = "", min(m.Rank, 1)
	method, err := quantizer(m)
	if err != nil {
		return err
	}
	const tokens = 32
	k := max(256, m.Group)
	random := rand.New(rand.NewPCG(1, 2))
	normal := func(rows int) gemm.Matrix {
		x := gemm.NewMatrix(rows, k)
		for i := range x.Data {
			x.Data[i] = float32(random.NormFloat64())
		}
		return x
	}
	sums := quant.NewAccumulator(k)
	if err := sums.Add(normal(tokens)); err != nil {
		return err
	}
	moments, err := sums.Finish()
	if err != nil {
		return err
	}
	w := normal(max(64, m.Block.Rows))
	q, err := method.Quantize(quant.Problem{Name: "example", Weights: w, Moments: moments, HeldOut: moments, Seed: 1})
	if err != nil {
		return nil // of these weights, which are not the model's
	}
	if _, err := packAll(q, t.Activations); err != nil {
		return fmt.Errorf("execution packed: %w", err)
	}
	return nil
}
