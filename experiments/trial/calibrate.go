package trial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/store"
	"github.com/mosaicquant/mosaicquant/quant"
)

// sample chooses calibration sequences: tokens are divided into pieces of one
// context (less the BOS, if there is one), and as many pieces as fill
// c.Tokens are drawn without replacement. Their order is that of the text.
func sample(tokens []int32, c plan.Calibration, bos int32) ([][]int32, error) {
	piece := c.Context
	if bos >= 0 {
		piece--
	}
	have, want := len(tokens)/max(piece, 1), (c.Tokens+c.Context-1)/c.Context
	if piece < 1 || want < 1 {
		return nil, fmt.Errorf("calibration: %d tokens in sequences of %d: nothing to calibrate on", c.Tokens, c.Context)
	}
	if have < want {
		return nil, fmt.Errorf("calibration.tokens: %d tokens need %d sequences of %d, the text has %d", c.Tokens, want, c.Context, have)
	}
	chosen := make([]bool, have)
	for _, i := range rand.New(rand.NewPCG(c.Seed, 0)).Perm(have)[:want] {
		chosen[i] = true
	}
	var seqs [][]int32
	for i, ok := range chosen {
		if !ok {
			continue
		}
		var seq []int32
		if bos >= 0 {
			seq = append(seq, bos)
		}
		seqs = append(seqs, append(seq, tokens[i*piece:(i+1)*piece]...))
	}
	return seqs, nil
}

// loadMoments returns the second moments of a site as the 16-bit model sees
// them, from the store or by running the model over the calibration sequences.
// One run sums as many of the sites that the store lacks as fit into
// Lab.Memory, so a model of any size is calibrated in bounded memory.
func (s *Subject) loadMoments(ctx context.Context, site string) (*quant.Moments, error) {
	m, err := s.storedMoments(site)
	if !errors.Is(err, store.ErrAbsent) {
		return m, err
	}
	s.calibrating.Lock() // other trials want the same
	defer s.calibrating.Unlock()
	if m, err = s.storedMoments(site); !errors.Is(err, store.ErrAbsent) {
		return m, err
	}
	pass, err := s.nextPass(site)
	if err != nil {
		return nil, err
	}
	if err := s.calibrate(ctx, pass); err != nil {
		return nil, err
	}
	return s.storedMoments(site)
}

// nextPass returns the sites to sum in one run: site and those after it that
// the store lacks and that fit.
func (s *Subject) nextPass(site string) (map[string]int, error) {
	budget := s.lab.Memory
	if budget == 0 {
		budget = 4 << 30
	}
	pass := map[string]int{}
	for _, l := range s.model.Linears() {
		if _, ok := pass[l.Site]; ok || len(pass) == 0 && l.Site != site {
			continue
		}
		if l.Site != site {
			_, err := s.storedMoments(l.Site)
			if err == nil {
				continue
			}
			if !errors.Is(err, store.ErrAbsent) {
				return nil, err
			}
		}
		budget -= int64(l.K) * int64(l.K) * 8
		if budget < 0 && len(pass) > 0 {
			break
		}
		pass[l.Site] = l.K
	}
	return pass, nil
}

// calibrate runs the model and stores the moments of the given sites (name and
// K).
func (s *Subject) calibrate(ctx context.Context, sites map[string]int) error {
	sums := map[string]*quant.Accumulator{}
	for site, k := range sites {
		sums[site] = quant.NewAccumulator(k)
	}
	var failed error
	tap := func(site string, x gemm.Matrix) {
		if a := sums[site]; a != nil && failed == nil {
			if err := a.Add(x); err != nil {
				failed = fmt.Errorf("calibration: %s: %w", site, err)
			}
		}
	}
	for rest := s.calibrators; len(rest) > 0 && failed == nil; {
		n := min(len(rest), max(1, batchTokens/len(rest[0])))
		if _, err := s.model.Hidden(ctx, rest[:n], tap); err != nil {
			return err
		}
		rest = rest[n:]
	}
	if failed != nil {
		return failed
	}
	for site, sum := range sums {
		m, err := sum.Finish()
		if err != nil {
			return fmt.Errorf("calibration: %s: %w", site, err)
		}
		data, err := m.MarshalBinary()
		if err != nil {
			return err
		}
		err = s.lab.Store.Put(s.momentsKey(site), func(w io.Writer) error {
			_, err := w.Write(data)
			return err
		})
		if err != nil {
			return err
		}
		delete(sums, site)
	}
	return nil
}

// storedMoments reads the moments of a site; store.ErrAbsent where they have
// not been computed.
func (s *Subject) storedMoments(site string) (*quant.Moments, error) {
	m := &quant.Moments{}
	err := s.lab.Store.Get(s.momentsKey(site), func(r io.Reader, size int64) error {
		data := make([]byte, size)
		if _, err := io.ReadFull(r, data); err != nil {
			return err
		}
		return m.UnmarshalBinary(data)
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}

// momentsKey names the moments of a site by all that they depend on. The
// kernel is part of it, so that a trial gives the same bits with a cold and a
// warm cache.
func (s *Subject) momentsKey(site string) store.Key {
	c := s.calibration
	return store.NewKey("moments", 1, s.content["model"], s.content["config.json"], s.content["tokenizer.json"], s.content["calibration"],
		fmt.Sprint(c.Tokens, c.Context, c.Seed, s.protocol.BOS), gemm.Kernel(), site)
}
