package grad

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/hf"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/rotation"
	"github.com/mosaicquant/mosaicquant/quant"
)

var a4 = Rounding(quant.Activations{Bits: 4, Affine: true})

// TestLearn: steps lower the loss that rounding causes on the sequences that they see,
// leave rotations orthogonal, are the same for the same seed and other ones for another,
// and tell of themselves.
func TestLearn(t *testing.T) {
	m, err := llm.Open(hf.Dir("../../builtin/models/tiny-llama3"))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	n := newNet(t, m, rotation.NewHadamard(m.Config().MLPSize, 1), a4)
	seqs := sequences(m, 48, 48, 48)
	start := orthogonal(m, 1)
	var told []int
	settings := Settings{Steps: 12, Tokens: 1000, Rate: 1.5, Seed: 1,
		Done: func(steps int, _ float64) { told = append(told, steps) }}
	learn := func(s Settings) Rotations {
		r, err := Learn(t.Context(), n, start, seqs, s)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := learn(settings)
	before, _, err := n.Gradient(t.Context(), start, seqs)
	if err != nil {
		t.Fatal(err)
	}
	after, _, err := n.Gradient(t.Context(), r, seqs)
	if err != nil || !(after < before-0.02) {
		t.Errorf("the loss is %g after %g, %v", after, before, err)
	}
	for i, m := range r {
		square := gemm.NewMatrix(m.Rows, m.Rows)
		gemm.Gemm(true, false, 1, m, m, 0, square)
		for j := range m.Rows {
			square.Row(j)[j]--
		}
		if off := gemm.MaxAbs(square.Data); !(off < 1e-6) {
			t.Errorf("rotation %d: Rᵀ·R is off by %g", i, off)
		}
	}
	if len(told) != 12 || told[11] != 12 {
		t.Errorf("steps told: %v", told)
	}
	short := Settings{Steps: 2, Tokens: 50, Rate: 1.5, Seed: 1}
	once, twice := learn(short), learn(short)
	short.Seed = 3
	other := learn(short)
	if !slices.Equal(once[0].Data, twice[0].Data) || slices.Equal(once[0].Data, other[0].Data) {
		t.Error("the seed does not decide the result")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Learn(ctx, n, start, seqs, settings); err == nil {
		t.Error("goes on after the end of its context")
	}
	if _, err := Learn(t.Context(), n, start, [][]int32{{1}}, settings); err == nil ||
		!strings.Contains(err.Error(), "no token follows another") {
		t.Errorf("one token: %v", err)
	}
}

// TestUnrounded: where nothing is rounded the loss is that of the model, and no rotation
// changes it.
func TestUnrounded(t *testing.T) {
	for _, name := range models {
		m := open(t, name)
		n := newNet(t, m, nil, func(gemm.Matrix) {})
		ids := sequences(m, 40)[0]
		loss, g, err := n.Gradient(t.Context(), orthogonal(m, 2), [][]int32{ids})
		if err != nil {
			t.Fatal(err)
		}
		hidden, err := m.Hidden(t.Context(), [][]int32{ids}, nil)
		if err != nil {
			t.Fatal(err)
		}
		logits := gemm.NewMatrix(len(ids), m.Config().VocabSize)
		if err := m.Logits(logits, hidden); err != nil {
			t.Fatal(err)
		}
		var want float64
		for i, next := range ids[1:] {
			var sum float64
			for _, v := range logits.Row(i) {
				sum += math.Exp(float64(v))
			}
			want += (math.Log(sum) - float64(logits.Row(i)[next])) / float64(len(ids)-1)
		}
		if !(math.Abs(loss-want) < 1e-5*want) {
			t.Errorf("%s: loss %.8g, want %.8g", name, loss, want)
		}
		for i := range g {
			if most := gemm.MaxAbs(g[i].Data); !(most < 1e-4) {
				t.Errorf("%s: rotation %d has a gradient of %g", name, i, most)
			}
		}
	}
}

// TestTake: sequences come in turn, as many as the tokens hold, none twice in a step.
func TestTake(t *testing.T) {
	seqs := [][]int32{make([]int32, 5), make([]int32, 7), make([]int32, 4)}
	order := []int{2, 0, 1}
	var got [][]int
	next := 0
	for range 4 {
		var batch [][]int32
		batch, next = take(seqs, order, next, 10)
		var lengths []int
		for _, ids := range batch {
			lengths = append(lengths, len(ids))
		}
		got = append(got, lengths)
	}
	want := [][]int{{4, 5}, {7, 3}, {5, 5}, {4, 5}}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("steps of %v tokens, want %v", got, want)
	}
	if batch, _ := take(seqs, order, 0, 100); len(batch) != 3 {
		t.Errorf("%d sequences of 3", len(batch))
	}
}

// TestBytes: what is told beforehand is what a net holds.
func TestBytes(t *testing.T) {
	for _, name := range models {
		m := open(t, name)
		n := newNet(t, m, rotation.NewHadamard(m.Config().MLPSize, 1), a4)
		n.prepare(30)
		c := m.Config()
		held := len(n.memory) + 30*c.VocabSize + 2*c.HiddenSize*c.HiddenSize
		for _, w := range n.layers {
			held += len(w.turned.Data)
		}
		if got := Bytes(m, 30); got != 4*int64(held) {
			t.Errorf("%s: %d bytes, holds %d", name, got, 4*held)
		}
	}
}
