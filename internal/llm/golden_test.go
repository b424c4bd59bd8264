package llm

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/hf"
)

// The goldens of testdata come from Hugging Face transformers by way of
// scripts/golden/logits.py, which describes them; golden.json says with which
// versions. All but the builtin models have their checkpoint beside them.
var goldens = []string{"llama3", "llama-bias", "qwen2", "qwen3", "mistral", "linear", "yarn", "tiny-llama3", "tiny-qwen3"}

const tinyDir = "../builtin/models/tiny-llama3"

// tolerance bounds |difference| / max |logit|. Both sides work in float32, and
// their sums differ in order: over two to six layers that is a few times 1e-7.
const tolerance = 1e-5

type golden struct {
	Made      string
	ModelSHA  string `json:"model_sha256"`
	Sequences [][]int32
	Rows      []int
	logits    gemm.Matrix
}

func openGolden(t *testing.T, name string) (*Model, *golden) {
	t.Helper()
	dir := filepath.Join("testdata", name)
	model := dir
	if strings.HasPrefix(name, "tiny-") {
		model = filepath.Join("../builtin/models", name)
	}
	m := open(t, hf.Dir(model))
	g := &golden{}
	text, err := os.ReadFile(filepath.Join(dir, "golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, g); err != nil {
		t.Fatal(err)
	}
	if g.ModelSHA != "" && g.ModelSHA != m.Checkpoint().SHA256() {
		t.Fatalf("%s: the golden is of another model: run scripts/golden/logits.py %s", name, name)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "logits.f32"))
	if err != nil {
		t.Fatal(err)
	}
	g.logits = gemm.NewMatrix(len(g.Rows), m.Config().VocabSize)
	if len(raw) != 4*len(g.logits.Data) {
		t.Fatalf("%s: logits.f32 has %d bytes, want %d", name, len(raw), 4*len(g.logits.Data))
	}
	for i := range g.logits.Data {
		g.logits.Data[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return m, g
}

func open(t testing.TB, files hf.Files) *Model {
	t.Helper()
	m, err := Open(files)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// check compares the logits of stacked hidden states with the golden.
func (g *golden) check(t *testing.T, m *Model, hidden gemm.Matrix) {
	t.Helper()
	kept := gemm.NewMatrix(len(g.Rows), hidden.Cols)
	for i, r := range g.Rows {
		copy(kept.Row(i), hidden.Row(r))
	}
	got := gemm.NewMatrix(len(g.Rows), g.logits.Cols)
	if err := m.Logits(got, kept); err != nil {
		t.Fatal(err)
	}
	if d := difference(got, g.logits); !(d <= tolerance) {
		t.Errorf("logits differ by %.2g of the largest, want at most %.0e (%s)", d, tolerance, g.Made)
	} else {
		t.Logf("logits differ by %.2g of the largest", d)
	}
}

// difference returns max |a-b| / max |b|, NaN if there is one.
func difference(a, b gemm.Matrix) float64 {
	if a.Rows != b.Rows || a.Cols != b.Cols {
		return math.NaN()
	}
	var d, scale float64
	for i := range a.Rows {
		for j, v := range b.Row(i) {
			d = math.Max(d, math.Abs(float64(a.Row(i)[j])-float64(v)))
			scale = math.Max(scale, math.Abs(float64(v)))
		}
	}
	return d / scale
}

func TestPrefillEqualsTransformers(t *testing.T) {
	for _, name := range goldens {
		t.Run(name, func(t *testing.T) {
			m, g := openGolden(t, name)
			h, err := m.Hidden(t.Context(), g.Sequences, nil)
			if err != nil {
				t.Fatal(err)
			}
			g.check(t, m, h)
		})
	}
}

func TestDecodeEqualsTransformers(t *testing.T) {
	for _, name := range goldens {
		for _, chunk := range []int{1, 5, 1000} {
			t.Run(name+map[int]string{1: "/token", 5: "/chunk", 1000: "/whole"}[chunk], func(t *testing.T) {
				if strings.HasPrefix(name, "tiny-") && chunk == 1 && testing.Short() {
					t.Skip("long")
				}
				m, g := openGolden(t, name)
				cache := m.NewCache(256)
				var stacked gemm.Matrix
				for _, ids := range g.Sequences {
					cache.Truncate(0)
					for len(ids) > 0 {
						n := min(chunk, len(ids))
						h, err := m.Decode(t.Context(), cache, ids[:n])
						if err != nil {
							t.Fatal(err)
						}
						stacked.Data = append(stacked.Data, h.Data...)
						stacked.Rows, stacked.Cols, stacked.Stride = stacked.Rows+n, h.Cols, h.Cols
						ids = ids[n:]
					}
				}
				g.check(t, m, stacked)
			})
		}
	}
}

func TestDecodeContinuesATruncatedCache(t *testing.T) {
	m, g := openGolden(t, "mistral")
	ids := g.Sequences[1]
	want, err := m.Hidden(t.Context(), [][]int32{ids}, nil)
	if err != nil {
		t.Fatal(err)
	}
	cache := m.NewCache(len(ids))
	decode := func(ids []int32) gemm.Matrix {
		t.Helper()
		h, err := m.Decode(t.Context(), cache, ids)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	decode(ids[:40])
	decode(ids[:30]) // another continuation
	cache.Truncate(40)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Decode(canceled, cache, ids[:10]); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled decode: error %v", err)
	}
	got := decode(ids[40:])
	if d := difference(got, want.View(40, len(ids), 0, want.Cols)); !(d <= tolerance) {
		t.Errorf("hidden states differ by %.2g", d)
	}
	if cache.Len() != len(ids) {
		t.Errorf("cache holds %d tokens, want %d", cache.Len(), len(ids))
	}
}

// A sequence must not see the others of its batch.
func TestRaggedBatchEqualsEachAlone(t *testing.T) {
	for _, name := range goldens[:5] {
		m, g := openGolden(t, name)
		seqs := append([][]int32{{}}, g.Sequences...) // an empty one is no trouble
		batch, err := m.Hidden(t.Context(), seqs, nil)
		if err != nil {
			t.Fatal(err)
		}
		r := 0
		for _, s := range seqs[1:] {
			alone, err := m.Hidden(t.Context(), [][]int32{s}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if d := difference(batch.View(r, r+len(s), 0, batch.Cols), alone); !(d <= tolerance) {
				t.Errorf("%s: %d tokens: hidden states differ by %.2g", name, len(s), d)
			}
			r += len(s)
		}
		if r != batch.Rows {
			t.Errorf("%s: %d rows, want %d", name, batch.Rows, r)
		}
	}
}

// TestHiddenAfter: sequences that share a beginning, which is run once, are what each is alone.
func TestHiddenAfter(t *testing.T) {
	for _, name := range goldens[:5] {
		m, g := openGolden(t, name)
		ids := g.Sequences[0]
		if len(ids) < 6 {
			t.Fatalf("%s: %d tokens are too few", name, len(ids))
		}
		n := len(ids) / 2
		other := slices.Clone(ids[n:])
		slices.Reverse(other)
		seqs := [][]int32{ids[:n], ids[n:], {}, other, ids, ids[n : n+1]}
		got, err := m.HiddenAfter(t.Context(), seqs, []int{-1, 0, -1, 0, 2, 0})
		if err != nil {
			t.Fatal(err)
		}
		at := 0
		for i, whole := range [][]int32{ids[:n], ids, {}, slices.Concat(ids[:n], other), ids, ids[:n+1]} {
			alone, err := m.Hidden(t.Context(), [][]int32{whole}, nil)
			if err != nil {
				t.Fatal(err)
			}
			rows := len(seqs[i])
			want := alone.View(len(whole)-rows, len(whole), 0, alone.Cols)
			if d := difference(got.View(at, at+rows, 0, got.Cols), want); rows > 0 && !(d <= tolerance) {
				t.Errorf("%s: sequence %d: hidden states differ by %.2g", name, i, d)
			}
			at += rows
		}
		if _, err := m.HiddenAfter(t.Context(), [][]int32{{1}, {int32(m.vocab)}}, []int{-1, 0}); err == nil ||
			!strings.Contains(err.Error(), "position 1 is outside") {
			t.Errorf("%s: a token outside the vocabulary: error %v", name, err)
		}
	}
}

// TestDecodeEach: sequences that are decoded together, at positions of their own, are what
// each is alone.
func TestDecodeEach(t *testing.T) {
	for _, name := range []string{"mistral", "qwen3"} {
		m, g := openGolden(t, name)
		seqs := g.Sequences
		want, err := m.Hidden(t.Context(), seqs, nil)
		if err != nil {
			t.Fatal(err)
		}
		caches, left := make([]*Cache, len(seqs)), make([][]int32, len(seqs))
		got := make([][]float32, len(seqs))
		for i, ids := range seqs {
			caches[i], left[i] = m.NewCache(len(ids)), ids
		}
		for step := range 1000 {
			var some []*Cache
			var chunks [][]int32
			var which []int
			for i, ids := range left {
				if n := min(len(ids), 1+(step+i)%3); n > 0 {
					some, chunks, which = append(some, caches[i]), append(chunks, ids[:n]), append(which, i)
					left[i] = ids[n:]
				}
			}
			if len(some) == 0 {
				break
			}
			h, err := m.DecodeEach(t.Context(), some, chunks)
			if err != nil {
				t.Fatal(err)
			}
			at := 0
			for j, i := range which {
				for range chunks[j] {
					got[i] = append(got[i], h.Row(at)...)
					at++
				}
			}
		}
		all := gemm.Matrix{Rows: want.Rows, Cols: want.Cols, Stride: want.Cols, Data: slices.Concat(got...)}
		if len(all.Data) != want.Rows*want.Cols {
			t.Fatalf("%s: %d numbers, want %d", name, len(all.Data), want.Rows*want.Cols)
		}
		if d := difference(all, want); !(d <= tolerance) {
			t.Errorf("%s: hidden states differ by %.2g", name, d)
		}
	}
}
