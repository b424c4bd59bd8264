package llm

import (
	"context"
	"slices"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/hf"
)

// counting is an engine that is another model on the CPU, and counts calls.
type counting struct {
	m     *Model
	calls int
}

func (c *counting) Hidden(ctx context.Context, seqs [][]int32) (gemm.Matrix, error) {
	c.calls++
	return c.m.Hidden(ctx, seqs, nil)
}

func (c *counting) Logits(dst, hidden gemm.Matrix) error {
	c.calls++
	return c.m.Logits(dst, hidden)
}

// TestEngine: an engine has all forward passes of its view, and none of another.
func TestEngine(t *testing.T) {
	c := hf.Config{ModelType: "llama", VocabSize: 40, HiddenSize: 32, MLPSize: 48, Layers: 2, Heads: 2, KVHeads: 1, HeadDim: 16,
		MaxPositions: 32, RMSNormEps: 1e-6, RopeTheta: 1e4}
	m, err := Open(Random(c, 1))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	e := &counting{m: m}
	v := m.WithEngine(e)
	seqs, after := [][]int32{{1, 2, 3}, {4}, {5, 6}}, []int{-1, 0, -1}
	want, err := m.HiddenAfter(t.Context(), seqs, after)
	if err != nil {
		t.Fatal(err)
	}
	got, err := v.HiddenAfter(t.Context(), seqs, after)
	if err != nil || e.calls != 1 {
		t.Fatalf("%d calls, %v", e.calls, err)
	}
	if d := difference(got, want); !(d <= tolerance) {
		t.Errorf("sequences that share a beginning differ by %.2g", d)
	}
	if _, err := v.Hidden(t.Context(), seqs, nil); err != nil || e.calls != 2 {
		t.Errorf("%d calls, %v", e.calls, err)
	}
	logits := gemm.NewMatrix(1, c.VocabSize)
	if err := v.Logits(logits, got.View(0, 1, 0, got.Cols)); err != nil || e.calls != 3 {
		t.Errorf("%d calls, %v", e.calls, err)
	}
	// What only the CPU can do is an error, and views that change something are no longer the engine's.
	if _, err := v.Hidden(t.Context(), seqs, func(string, gemm.Matrix) {}); err == nil {
		t.Error("an engine has a tap")
	}
	if _, err := v.Decode(t.Context(), m.NewCache(4), []int32{1}); err == nil {
		t.Error("an engine fills a cache")
	}
	for _, other := range []*Model{v.With(nil), v.WithPrefix([]int32{1})} {
		if _, err := other.Hidden(t.Context(), seqs, nil); err != nil || e.calls != 3 {
			t.Errorf("%d calls, %v", e.calls, err)
		}
	}
	if turned := m.Rotations(3); !slices.Equal(turned[:8], []float32{1, 1, 1, 1, 1, 1, 1, 1}) || len(turned) != 3*16 {
		t.Errorf("rotations %v", turned)
	}
}
