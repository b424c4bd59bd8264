package llm

import (
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/hf"
)

// linearFLOPs is the work of the linear layers for one token, lm_head without.
func linearFLOPs(m *Model) (n float64) {
	for _, w := range m.Linears() {
		n += 2 * float64(w.N) * float64(w.K)
	}
	return n
}

func report(b *testing.B, m *Model, tokens int) {
	perSec := float64(tokens) * float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(perSec, "tokens/s")
	b.ReportMetric(perSec*linearFLOPs(m)/1e9, "linear-GFLOP/s")
}

func words(n, vocab int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(i * 7919 % vocab)
	}
	return ids
}

// BenchmarkHidden runs 4 sequences of 256 tokens. linears is the time of the
// bare matrix products, the bound for the rest.
func BenchmarkHidden(b *testing.B) {
	m := open(b, hf.Dir(tinyDir))
	seqs := make([][]int32, 4)
	for i := range seqs {
		seqs[i] = words(256, m.Config().VocabSize)
	}
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			if _, err := m.Hidden(b.Context(), seqs, nil); err != nil {
				b.Fatal(err)
			}
		}
		report(b, m, 1024)
	})
	b.Run("linears", func(b *testing.B) {
		var x, y []gemm.Matrix
		linears := m.Linears()
		for _, w := range linears {
			x = append(x, gemm.NewMatrix(1024, w.K))
			y = append(y, gemm.NewMatrix(1024, w.N))
		}
		for b.Loop() {
			for i, w := range linears {
				gemm.MulNT(y[i], x[i], w.Weights)
			}
		}
		report(b, m, 1024)
	})
}

// BenchmarkDecode appends the 128th ... 191st token of a sequence.
func BenchmarkDecode(b *testing.B) {
	m := open(b, hf.Dir(tinyDir))
	ids := words(192, m.Config().VocabSize)
	cache := m.NewCache(len(ids))
	if _, err := m.Decode(b.Context(), cache, ids[:128]); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		cache.Truncate(128)
		for i := 128; i < 192; i++ {
			if _, err := m.Decode(b.Context(), cache, ids[i:i+1]); err != nil {
				b.Fatal(err)
			}
		}
	}
	report(b, m, 64)
}
