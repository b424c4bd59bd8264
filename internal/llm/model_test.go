package llm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/hf"
	"github.com/mosaicquant/mosaicquant/quant"
)

// shape is a small model with every option on.
func shape() hf.Config {
	return hf.Config{
		ModelType: "qwen3", VocabSize: 61, HiddenSize: 32, MLPSize: 40, Layers: 2, Heads: 6, KVHeads: 2, HeadDim: 8,
		MaxPositions: 64, RMSNormEps: 1e-6, RopeTheta: 1e4, QKVBias: true, OutputBias: true, QKNorm: true,
		Window: []int{0, 5},
	}
}

func hidden(t testing.TB, m *Model, tap func(string, gemm.Matrix), seqs ...[]int32) gemm.Matrix {
	t.Helper()
	h, err := m.Hidden(t.Context(), seqs, tap)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestRandomIsReproducible(t *testing.T) {
	a, b, other := Random(shape(), 1).(memory), Random(shape(), 1).(memory), Random(shape(), 2).(memory)
	const f = "model.safetensors"
	if !slices.Equal(a[f], b[f]) || slices.Equal(a[f], other[f]) {
		t.Error("the seed does not decide the weights")
	}
	m := open(t, a)
	if got, want := fmt.Sprint(*m.Config()), shape(); m.Config().Window[1] != 5 || m.Config().Window[0] != 0 ||
		m.Config().QKVBias != want.QKVBias || m.Config().QKNorm != want.QKNorm {
		t.Errorf("config came back as %s", got)
	}
}

func TestLinears(t *testing.T) {
	m := open(t, Random(shape(), 1))
	var got []string
	for _, l := range m.Linears()[7:] {
		got = append(got, fmt.Sprintf("%s %s %dx%d", strings.TrimPrefix(l.Name, "model.layers.1."), strings.TrimPrefix(l.Site, "model.layers.1."), l.N, l.K))
	}
	want := []string{
		"self_attn.q_proj attn_in 48x32", "self_attn.k_proj attn_in 16x32", "self_attn.v_proj attn_in 16x32",
		"self_attn.o_proj attn_out 32x48", "mlp.gate_proj mlp_in 40x32", "mlp.up_proj mlp_in 40x32", "mlp.down_proj mlp_mid 32x40",
	}
	if !slices.Equal(got, want) {
		t.Errorf("linears of layer 1:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestTapSeesEverySiteOnce(t *testing.T) {
	m := open(t, Random(shape(), 1))
	var got []string
	norm := gemm.Matrix{}
	hidden(t, m, func(site string, x gemm.Matrix) {
		got = append(got, fmt.Sprintf("%s %dx%d", site, x.Rows, x.Cols))
		if norm.Data == nil {
			norm = x.Clone()
		}
	}, words(7, 61), words(4, 61))
	var want []string
	for l := range 2 {
		for _, s := range []string{"attn_in 11x32", "attn_out 11x48", "mlp_in 11x32", "mlp_mid 11x40"} {
			want = append(want, fmt.Sprintf("model.layers.%d.%s", l, s))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("sites %q, want %q", got, want)
	}
	// The first input is the normed embedding (norm weights are 1): rows of
	// mean square 1, equal where the tokens are equal.
	for i := range norm.Rows {
		if ms := gemm.Dot(norm.Row(i), norm.Row(i)) / 32; !(math.Abs(float64(ms)-1) < 1e-3) {
			t.Errorf("mean square of attn_in row %d is %v", i, ms)
		}
	}
	if !slices.Equal(norm.Row(0), norm.Row(7)) || slices.Equal(norm.Row(0), norm.Row(1)) {
		t.Error("attn_in rows are not those of their tokens")
	}
}

// Layer by layer, with a stop in the middle, a stream comes to the bits of
// Hidden, and its taps see the same.
func TestStream(t *testing.T) {
	m := open(t, Random(shape(), 1))
	seqs := [][]int32{words(7, 61), words(4, 61)}
	record := func(sums map[string][]float32) func(string, gemm.Matrix) {
		return func(site string, x gemm.Matrix) { sums[site] = x.Clone().Data }
	}
	taps, streamTaps := map[string][]float32{}, map[string][]float32{}
	want := hidden(t, m, record(taps), seqs...)
	s, err := m.Begin(seqs)
	if err != nil {
		t.Fatal(err)
	}
	for range m.Config().Layers {
		if err := s.Advance(t.Context(), record(streamTaps)); err != nil {
			t.Fatal(err)
		}
		if s, err = m.Resume(seqs, s.Layer(), s.State().Clone()); err != nil {
			t.Fatal(err)
		}
	}
	got := s.State().Clone()
	normRows(got, got, m.norm, m.eps)
	if !slices.Equal(got.Data, want.Data) {
		t.Error("the last state, normed, is not what Hidden returns")
	}
	if !reflect.DeepEqual(taps, streamTaps) || len(taps) != 8 {
		t.Errorf("the taps of %d and %d sites differ", len(taps), len(streamTaps))
	}
	if _, err := m.Resume(seqs, 1, gemm.NewMatrix(10, 32)); err == nil || !strings.Contains(err.Error(), "state [10,32] before layer 1, want [11,32]") {
		t.Errorf("a state of too few tokens: %v", err)
	}
}

func TestWithTheSameWeightsIsBitEqual(t *testing.T) {
	m := open(t, Random(shape(), 1))
	same := map[string]Replacement{}
	for _, l := range m.Linears() {
		w := gemm.NewMatrix(l.N, l.K)
		l.Weights.Load(w, 0, 0)
		same[l.Name] = Replacement{Weights: w}
	}
	want := hidden(t, m, nil, words(9, 61))
	for name, r := range map[string]map[string]Replacement{"none": nil, "copies": same, "kept": {"model.layers.0.mlp.up_proj": {}}} {
		if got := hidden(t, m.With(r), nil, words(9, 61)); !slices.Equal(got.Data, want.Data) {
			t.Errorf("%s: hidden states differ by %.2g", name, difference(got, want))
		}
	}
}

func TestWithChangesOnlyWhatItNames(t *testing.T) {
	m := open(t, Random(shape(), 1))
	inputs := func(m *Model) map[string]gemm.Matrix {
		seen := map[string]gemm.Matrix{}
		hidden(t, m, func(site string, x gemm.Matrix) { seen[site] = x.Clone() }, words(9, 61))
		return seen
	}
	want := inputs(m)
	zero := m.With(map[string]Replacement{"model.layers.0.mlp.up_proj": {Weights: gemm.NewMatrix(40, 32)}})
	got := inputs(zero)
	for _, s := range []string{"attn_in", "attn_out", "mlp_in"} {
		if s = "model.layers.0." + s; !slices.Equal(got[s].Data, want[s].Data) {
			t.Errorf("%s changed", s)
		}
	}
	if mid := got["model.layers.0.mlp_mid"]; slices.ContainsFunc(mid.Data, func(v float32) bool { return v != 0 }) {
		t.Error("the replaced layer was not used")
	}
	// A view of a view keeps the first replacement.
	again := zero.With(map[string]Replacement{"model.layers.1.mlp.up_proj": {Act: quant.A8}})
	if mid := inputs(again)["model.layers.0.mlp_mid"]; slices.ContainsFunc(mid.Data, func(v float32) bool { return v != 0 }) {
		t.Error("the view of a view lost a replacement")
	}
	if !slices.Equal(inputs(m)["model.layers.0.mlp_mid"].Data, want["model.layers.0.mlp_mid"].Data) {
		t.Error("the base changed")
	}
}

// Fake quantization must act on the inputs of its own layer only, also where a
// site mixes formats, and leave the tap's view alone.
func TestActivationFormats(t *testing.T) {
	c := shape()
	c.Layers, c.Window = 1, []int{0}
	m := open(t, Random(c, 1))
	acts := map[string]quant.Activations{
		"self_attn.q_proj": quant.A8, "self_attn.k_proj": quant.A8, "self_attn.v_proj": quant.A4,
		"mlp.gate_proj": quant.A16, "mlp.up_proj": quant.A8,
	}
	r := map[string]Replacement{}
	for name, act := range acts {
		r["model.layers.0."+name] = Replacement{Act: act}
	}
	v := m.With(r)
	var tapped gemm.Matrix
	hidden(t, v, func(site string, x gemm.Matrix) {
		if site == "model.layers.0.mlp_in" {
			tapped = x.Clone()
		}
	}, words(9, 61))
	// What gate and up saw, recomputed from the tap.
	rounded := tapped.Clone()
	quant.A8.Apply(rounded)
	if slices.Equal(rounded.Data, tapped.Data) {
		t.Fatal("the tap saw quantized activations")
	}
	up, gate := gemm.NewMatrix(9, 40), gemm.NewMatrix(9, 40)
	gemm.MulNT(gate, tapped, v.Linears()[4].Weights)
	gemm.MulNT(up, rounded, v.Linears()[5].Weights)
	for i := range gate.Rows { // row by row: the tail of a vector may round differently
		swiGLU(gate.Row(i), up.Row(i))
	}
	hidden(t, v, func(site string, x gemm.Matrix) {
		if site == "model.layers.0.mlp_mid" && !slices.Equal(x.Data, gate.Data) {
			t.Errorf("mlp_mid differs by %.2g", difference(x, gate))
		}
	}, words(9, 61))
}

func TestConcurrentViews(t *testing.T) {
	m := open(t, Random(shape(), 1))
	views := []*Model{m, m.With(map[string]Replacement{"model.layers.0.self_attn.q_proj": {Act: quant.A8}})}
	var want []gemm.Matrix
	for _, v := range views {
		want = append(want, hidden(t, v, nil, words(20, 61)))
	}
	if slices.Equal(want[0].Data, want[1].Data) {
		t.Fatal("the views do not differ")
	}
	var wg sync.WaitGroup
	for i, v := range views {
		wg.Go(func() {
			for n := range 10 { // the batch varies, so that buffers are reused at other sizes
				h, err := v.Hidden(t.Context(), [][]int32{words(20, 61), words(n, 61)}, nil)
				if err != nil {
					t.Error(err)
				} else if d := difference(h.View(0, 20, 0, h.Cols), want[i]); !(d <= tolerance) {
					t.Errorf("view %d: hidden states differ by %.2g", i, d)
				}
				cache := v.NewCache(20)
				if h, err = v.Decode(t.Context(), cache, words(20, 61)); err != nil {
					t.Error(err)
				} else if d := difference(h, want[i]); !(d <= tolerance) {
					t.Errorf("view %d: decoded hidden states differ by %.2g", i, d)
				}
			}
		})
	}
	wg.Wait()
}

func TestCancellation(t *testing.T) {
	m := open(t, Random(shape(), 1))
	ctx, cancel := context.WithCancel(t.Context())
	sites := 0
	_, err := m.Hidden(ctx, [][]int32{words(9, 61)}, func(string, gemm.Matrix) {
		sites++
		cancel()
	})
	if !errors.Is(err, context.Canceled) || sites != 2 {
		t.Errorf("error %v after %d sites, want a cancellation after the first half layer", err, sites)
	}
}

// fails demands an error that contains every one of words.
func fails(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", words)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q lacks %q", err, w)
		}
	}
}

func TestTokensOutsideTheVocabulary(t *testing.T) {
	m := open(t, Random(shape(), 1))
	_, err := m.Hidden(t.Context(), [][]int32{{1, 2}, {3, 61}}, nil)
	fails(t, err, "sequence 1", "token 61 at position 1", "vocabulary of 61")
	cache := m.NewCache(4)
	_, err = m.Decode(t.Context(), cache, []int32{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.Decode(t.Context(), cache, []int32{-1})
	fails(t, err, "token -1 at position 3")
	_, err = m.Decode(t.Context(), cache, []int32{1, 2})
	fails(t, err, "2 tokens", "room for 1")
	if cache.Len() != 3 {
		t.Errorf("cache holds %d tokens after errors, want 3", cache.Len())
	}
}

func TestOpenRejectsWhatDoesNotFit(t *testing.T) {
	edit := func(change func(*hf.Config)) memory {
		c := shape()
		change(&c)
		return memory{"config.json": configJSON(c), "model.safetensors": Random(shape(), 1).(memory)["model.safetensors"]}
	}
	for want, files := range map[string]memory{
		"model.embed_tokens.weight: shape [61 32], but by config.json [62 32]": edit(func(c *hf.Config) { c.VocabSize = 62 }),
		"model.layers.0.mlp.gate_proj.weight: shape [40 32], but":              edit(func(c *hf.Config) { c.MLPSize = 48 }),
		"model.layers.2.input_layernorm.weight":                                edit(func(c *hf.Config) { c.Layers = 3; c.Window = []int{0, 5, 0} }),
		"model.layers.1.input_layernorm.weight: no such tensor in a qwen3":     edit(func(c *hf.Config) { c.Layers = 1; c.Window = []int{0} }),
		"model.layers.0.self_attn.k_proj.bias: no such tensor":                 edit(func(c *hf.Config) { c.QKVBias = false }),
		"q_proj.weight: shape [48 32], but by config.json [32 32]":             edit(func(c *hf.Config) { c.Heads = 4 }),
		"memory": {"model.safetensors": nil},
	} {
		m, err := Open(files)
		fails(t, err, want)
		if err == nil {
			m.Close()
		}
	}
	_, err := Open(memory{})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty folder gives %v", err)
	}
}

// setElement overwrites element i of a bfloat16 tensor in the file of m.
func setElement(t *testing.T, files memory, m *Model, name string, i int, v float32) {
	t.Helper()
	tensor, err := m.Checkpoint().Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint16(tensor.Data[2*i:], uint16(math.Float32bits(v)>>16)) // aliases files
}

func TestWeightsThatAreNotFinite(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	for _, name := range []string{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"} {
		for _, v := range []float32{nan, inf} {
			files := Random(shape(), 1).(memory)
			m := open(t, files)
			name := "model.layers.1." + name
			setElement(t, files, m, name+".weight", 32*3+5, v)
			_, err := m.Hidden(t.Context(), [][]int32{words(9, 61)}, nil)
			fails(t, err, name+".weight: element [", fmt.Sprint(v))
			_, err = m.Decode(t.Context(), m.NewCache(9), words(9, 61))
			fails(t, err, name+".weight: element [")
			fails(t, m.CheckFinite(t.Context()), name+".weight: element [")
			if err := open(t, Random(shape(), 1)).CheckFinite(t.Context()); err != nil {
				t.Errorf("a sound model: %v", err)
			}
		}
	}
	files := Random(shape(), 1).(memory)
	m := open(t, files)
	setElement(t, files, m, "model.embed_tokens.weight", 32*7+1, nan)
	_, err := m.Hidden(t.Context(), [][]int32{{6, 7}}, nil)
	fails(t, err, "model.embed_tokens.weight: row 7")
	setElement(t, files, m, "lm_head.weight", 32*60, nan)
	fails(t, m.Logits(gemm.NewMatrix(1, 61), gemm.NewMatrix(1, 32)), "lm_head.weight: element [60,0] is NaN")
	setElement(t, files, m, "model.layers.0.self_attn.k_norm.weight", 2, nan)
	_, err = Open(files)
	fails(t, err, "model.layers.0.self_attn.k_norm.weight: element 2 is NaN")

	m = open(t, Random(shape(), 1)) // a fault of the replacement
	bad := gemm.NewMatrix(40, 32)
	bad.Row(4)[2] = nan
	_, err = m.With(map[string]Replacement{"model.layers.0.mlp.up_proj": {Weights: bad}}).Hidden(t.Context(), [][]int32{{6, 7}}, nil)
	fails(t, err, "model.layers.0.mlp.up_proj.weight: element [4,2] is NaN")
}

func TestWithRejects(t *testing.T) {
	m := open(t, Random(shape(), 1))
	for want, r := range map[string]map[string]Replacement{
		`no linear layer "lm_head"`:             {"lm_head": {}},
		"replacement is 40x33, the layer 40x32": {"model.layers.0.mlp.up_proj": {Weights: gemm.NewMatrix(40, 33)}},
	} {
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, want) {
					t.Errorf("panic %q, want %q", got, want)
				}
			}()
			m.With(r)
		}()
	}
}

