package trial

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
)

// batchTokens is how many tokens go through the model at once: enough rows
// that unpacking a weight tile costs little beside multiplying with it.
const batchTokens = 2048

// logitFloats bounds the logits held at once, per model: 128 MiB. Each time the
// output layer is decoded and packed, which with a large vocabulary should serve
// several hundred tokens.
const logitFloats = 32 << 20

// scores are the measurements of one model against the 16-bit reference, one
// entry per window in the order of the text.
type scores struct {
	tokens, nll, kl, top1 []float64 // sums over the scored tokens of each window
	lost, gained          []float64 // tokens of each window, see row.Top1Lost
	klTokens              []float64 // KL divergence of every scored token, sorted
}

// reference is the 16-bit model: its output layer, and what yields its final hidden
// states [sum T, D] for the windows first..last-1, whose inputs are seqs.
type reference struct {
	model  *llm.Model
	states func(first, last int, seqs [][]int32) (gemm.Matrix, error)
}

// batchKeeper returns the scores of the windows first..last-1 as compute gives them,
// or gave them earlier.
type batchKeeper func(ctx context.Context, first, last int, compute func() (*batchScores, error)) (*batchScores, error)

// score runs m over all windows. The logits of ref are recomputed with its output layer
// on the same rows, so that an unchanged model has a divergence of exactly zero. Keeping
// hidden states rather than logits takes D instead of V floats per token. Without a
// reference (nil) m is compared with itself. Without keep (nil) every batch is computed.
func score(ctx context.Context, m *llm.Model, ws []window, ref *reference,
	keep batchKeeper) (*scores, error) {
	if keep == nil {
		keep = func(_ context.Context, _, _ int, compute func() (*batchScores, error)) (*batchScores, error) {
			return compute()
		}
	}
	s, sc := &scores{}, &scorer{model: m, reference: ref}
	var perToken [][]float64
	for first := 0; first < len(ws); {
		last, seqs := batch(ws, first)
		b, err := keep(ctx, first, last, func() (*batchScores, error) {
			return sc.batch(ctx, ws, first, last, seqs)
		})
		if err != nil {
			return nil, err
		}
		s.tokens, s.nll = append(s.tokens, b.Tokens...), append(s.nll, b.NLL...)
		s.kl, s.top1 = append(s.kl, b.KL...), append(s.top1, b.Top1...)
		s.lost, s.gained = append(s.lost, b.Lost...), append(s.gained, b.Gained...)
		perToken = append(perToken, b.TokenKL...)
		first = last
		step(ctx, Evaluating, last, len(ws))
	}
	s.klTokens = slices.Concat(perToken...)
	slices.Sort(s.klTokens)
	return s, nil
}

// batch runs the model over the windows first..last-1 of ws, whose inputs are seqs.
func (s *scorer) batch(ctx context.Context, ws []window, first, last int, seqs [][]int32) (*batchScores, error) {
	start, n := time.Now(), last-first
	b := &batchScores{Tokens: make([]float64, n), NLL: make([]float64, n), KL: make([]float64, n),
		Top1: make([]float64, n), Lost: make([]float64, n), Gained: make([]float64, n),
		TokenKL: make([][]float64, n)}
	var ref gemm.Matrix
	if s.reference != nil {
		var err error
		if ref, err = s.reference.states(first, last, seqs); err != nil {
			return nil, err
		}
	}
	hidden, err := s.model.Hidden(ctx, seqs, nil)
	if err != nil {
		return nil, err
	}
	row := 0
	for i, w := range ws[first:last] {
		end := row + len(w.input)
		var part gemm.Matrix
		if s.reference != nil {
			part = ref.View(row, end, 0, ref.Cols)
		}
		t, err := s.window(w, hidden.View(row, end, 0, hidden.Cols), part)
		if err != nil {
			return nil, fmt.Errorf("window %d: %w", first+i, err)
		}
		b.TokenKL[i] = make([]float64, len(t))
		for j, v := range t {
			b.NLL[i] += v.nll
			b.KL[i] += v.kl
			switch {
			case v.agree:
				b.Top1[i]++
			case v.lost:
				b.Lost[i]++
			case v.gained:
				b.Gained[i]++
			}
			b.TokenKL[i][j] = v.kl
		}
		b.Tokens[i] = float64(len(t))
		row = end
	}
	b.Seconds = time.Since(start).Seconds()
	return b, nil
}

// batch returns the end of the run of windows from first on that fits into
// batchTokens, and their inputs.
func batch(ws []window, first int) (last int, seqs [][]int32) {
	rows := 0
	for last = first; last < len(ws); last++ {
		rows += len(ws[last].input)
		if last > first && rows > batchTokens {
			break
		}
		seqs = append(seqs, ws[last].input)
	}
	return last, seqs
}

// tokenScore is the comparison of two predictions of one token.
type tokenScore struct {
	nll, kl      float64
	agree        bool // on the most likely token
	lost, gained bool // where they do not agree: the reference alone, or the other alone is right
}

