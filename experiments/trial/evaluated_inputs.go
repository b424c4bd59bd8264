package trial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/store"
	"github.com/mosaicquant/mosaicquant/quant"
)

// evaluatedTokens is about how many inputs of a linear layer the output error on the
// evaluated text is measured on.
const evaluatedTokens = 512

// evaluatedInputs knows a sample of the inputs X [tokens,K] that linear layers get from
// the evaluated text in the 16-bit model: every n-th token of windows spread over the
// text, as many as one batch holds. It takes a pass over that batch, once for all trials
// of a subject. Its methods may be called concurrently.
type evaluatedInputs struct {
	evaluator *evaluator

	mu   sync.Mutex
	held map[string]gemm.Matrix // by site: what the store does not take
}

// windows returns the inputs of the windows of the sample, and the n of the n-th token.
func (e *evaluatedInputs) windows() (seqs [][]int32, every int) {
	all := e.evaluator.windows
	count := min(len(all), max(1, batchTokens/len(all[0].input)))
	tokens := 0
	for i := range count {
		seq := all[i*len(all)/count].input
		seqs = append(seqs, seq)
		tokens += len(seq)
	}
	return seqs, max(1, tokens/evaluatedTokens)
}

// key names the sample of a site by all that it depends on.
func (e *evaluatedInputs) key(site string) store.Key {
	s, p := e.evaluator.source, e.evaluator.protocol
	parts := []string{s.content["model"], s.content["config.json"], s.content["tokenizer.json"], e.evaluator.text,
		fmt.Sprint(p.Context, p.Stride, s.bos >= 0, p.Tokens), gemm.Kernel(), fmt.Sprint(batchTokens, evaluatedTokens)}
	parts = append(parts, s.changes...)
	return store.NewKey("inputs", 1, append(parts, site)...)
}

// at returns the sample of a site.
func (e *evaluatedInputs) at(ctx context.Context, site string) (gemm.Matrix, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	x, err := e.find(site)
	if errors.Is(err, store.ErrAbsent) {
		if err := e.run(ctx); err != nil {
			return gemm.Matrix{}, err
		}
		x, err = e.find(site)
	}
	return x, err
}

func (e *evaluatedInputs) find(site string) (x gemm.Matrix, err error) {
	if x, ok := e.held[site]; ok {
		return x, nil
	}
	s := e.evaluator.source
	seqs, every := e.windows()
	rows := 0
	for _, seq := range seqs {
		rows += len(seq)
	}
	codec := matrixOf((rows+every-1)/every, s.width(site))
	err = s.lab.Store.Get(e.key(site), func(r io.Reader, size int64) (err error) {
		x, err = codec.Read(r, size)
		return err
	})
	return x, err
}

// prepare puts the samples of all sites into the store.
func (e *evaluatedInputs) prepare(ctx context.Context) error {
	s := e.evaluator.source
	for _, l := range s.linears {
		if s.lab.Store.Has(e.key(l.Site)) {
			continue
		}
		if _, err := e.at(ctx, l.Site); err != nil { // and those of all other sites
			return err
		}
		if err := s.lab.Store.Failed(); err != nil {
			return err
		}
	}
	return nil
}

// run passes the sample through the model and keeps the inputs of every site.
func (e *evaluatedInputs) run(ctx context.Context) error {
	s := e.evaluator.source
	defer s.release()
	seqs, every := e.windows()
	var failed error
	_, err := s.model.Hidden(ctx, seqs, func(site string, x gemm.Matrix) {
		part := gemm.NewMatrix((x.Rows+every-1)/every, x.Cols)
		for i := range part.Rows {
			copy(part.Row(i), x.Row(i*every))
		}
		kept, err := s.lab.Store.Keep(e.key(site), func(w io.Writer) error { return matrixCodec.Write(w, part) })
		if err != nil && failed == nil {
			failed = err
		}
		if !kept {
			if e.held == nil {
				e.held = map[string]gemm.Matrix{}
			}
			e.held[site] = part
		}
	})
	if err != nil {
		return err
	}
	return failed
}

// sampledError returns ||X·Eᵀ||² and ||X·Wᵀ||² for E = W - Ŵ [N,K] and inputs X
// [tokens,K], whose columns are divided by scales where there are any. Products are
// float32, sums float64.
func sampledError(w gemm.Matrix, wq gemm.Source, x gemm.Matrix, scales []float32) (lost, energy float64) {
	if scales != nil {
		scaled := gemm.NewMatrix(x.Rows, x.Cols)
		for i := range x.Rows {
			row := scaled.Row(i)
			for k, v := range x.Row(i) {
				row[k] = v / scales[k]
			}
		}
		x = scaled
	}
	y := gemm.NewMatrix(x.Rows, w.Rows)
	gemm.MulNT(y, x, quant.Difference(w, wq))
	lost = squares(y)
	gemm.MulNT(y, x, w)
	return lost, squares(y)
}

// squares is the sum of the squares of m.
func squares(m gemm.Matrix) (sum float64) {
	for i := range m.Rows {
		for _, v := range m.Row(i) {
			sum += float64(v) * float64(v)
		}
	}
	return sum
}
