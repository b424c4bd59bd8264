package trial

import (
	"testing"
	"time"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/hf"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// smollm2 is the shape of SmolLM2-135M.
var smollm2 = hf.Config{
	ModelType: "llama", VocabSize: 49152, HiddenSize: 576, MLPSize: 1536, Layers: 30, Heads: 9, KVHeads: 3, HeadDim: 64,
	MaxPositions: 8192, RMSNormEps: 1e-5, RopeTheta: 1e5, TieEmbeddings: true,
}

// BenchmarkScore evaluates a model of SmolLM2-135M's shape against stored hidden
// states, as every trial does. ceiling is the share of Speed that the products of
// linear layers, output layer and attention reach.
func BenchmarkScore(b *testing.B) {
	m, err := llm.Open(llm.Random(smollm2, 1))
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	quantized := map[string]llm.Replacement{}
	for _, l := range m.Linears() {
		q, err := solve.RTN{Format: quant.Int4(64), Scale: grid.Scale{Rule: grid.AbsMax}}.Quantize(quant.Problem{Weights: load(l)})
		if err != nil {
			b.Fatal(err)
		}
		quantized[l.Name] = llm.Replacement{Weights: q, Act: quant.A8}
	}
	for _, c := range []struct {
		name    string
		context int
		view    *llm.Model
	}{{"512", 512, m}, {"2048", 2048, m}, {"w4a8", 512, m.With(quantized)}} {
		b.Run(c.name, func(b *testing.B) {
			context := c.context
			const tokens = 2048
			var ws []window
			for at := 0; at < tokens; at += context {
				var w window
				for i := range context {
					w.input = append(w.input, int32((at+i)*7919%smollm2.VocabSize))
				}
				w.targets = w.input
				ws = append(ws, w)
			}
			stored := map[int]gemm.Matrix{}
			states := func(first, last int, seqs [][]int32) (gemm.Matrix, error) {
				var err error
				if _, ok := stored[first]; !ok {
					stored[first], err = m.Hidden(b.Context(), seqs, nil)
				}
				return stored[first], err
			}
			if _, err := score(b.Context(), c.view, ws, &reference{m, states}, nil); err != nil {
				b.Fatal(err)
			}
			var ceiling float64 // FLOP that peak would have done; it is probed between iterations, as machines are shared
			for b.Loop() {
				b.StopTimer()
				speed := peak()
				b.StartTimer()
				start := time.Now()
				if _, err := score(b.Context(), c.view, ws, &reference{m, states}, nil); err != nil {
					b.Fatal(err)
				}
				ceiling += speed * time.Since(start).Seconds()
			}
			flops := 2 * 2 * float64(smollm2.VocabSize*smollm2.HiddenSize)
			for _, l := range m.Linears() {
				flops += 2 * float64(l.N) * float64(l.K)
			}
			// q·kᵀ and p·v over the mean of the keys that a causal mask leaves.
			flops += 2 * 2 * float64(context+1) / 2 * float64(smollm2.Layers*smollm2.Heads*smollm2.HeadDim)
			rate := tokens * float64(b.N) / b.Elapsed().Seconds()
			b.ReportMetric(rate, "tokens/s")
			b.ReportMetric(rate*flops/1e9, "GFLOP/s")
			b.ReportMetric(100*tokens*float64(b.N)*flops/ceiling, "%ceiling")
		})
	}
}

// peak is the best rate of a float32 matrix product of a few, in FLOP/s.
func peak() float64 {
	const n = 768
	x, w, y := gemm.NewMatrix(n, n), gemm.NewMatrix(n, n), gemm.NewMatrix(n, n)
	best := time.Hour
	for range 6 {
		start := time.Now()
		gemm.MulNT(y, x, w)
		best = min(best, time.Since(start))
	}
	return 2 * n * n * n / best.Seconds()
}
