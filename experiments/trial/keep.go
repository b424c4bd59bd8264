package trial

import (
	"bytes"
	"context"
	"encoding/gob"
	"fmt"
	"io"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/store"
	"github.com/mosaicquant/mosaicquant/zipper"
)

// storingShare is how many times as long as it took to store something the work must
// go on before more of it is stored.
const storingShare = 10

// pace tells when work should be stored, so that a kill loses little and storing costs
// little: when it has gone on for a while, and storingShare times as long as the last
// time that something was stored.
type pace struct {
	since time.Time
	cost  time.Duration
}

func newPace() pace { return pace{since: time.Now()} }

// due reports whether at least the time least has passed, and enough for the cost; 0 is
// always enough.
func (p *pace) due(least time.Duration) bool {
	return least == 0 || time.Since(p.since) > max(least, storingShare*p.cost)
}

// stored notes that what began to be stored at start is stored.
func (p *pace) stored(start time.Time) {
	p.since = time.Now()
	p.cost = p.since.Sub(start)
}

// keeper stores the results of a trial, of whatever kind, each time that its pace says
// so. However often a trial is killed, it ends as long as it lives for a little more
// than it takes to start. It is for one goroutine.
type keeper struct {
	store   *store.Store
	pace    pace
	pending []pending
}

type pending struct {
	key   store.Key
	write func(io.Writer) error
}

func (s *Subject) newKeeper() *keeper { return &keeper{store: s.lab.Store, pace: newPace()} }

// add stores what write writes, now or with a later value.
func (k *keeper) add(key store.Key, write func(io.Writer) error) error {
	k.pending = append(k.pending, pending{key, write})
	if !k.pace.due(keepLayer) {
		return nil
	}
	start := time.Now()
	for _, p := range k.pending {
		if _, err := k.store.Keep(p.key, p.write); err != nil {
			return err
		}
	}
	k.pending = nil
	k.pace.stored(start)
	return nil
}

// batchScores are the scores of the windows of one batch, in order; see scores.
type batchScores struct {
	Tokens, NLL, KL, Top1 []float64   // by window
	TokenKL               [][]float64 // of each scored token, by window
	Seconds               float64     // that they took, in whichever run
}

// check tells what makes b no scores of ws.
func (b *batchScores) check(ws []window) error {
	n := len(ws)
	if len(b.Tokens) != n || len(b.NLL) != n || len(b.KL) != n || len(b.Top1) != n || len(b.TokenKL) != n {
		return fmt.Errorf("scores of %d windows, want %d", len(b.Tokens), n)
	}
	for i, w := range ws {
		if len(b.TokenKL[i]) != w.scored() {
			return fmt.Errorf("window %d: scores of %d tokens, want %d", i, len(b.TokenKL[i]), w.scored())
		}
	}
	return nil
}

// keptScores returns the function that hands out the scores of a batch in the trial t:
// from the store, or by compute. spared adds up the seconds of those from the store.
func (s *Subject) keptScores(t plan.Trial, spared *float64) batchKeeper {
	k := s.newKeeper()
	return func(ctx context.Context, first, last int, compute func() (*batchScores, error)) (*batchScores, error) {
		key := s.scoresKey(t, first, last)
		if s.lab.Store.Has(key) {
			b := &batchScores{}
			err := s.lab.Store.Get(key, func(r io.Reader, _ int64) error {
				if err := gob.NewDecoder(r).Decode(b); err != nil {
					return err
				}
				return b.check(s.windows[first:last])
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

// dropScores deletes the scores that the trial t stored.
func (s *Subject) dropScores(t plan.Trial) {
	for first := 0; first < len(s.windows); {
		last, _ := batch(s.windows, first)
		if key := s.scoresKey(t, first, last); s.lab.Store.Has(key) {
			s.lab.Store.Delete(key)
		}
		first = last
	}
}

// scoresKey names the scores of the windows first..last-1 in the trial t. Kernels are
// part of it, since another one rounds differently.
func (s *Subject) scoresKey(t plan.Trial, first, last int) store.Key {
	return store.NewKey("scores", 1, s.ID(t), gemm.Kernel(), zipper.Kernel(), fmt.Sprint(first, last, batchTokens))
}