// If the configuration were misread in one of these ways, the goldens would
// say so.
func TestGoldensNotice(t *testing.T) {
	for _, c := range []struct {
		golden, what string
		change       func(*Model)
	}{
		{"llama3", "no rope scaling", func(m *Model) { c := *m.config; c.Llama3 = nil; m.rope = &rope{freq: frequencies(&c)} }},
		{"qwen2", "window off by one", func(m *Model) { m.layers[1].window++ }},
		{"qwen2", "window in every layer", func(m *Model) { m.layers[0].window = m.layers[1].window }},
		{"mistral", "no window", func(m *Model) { m.layers[0].window = 0 }},
		{"qwen3", "no k_norm", func(m *Model) { m.layers[1].kNorm = nil }},
		{"llama-bias", "no o_proj bias", func(m *Model) { m.layers[1].linears[siteAttnOut][0].bias = nil }},
		{"llama-bias", "another epsilon", func(m *Model) { m.eps = 1e-3 }},
	} {
		m, g := openGolden(t, c.golden)
		c.change(m)
		h := hidden(t, m, nil, g.Sequences...)
		got := gemm.NewMatrix(h.Rows, g.logits.Cols)
		if err := m.Logits(got, h); err != nil {
			t.Fatal(err)
		}
		if d := difference(got, g.logits); !(d > 100*tolerance) {
			t.Errorf("%s: %s changes logits by %.2g only", c.golden, c.what, d)
		}
	}
}

