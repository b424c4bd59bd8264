package trial

import (
	"bytes"
	"context"
	"encoding/gob"
	"fmt"
	"io"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/store"
	"github.com/mosaicquant/mosaicquant/zipper"
)

// batchScores are the scores of the windows of one batch, in order; see scores.
type batchScores struct {
	Tokens, NLL, KL, Top1 []float64   // by window
	Lost, Gained          []float64   // by window
	TokenKL               [][]float64 // of each scored token, by window
	Seconds               float64     // that they took, in whichever run
}

// check tells what makes b no scores of ws.
func (b *batchScores) check(ws []window) error {
	n := len(ws)
	for _, list := range [][]float64{b.Tokens, b.NLL, b.KL, b.Top1, b.Lost, b.Gained} {
		if len(list) != n {
			return fmt.Errorf("scores of %d windows, want %d", len(list), n)
		}
	}
	if len(b.TokenKL) != n {
		return fmt.Errorf("scores of tokens of %d windows, want %d", len(b.TokenKL), n)
	}
	for i, w := range ws {
		if len(b.TokenKL[i]) != w.scored() {
			return fmt.Errorf("window %d: scores of %d tokens, want %d", i, len(b.TokenKL[i]), w.scored())
		}
	}
	return nil
}

// keptScores returns the function that hands out the scores of a batch in the trial
// with the given ID: from the store, or by compute. spared adds up the seconds of
// those from the store.
func (e *evaluator) keptScores(id string, spared *float64) batchKeeper {
	st := e.source.lab.Store
	k := newKeeper(st)
	return func(ctx context.Context, first, last int, compute func() (*batchScores, error)) (*batchScores, error) {
		key := scoresKey(id, first, last)
		if st.Has(key) {
			b := &batchScores{}
			err := st.Get(key, func(r io.Reader, _ int64) error {
				if err := gob.NewDecoder(r).Decode(b); err != nil {
					return err
				}
				return b.check(e.windows[first:last])
			})
			if err == nil {
				*spared += b.Seconds
				return b, nil
			}
		}
		b, err := compute()
		if err != nil {
			return nil, err
		}
		return b, k.add(key, func(w io.Writer) error {
			var buf bytes.Buffer
			if err := gob.NewEncoder(&buf).Encode(b); err != nil {
				return err
			}
			_, err := w.Write(buf.Bytes())
			return err
		})
	}
}

// drop deletes the scores that the trial of that ID stored.
func (e *evaluator) drop(id string) {
	st := e.source.lab.Store
	for first := 0; first < len(e.windows); {
		last, _ := batch(e.windows, first)
		if key := scoresKey(id, first, last); st.Has(key) {
			st.Delete(key)
		}
		first = last
	}
}

// scoresKey names the scores of the windows first..last-1 in the trial of that ID.
// Kernels are part of it, since another one rounds differently.
func scoresKey(id string, first, last int) store.Key {
	return store.NewKey("scores", 2, id, gemm.Kernel(), zipper.Kernel(), fmt.Sprint(first, last, batchTokens))
}
