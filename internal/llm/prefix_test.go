package llm

import (
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/rotation"
)

// A sequence after a prefix has the hidden states that it has as the rest of one sequence,
// up to the half precision of keys and values, also in other channels, and where it
// continues another. Tapped rows are those of the sequences alone.
func TestPrefix(t *testing.T) {
	for name, files := range families() {
		t.Run(name, func(t *testing.T) {
			m := open(t, files)
			v := m.Config().VocabSize
			all := words(21, v)
			prefix, seq := all[:3], all[3:]
			want := hidden(t, m, nil, all)
			want = want.View(3, want.Rows, 0, want.Cols).Clone()
			near := func(what string, got, want gemm.Matrix) {
				if d := difference(got, want); !(d <= 2e-3) {
					t.Errorf("%s: hidden states differ by %.2g of the largest", what, d)
				}
			}
			p := m.WithPrefix(prefix)
			rows := 0
			got := hidden(t, p, func(_ string, x gemm.Matrix) { rows = x.Rows }, seq, words(5, v))
			if rows != len(seq)+5 {
				t.Errorf("%d rows of inputs for %d tokens", rows, len(seq)+5)
			}
			got = got.View(0, len(seq), 0, got.Cols).Clone()
			near("prefix", got, want)
			if d := difference(got, hidden(t, m, nil, seq)); !(d > 1e-2) {
				t.Errorf("the prefix changes hidden states by %.2g of the largest", d)
			}
			after, err := p.HiddenAfter(t.Context(), [][]int32{seq[:7], seq[7:]}, []int{-1, 0})
			if err != nil {
				t.Fatal(err)
			}
			if d := difference(after, got); !(d <= 1e-5) {
				t.Errorf("in two parts, hidden states differ by %.2g of the largest", d)
			}
			scales := map[string][]float32{}
			for _, l := range p.Linears() {
				s := make([]float32, l.K)
				for j, from := range p.Producers(l.Site) {
					s[j] = 1 + float32(from%7)
				}
				scales[l.Site] = s
			}
			scaled, err := p.Scale(scales)
			if err != nil {
				t.Fatal(err)
			}
			near("scaled", hidden(t, scaled, nil, seq), want)
			values := rotation.NewHadamard(m.headDim, 1)
			turned := p.Transform(Transforms{Values: func(int) rotation.Transform { return values }})
			near("turned", hidden(t, turned, nil, seq), want)
		})
	}
}

// The keys and values of the prefix are those of the weights before they are replaced.
func TestPrefixIsNotReplaced(t *testing.T) {
	m := open(t, Random(shape(), 1))
	all := words(9, 61)
	p := m.WithPrefix(all[:4])
	r := map[string]Replacement{}
	for _, l := range m.Linears() {
		r[l.Name] = Replacement{Weights: gemm.NewMatrix(l.N, l.K)}
	}
	zero := p.With(r)
	past, err := zero.prefix.keys()
	if err != nil {
		t.Fatal(err)
	}
	if past.v[0].Data[0] == 0 || past.n != 4 {
		t.Errorf("a prefix of %d tokens with the value %g", past.n, past.v[0].Data[0])
	}
	if got, want := zero.PrefixBytes(), int64(2*2*m.Config().Layers*m.kv*4); got != want {
		t.Errorf("%d bytes, want %d", got, want)
	}
	if _, err := p.Decode(t.Context(), p.NewCache(9), all); err == nil {
		t.Error("a model with a prefix decodes with a cache that does not begin with it")
	}
	if m.WithPrefix(nil).Prefix() != nil || m.Prefix() != nil {
		t.Error("a prefix that nobody asked for")
	}
}
