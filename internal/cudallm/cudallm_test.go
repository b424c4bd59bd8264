//go:build cuda && linux && cgo

package cudallm

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/builtin"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/hf"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/mosaic"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
	"github.com/mosaicquant/mosaicquant/quant/solve"
	"github.com/mosaicquant/mosaicquant/zipper"
)

// These tests run on a GPU, or on the fake driver: scripts/cuda-go-check.

func openBuiltin(t *testing.T, name string) *llm.Model {
	t.Helper()
	if err := Available(); err != nil {
		t.Skip(err)
	}
	files, err := builtin.Model(name)
	if err != nil {
		t.Skip(err) // a build without models
	}
	return openFiles(t, files)
}

func openFiles(t *testing.T, files hf.Files) *llm.Model {
	t.Helper()
	m, err := llm.Open(files)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func openGPU(t *testing.T, m *llm.Model, o Options) *Model {
	t.Helper()
	g, err := Open(m, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// text returns sequences of tokens.
func text(m *llm.Model, lengths ...int) [][]int32 {
	rng := rand.New(rand.NewPCG(7, 7))
	var seqs [][]int32
	for _, n := range lengths {
		ids := make([]int32, n)
		for i := range ids {
			ids[i] = int32(rng.IntN(m.Config().VocabSize))
		}
		seqs = append(seqs, ids)
	}
	return seqs
}

// logits are those of all tokens.
func logits(t *testing.T, m *llm.Model, seqs [][]int32) gemm.Matrix {
	t.Helper()
	hidden, err := m.Hidden(context.Background(), seqs, nil)
	if err != nil {
		t.Fatal(err)
	}
	y := gemm.NewMatrix(hidden.Rows, m.Config().VocabSize)
	if err := m.Logits(y, hidden); err != nil {
		t.Fatal(err)
	}
	return y
}

// distance is the largest difference over the largest logit.
func distance(got, want gemm.Matrix) float64 {
	var far, most float64
	for i := range want.Rows {
		for j, w := range want.Row(i) {
			d := math.Abs(float64(got.Row(i)[j]) - float64(w))
			if d != d {
				return math.NaN()
			}
			far, most = max(far, d), max(most, math.Abs(float64(w)))
		}
	}
	return far / most
}

// quantized returns a view of m whose linear layers have int4 codes, and inputs rounded as act says. Every
// other layer has a residual where density is not 0.
func quantized(t *testing.T, m *llm.Model, act quant.Activations, density float64, names ...string) *llm.Model {
	t.Helper()
	base := solve.RTN{Format: quant.Int4(64), Scale: grid.Scale{Rule: grid.AbsMax}}
	replacements := map[string]llm.Replacement{}
	for i, l := range m.Linears() {
		if names != nil && !slices.ContainsFunc(names, func(s string) bool { return strings.Contains(l.Name, s) }) {
			continue
		}
		p := quant.Problem{Name: l.Name, Weights: gemm.NewMatrix(l.N, l.K)}
		l.Weights.Load(p.Weights, 0, 0)
		var method quant.Quantizer = base
		if density > 0 && i%2 == 0 {
			p.Moments = quanttest.Problem(t, 1, l.K, 1).Moments
			method = mosaic.Mosaic{Base: base, Criterion: mosaic.CriterionDelta,
				Blocks: mosaic.Blocks{BlockRows: 16, BlockCols: 16, Density: density, Bits: 4}}
		}
		q, err := method.Quantize(p)
		if err != nil {
			t.Fatal(err)
		}
		replacements[l.Name] = llm.Replacement{Weights: q, Act: act}
	}
	return m.With(replacements)
}

// onCPUKernels returns m with its quantized layers on the kernels of package zipper.
func onCPUKernels(t *testing.T, m *llm.Model) *llm.Model {
	t.Helper()
	replacements := map[string]llm.Replacement{}
	for _, b := range m.Blocks() {
		for _, p := range b.Linears {
			q := p.Weights.(*quant.Quantized)
			variant := zipper.Dense4
			if q.Residual != nil {
				variant = zipper.Zipped
			}
			w, err := zipper.PrepackFor(q, variant, p.Act)
			if err != nil {
				t.Fatal(err)
			}
			replacements[p.Name] = llm.Replacement{Product: w}
		}
	}
	return m.With(replacements)
}

// greedy continues a prompt on the CPU, and returns how far the best logit was ahead of the next at least.
func greedy(t *testing.T, m *llm.Model, prompt []int32, tokens int) (ids []int32, ahead float32) {
	t.Helper()
	cache, in, ahead := m.NewCache(len(prompt)+tokens), prompt, float32(math.Inf(1))
	row := gemm.NewMatrix(1, m.Config().VocabSize)
	for range tokens {
		hidden, err := m.Decode(context.Background(), cache, in)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Logits(row, hidden.View(hidden.Rows-1, hidden.Rows, 0, hidden.Cols)); err != nil {
			t.Fatal(err)
		}
		best := 0
		for i, v := range row.Data {
			if v > row.Data[best] {
				best = i
			}
		}
		for i, v := range row.Data {
			if i != best {
				ahead = min(ahead, row.Data[best]-v)
			}
		}
		in = []int32{int32(best)}
		ids = append(ids, int32(best))
	}
	return ids, ahead
}

// same compares logits of two sequences and greedy tokens of three with those of the CPU.
func same(t *testing.T, m *llm.Model, o Options, tolerance float64) {
	t.Helper()
	g := openGPU(t, m, o)
	seqs := text(m, 21, 6)
	if d := distance(logits(t, m.WithEngine(g), seqs), logits(t, m, seqs)); !(d <= tolerance) {
		t.Errorf("%s: logits differ by %.2g of the largest, want at most %.2g", g.Kernels(), d, tolerance)
	} else {
		t.Logf("%s: logits differ by %.2g of the largest", g.Kernels(), d)
	}
	after := []int{-1, 0, 0}
	parts := [][]int32{seqs[1][:2], seqs[1][2:], seqs[0][:3]}
	want, err := m.HiddenAfter(t.Context(), parts, after)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := m.WithEngine(g).HiddenAfter(t.Context(), parts, after); err != nil || !(distance(got, want) <= tolerance) {
		t.Errorf("%s: sequences that share a beginning: hidden states differ: %v", g.Kernels(), err)
	}
	prompts := text(m, 9, 2, 5)
	out, err := g.Generate(context.Background(), prompts, 5)
	if err != nil {
		t.Fatal(err)
	}
	if g.steps.graph == nil || g.steps.why != nil {
		t.Errorf("%s: steps were not recorded: %v", g.Kernels(), g.steps.why)
	}
	for i, p := range prompts {
		want, ahead := greedy(t, m, p, 5)
		if !slices.Equal(out.Tokens[i], want) {
			t.Errorf("%s: prompt %d goes on with %v, want %v (the best logit is ahead by %.2g at least)", g.Kernels(), i,
				out.Tokens[i], want, ahead)
		}
	}
}

// TestSixteen: models of 16-bit weights have the logits and tokens that float32 on the CPU has.
func TestSixteen(t *testing.T) {
	for _, name := range []string{"tiny-llama3", "tiny-qwen3"} {
		t.Run(name, func(t *testing.T) { same(t, openBuiltin(t, name), Options{}, 1e-3) })
	}
	t.Run("folded", func(t *testing.T) { same(t, openBuiltin(t, "tiny-qwen3").Fold(), Options{}, 1e-3) })
}

// TestPacked: so do models on the kernels for packed weights, in every scheme.
func TestPacked(t *testing.T) {
	for _, c := range []struct {
		model   string
		act     quant.Activations
		density float64
	}{
		{"tiny-llama3", quant.A8, 0.1}, {"tiny-qwen3", quant.A8, 0}, {"tiny-qwen3", quant.A16, 0.1},
		{"tiny-llama3", quant.A4, 0.1},
	} {
		t.Run(fmt.Sprintf("%s %s %g", c.model, c.act, c.density), func(t *testing.T) {
			m := quantized(t, openBuiltin(t, c.model), c.act, c.density)
			tolerance := 1e-3
			if c.act == quant.A8 {
				// An input between two codes falls to either side, by the last bit of a sum: two ways to
				// sum on the CPU differ so, too.
				seqs := text(m, 21, 6)
				between := distance(logits(t, onCPUKernels(t, m), seqs), logits(t, m, seqs))
				t.Logf("two ways on the CPU differ by %.2g of the largest logit", between)
				tolerance += 3 * between
			}
			same(t, m, Options{Packed: true}, tolerance)
		})
	}
}

// TestShapes: biases, sliding windows, an output layer of its own, and sizes that tiles do not divide.
func TestShapes(t *testing.T) {
	if err := Available(); err != nil {
		t.Skip(err)
	}
	m := openFiles(t, llm.Random(hf.Config{ModelType: "llama", VocabSize: 264, HiddenSize: 72, MLPSize: 136, Layers: 2,
		Heads: 3, KVHeads: 1, HeadDim: 40, MaxPositions: 64, RMSNormEps: 1e-6, RopeTheta: 1e4, QKVBias: true,
		OutputBias: true, MLPBias: true}, 1))
	same(t, m, Options{}, 1e-3)
	m = openFiles(t, llm.Random(hf.Config{ModelType: "qwen2", VocabSize: 264, HiddenSize: 64, MLPSize: 128, Layers: 3,
		Heads: 4, KVHeads: 2, HeadDim: 16, MaxPositions: 64, RMSNormEps: 1e-6, RopeTheta: 1e4, QKVBias: true,
		Window: []int{0, 8, 8}}, 2))
	same(t, m, Options{}, 1e-3)
	// Some layers packed, with inputs of another format than those beside them.
	m = quantized(t, m, quant.A4, 0, "q_proj", "gate_proj", "down_proj")
	same(t, m, Options{Packed: true}, 1e-3)
	// Codes as products in 16 bits, inputs rounded before.
	same(t, m, Options{}, 1e-3)
}

// TestFast: models that round once are near, and keep going on after other sizes.
func TestFast(t *testing.T) {
	m := quantized(t, openBuiltin(t, "tiny-qwen3"), quant.A16, 0.1, "layers.0", "layers.2")
	g := openGPU(t, m, Options{Packed: true, Fast: true})
	seqs := text(m, 19, 7)
	want := logits(t, m, seqs)
	for range 2 {
		if d := distance(logits(t, m.WithEngine(g), seqs), want); !(d <= 0.05) {
			t.Errorf("%s: logits differ by %.2g of the largest", g.Kernels(), d)
		} else if d < 1e-4 {
			t.Errorf("logits differ by %.2g of the largest: nothing was rounded", d)
		}
		if _, err := g.Generate(context.Background(), text(m, 30, 4, 8, 2), 3); err != nil {
			t.Error(err)
		}
	}
}

// TestRepeat: a model of copies of its first layer is that model.
func TestRepeat(t *testing.T) {
	if err := Available(); err != nil {
		t.Skip(err)
	}
	c := hf.Config{ModelType: "llama", VocabSize: 128, HiddenSize: 64, MLPSize: 128, Layers: 1, Heads: 2, KVHeads: 1,
		HeadDim: 32, MaxPositions: 64, RMSNormEps: 1e-6, RopeTheta: 1e4}
	one := quantized(t, openFiles(t, llm.Random(c, 3)), quant.A16, 0.2)
	g := openGPU(t, one, Options{Packed: true, Repeat: 3})
	seqs := text(one, 5)
	got := logits(t, one.WithEngine(g), seqs)
	// On the CPU: the stream goes through the layer three times.
	state := gemm.Matrix{}
	for i := range 3 {
		s, err := one.Begin(seqs)
		if i > 0 {
			s, err = one.Resume(seqs, 0, state)
		}
		if err == nil {
			err = s.Advance(context.Background(), nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		state = s.State()
	}
	hidden := state.Clone()
	for i := range hidden.Rows {
		square := 0.0
		for _, v := range hidden.Row(i) {
			square += float64(v) * float64(v)
		}
		for j := range hidden.Row(i) {
			hidden.Row(i)[j] *= float32(1 / math.Sqrt(square/64+1e-6)) // gains are 1
		}
	}
	want := gemm.NewMatrix(hidden.Rows, c.VocabSize)
	if err := one.Logits(want, hidden); err != nil {
		t.Fatal(err)
	}
	if d := distance(got, want); !(d <= 1e-3) {
		t.Errorf("logits differ by %.2g of the largest", d)
	}
}

// TestRefused: what has no kernel is one error that names it.
func TestRefused(t *testing.T) {
	m := openBuiltin(t, "tiny-qwen3")
	affine := quant.A8
	affine.Affine = true
	codes := quantized(t, m, quant.A16, 0, "layers.1.self_attn.k_proj")
	product, err := zipper.PrepackBF16(m.Output())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		m    *llm.Model
		want string
	}{
		{codes.With(map[string]llm.Replacement{"model.layers.1.self_attn.k_proj": {Act: affine}}),
			"engine cuda: model.layers.1.self_attn.k_proj: activations"},
		{m.WithOutput(product), "engine cuda: lm_head: is executed by a kernel of the CPU"},
		{m.WithPrefix([]int32{1}), "engine cuda: tokens that stand before every sequence"},
	} {
		if _, err := Open(c.m, Options{Packed: true}); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("error %v, want %s", err, c.want)
		}
	}
	g := openGPU(t, m, Options{})
	_, err = g.Hidden(context.Background(), [][]int32{{1, 5000}})
	if err == nil || !strings.Contains(err.Error(), "token 5000") {
		t.Errorf("error %v for a token that is not there", err)
	}
	if _, err := m.WithEngine(g).Decode(context.Background(), m.NewCache(4), []int32{1}); err == nil {
		t.Error("a model on a GPU fills a cache on the CPU")
	}
	bad := gemm.NewMatrix(1, m.Config().HiddenSize)
	bad.Data[3] = float32(math.NaN())
	err = g.Logits(gemm.NewMatrix(1, m.Config().VocabSize), bad)
	if err == nil || !strings.Contains(err.Error(), "logits of row 0") {
		t.Errorf("error %v for hidden states that are not finite", err)
	}
}