// sourceProduct executes a Source as a Product.
type sourceProduct struct{ gemm.Source }

func (p sourceProduct) MulNT(y, x gemm.Matrix) { gemm.MulNT(y, x, p.Source) }

// TestProduct: products that compute the same as the layers give the same model.
func TestProduct(t *testing.T) {
	m := open(t, Random(shape(), 1))
	ids := []int32{1, 2, 3, 5, 8}
	run := func(m *Model) gemm.Matrix {
		hidden, err := m.Hidden(t.Context(), [][]int32{ids}, nil)
		if err != nil {
			t.Fatal(err)
		}
		out := gemm.NewMatrix(len(ids), m.Config().VocabSize)
		if err := m.Logits(out, hidden); err != nil {
			t.Fatal(err)
		}
		return out
	}
	calls := 0
	replacements := map[string]Replacement{}
	for _, l := range m.Linears() {
		replacements[l.Name] = Replacement{Product: countedProduct{sourceProduct{l.Weights}, &calls}}
	}
	view := m.With(replacements).WithOutput(countedProduct{sourceProduct{m.Output()}, &calls})
	want, got := run(m), run(view)
	if calls != len(m.Linears())+1 || !slices.Equal(want.Data, got.Data) {
		t.Errorf("%d products executed; equal: %v", calls, slices.Equal(want.Data, got.Data))
	}
	if got = run(view.With(nil)); calls != 2*(len(m.Linears())+1) || !slices.Equal(want.Data, got.Data) {
		t.Error("a view of the view executes something else")
	}
	panics := func(what string, f func()) {
		defer func() {
			if recover() == nil {
				t.Errorf("%s: no panic", what)
			}
		}()
		f()
	}
	l := m.Linears()[0]
	panics("product of another shape", func() {
		m.With(map[string]Replacement{l.Name: {Product: sourceProduct{gemm.NewMatrix(l.N, l.K+1)}}})
	})
	panics("product and activations", func() {
		m.With(map[string]Replacement{l.Name: {Product: sourceProduct{l.Weights}, Act: quant.A8}})
	})
	panics("output of another shape", func() { m.WithOutput(sourceProduct{gemm.NewMatrix(1, 1)}) })
}

type countedProduct struct {
	sourceProduct
	calls *int
}

func (p countedProduct) MulNT(y, x gemm.Matrix) {
	*p.calls++
	p.sourceProduct.MulNT(y, x)
}