// scorer holds the logits of a model and of its reference while it is scored, and
// the hidden states they come from.
type scorer struct {
	model          *llm.Model
	reference      *reference // nil: model itself
	logits, hidden []float32
}

// matrix returns a matrix in memory, which grows where it must.
func matrix(memory *[]float32, rows, cols int) gemm.Matrix {
	if len(*memory) < rows*cols {
		*memory = make([]float32, rows*cols)
	}
	return gemm.Matrix{Rows: rows, Cols: cols, Stride: cols, Data: (*memory)[:rows*cols]}
}

// window compares the predictions from hidden with those from ref, both
// [len(input), D], at the scored positions. Without rows, ref is hidden itself.
func (s *scorer) window(w window, hidden, ref gemm.Matrix) ([]tokenScore, error) {
	out := make([]tokenScore, w.scored())
	step := max(1, logitFloats/s.model.Config().VocabSize)
	for a := 0; a < len(out); a += step {
		b := min(a+step, len(out))
		got, want, err := s.both(w.from+a, w.from+b, hidden, ref)
		if err != nil {
			return nil, err
		}
		parallel.Each(b-a, func(i int) {
			out[a+i] = compare(got.Row(i), want.Row(i), w.targets[w.from+a+i])
		})
	}
	return out, nil
}

// togetherRows is how many rows of hidden states a product must have beyond which
// its rows do not depend on their number: fewer go another way in gemm. On an engine any
// number goes one way.
const togetherRows = 32

// both returns the logits of rows a..b-1 of hidden and of ref, of which one without
// rows is hidden itself. Where both models have one output layer, and it makes no
// difference to a bit, one product does both, since each decodes and packs that layer.
func (s *scorer) both(a, b int, hidden, ref gemm.Matrix) (got, want gemm.Matrix, err error) {
	n, d, vocab := b-a, hidden.Cols, s.model.Config().VocabSize
	h := hidden.View(a, b, 0, d)
	if ref.Rows == 0 {
		got = matrix(&s.logits, n, vocab)
		return got, got, s.model.Logits(got, h)
	}
	all := matrix(&s.logits, 2*n, vocab)
	got, want = all.View(0, n, 0, vocab), all.View(n, 2*n, 0, vocab)
	r := ref.View(a, b, 0, d)
	if n <= togetherRows && !s.model.OnEngine() || !s.model.SameOutput(s.reference.model) {
		if err := s.model.Logits(got, h); err != nil {
			return got, want, err
		}
		return got, want, s.reference.model.Logits(want, r)
	}
	stacked := matrix(&s.hidden, 2*n, d)
	for i := range n {
		copy(stacked.Row(i), h.Row(i))
		copy(stacked.Row(n+i), r.Row(i))
	}
	return got, want, s.model.Logits(all, stacked)
}

// compare scores the logits got [V] for the token target, and their
// divergence KL(softmax want || softmax got).
func compare(got, want []float32, target int32) tokenScore {
	gi, wi := argmax(got), argmax(want)
	gmax, wmax := float64(got[gi]), float64(want[wi])
	var gsum, wsum, cross float64
	var ge, we [expBlock]float64
	for at := 0; at < len(got); at += expBlock {
		g := got[at:min(at+expBlock, len(got))]
		w := want[at:][:len(g)]
		llm.Exp64(ge[:], g, gmax)
		llm.Exp64(we[:], w, wmax)
		for i, v := range g {
			e := we[i&(expBlock-1)]
			wsum += e
			cross += e * (float64(w[i]) - float64(v))
			gsum += ge[i&(expBlock-1)]
		}
	}
	glse, wlse := gmax+math.Log(gsum), wmax+math.Log(wsum)
	return tokenScore{
		nll:   glse - float64(got[target]),
		kl:    cross/wsum + glse - wlse,
		agree: gi == wi, lost: gi != wi && wi == int(target), gained: gi != wi && gi == int(target),
	}
}

// expBlock is how many exponentials are held at a time, a power of two.
const expBlock = 512

// argmax returns the index of the largest element of v, the first of equal ones:
// it looks for the block that has it first.
func argmax(v []float32) int {
	block, largest := 0, v[0]
	for at := 0; at < len(v); at += expBlock {
		if top := gemm.Largest(v[at:min(at+expBlock, len(v))]); top > largest {
			block, largest = at, top
		}
	}
	for i, x := range v[block:] {
		if x == largest {
			return block + i
		}
	}
	return 0 // all are NaN
}

// quantile returns the q-quantile of sorted values, by linear interpolation.
func quantile(sorted []float64, q float64) float64 {
	p := q * float64(len(sorted)-1)
	i := int(p)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	f := p - float64(i)
	return sorted[i]*(1-f) + sorted[i+1]*f
}

func sum(v []float64) float64 {
	var t float64
	for _, x := range v {
		t += x
	}
	return t
}
