package trial

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/llm"
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
		return nil, fmt.Errorf("calibration.tokens: %d tokens need %d sequences of %d, the text has %d",
			c.Tokens, want, c.Context, have)
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

// statistics is what calibration learns at a site.
type statistics struct {
	moments  *quant.Moments
	energies []float64 // tr(W·H·Wᵀ) of the linear layers of the site, in order
}

// What is stored beside results, so that no run does the same work twice:
// variables only for tests.
var (
	// checkpointAfter is the least work after which the streams of the calibration
	// sequences are stored, see pace: what a killed calibration loses, beside a layer.
	checkpointAfter = time.Second
	// keepFactors is the K from which factors of H are stored: below, computing
	// one takes milliseconds.
	keepFactors = 1024
	// keepLayer is the least work after which the quantized layers of a trial, and the
	// scores of its windows, are stored until it ends, see pace.
	keepLayer = 200 * time.Millisecond
)

// calibrator knows the inputs that linear layers get from calibration sequences. It
// answers with their statistics, site by site, see begin, and with SmoothQuant's
// scales, see smooth. Its methods may be called concurrently.
type calibrator struct {
	source    *source
	settings  plan.Calibration
	text      string    // says what the sequences are cut from: the SHA-256 of a text
	sequences [][]int32 // one context each

	computing sync.Mutex // held while statistics are computed
}

// sample reads the calibration text and draws its sequences.
func (c *calibrator) sample() error {
	text, sha, err := readText(c.settings.Text)
	if err != nil {
		return plan.AboutSetting("calibration.text", fmt.Errorf("calibration.text: %w", err))
	}
	c.text = sha
	tokens, err := c.source.encode(text)
	if err != nil {
		return fmt.Errorf("%w (text %s)", err, c.settings.Text)
	}
	c.sequences, err = sample(tokens, c.settings, c.source.bos)
	if err != nil {
		return plan.AboutSetting("calibration.tokens", fmt.Errorf("%w (text %s)", err, c.settings.Text))
	}
	return nil
}

// tokens is the number of calibration tokens.
func (c *calibrator) tokens() int {
	n := 0
	for _, seq := range c.sequences {
		n += len(seq)
	}
	return n
}

// pass hands out the statistics of sites, from the store or by running the model
// over the calibration sequences. It is for one goroutine. Sites are best asked for
// in the order of execution: then one pass over the model is enough.
type pass struct {
	*calibrator
	// What the store does not take (a full disk, see store.Keep) is held here: the
	// statistics of one layer, and the streams before the next layer.
	held    map[string]*statistics
	streams []*llm.Stream
}

// begin returns a new pass.
func (c *calibrator) begin() *pass { return &pass{calibrator: c} }

// statistics returns the statistics of a site as the 16-bit model sees it.
func (p *pass) statistics(ctx context.Context, site string) (*statistics, error) {
	st, err := p.find(site)
	if errors.Is(err, store.ErrAbsent) {
		p.computing.Lock() // other trials want the same
		defer p.computing.Unlock()
		if st, err = p.find(site); errors.Is(err, store.ErrAbsent) {
			if err = p.run(ctx, site); err == nil {
				st, err = p.find(site)
			}
		}
	}
	if err != nil {
		return nil, err
	}
	if st.moments.K >= keepFactors {
		st.moments.Keep = func(name string, compute func() ([]byte, error)) ([]byte, error) {
			key := store.NewKey("factor", 1, p.statisticsKey(site).String(), name)
			return store.Do(ctx, p.store(), key, bytesCodec, func(context.Context) ([]byte, error) { return compute() })
		}
	}
	return st, nil
}

// find returns what is held or stored; store.ErrAbsent for neither.
func (p *pass) find(site string) (*statistics, error) {
	if st := p.held[site]; st != nil {
		return st, nil
	}
	return p.stored(site)
}

// run computes the statistics of site and of all others that the store lacks:
// all calibration sequences advance through the model layer by layer, so that
// each weight is read once, and memory holds the moments of one layer, 8·K² bytes
// for each of its four sites, and the hidden states of all tokens. A calibration
// that was interrupted goes on near the layer that it had come to. One that
// cannot store what it computes ends after the layer of site.
func (p *pass) run(ctx context.Context, site string) error {
	missing := make([][]string, p.source.model.Config().Layers)
	first, target, last := -1, 0, -1
	for i, l := range p.source.linears {
		if l.Site == site {
			target = l.Layer
		}
		if i > 0 && p.source.linears[i-1].Site == l.Site || l.Site != site && p.store().Has(p.statisticsKey(l.Site)) {
			continue
		}
		missing[l.Layer] = append(missing[l.Layer], l.Site)
		if last = l.Layer; first < 0 {
			first = l.Layer
		}
	}
	streams := p.streams
	p.held, p.streams = nil, nil
	if streams == nil || streams[0].Layer() > target {
		var err error
		if streams, err = p.startStreams(first); err != nil {
			return err
		}
		if first > 0 && p.store().Failed() == nil {
			p.source.lab.note("calibration goes on: statistics of layers before %d of %d are in the cache;"+
				" the model runs from layer %d",
				first, len(missing), streams[0].Layer())
		}
	}
	saved, pace := streams[0].Layer(), newPace()
	for l := streams[0].Layer(); l <= last; l++ {
		held, err := p.calibrateLayer(ctx, streams, missing[l], l == target)
		if err != nil {
			return err
		}
		step(ctx, Calibrating, l+1, last+1)
		if held != nil {
			p.held, p.streams = held, streams
			break
		}
		if l < last && pace.due(checkpointAfter) {
			start := time.Now()
			kept, err := p.saveStreams(streams)
			if err != nil {
				return err
			}
			pace.stored(start)
			if kept {
				p.store().Delete(p.streamsKey(saved))
				saved = l + 1
			}
		}
	}
	p.store().Delete(p.streamsKey(saved))
	return nil
}

// calibrateLayer advances the streams by a layer and stores the statistics of
// the given sites in it. If hold is set it returns those that the store did not
// take, nil where it took all.
func (c *calibrator) calibrateLayer(ctx context.Context, streams []*llm.Stream, sites []string,
	hold bool) (held map[string]*statistics, err error) {
	sums := map[string]*quant.Accumulator{}
	for _, l := range c.source.linears {
		if slices.Contains(sites, l.Site) && sums[l.Site] == nil {
			sums[l.Site] = quant.NewAccumulator(l.K)
		}
	}
	var failed error
	tap := func(site string, x gemm.Matrix) {
		if a := sums[site]; a != nil && failed == nil {
			if err := a.Add(x); err != nil {
				failed = fmt.Errorf("calibration: %s: %w", site, err)
			}
		}
	}
	for _, stream := range streams {
		if err := stream.Advance(ctx, tap); err != nil {
			return nil, err
		}
		if failed != nil {
			return nil, failed
		}
	}
	for _, site := range sites {
		m, err := sums[site].Finish()
		if err != nil {
			return nil, fmt.Errorf("calibration: %s: %w", site, err)
		}
		delete(sums, site)
		st := &statistics{moments: m}
		for _, l := range c.source.linears {
			if l.Site == site {
				st.energies = append(st.energies, outputEnergy(l, m))
			}
		}
		kept, err := c.store().Keep(c.statisticsKey(site), st.encode)
		if err != nil {
			return nil, err
		}
		if !kept && hold {
			if held == nil {
				held = map[string]*statistics{}
			}
			held[site] = st
		}
	}
	return held, nil
}

// startStreams returns the streams of the calibration sequences before the given
// layer, or the last one before it that the store has them for.
func (c *calibrator) startStreams(layer int) ([]*llm.Stream, error) {
	var batches [][][]int32
	for rest := c.sequences; len(rest) > 0; {
		n := min(len(rest), max(1, batchTokens/len(rest[0])))
		batches = append(batches, rest[:n])
		rest = rest[n:]
	}
	codec := matrixOf(c.tokens(), c.source.model.Config().HiddenSize)
	var states gemm.Matrix
	for ; layer > 0; layer-- {
		err := c.store().Get(c.streamsKey(layer), func(r io.Reader, size int64) (err error) {
			states, err = codec.Read(r, size)
			return err
		})
		if err == nil {
			break
		}
		if !errors.Is(err, store.ErrAbsent) {
			return nil, err
		}
	}
	var streams []*llm.Stream
	row := 0
	for _, seqs := range batches {
		var stream *llm.Stream
		var err error
		if layer == 0 {
			stream, err = c.source.model.Begin(seqs)
		} else {
			end := row
			for _, seq := range seqs {
				end += len(seq)
			}
			stream, err = c.source.model.Resume(seqs, layer, states.View(row, min(end, states.Rows), 0, states.Cols))
			row = end
		}
		if err != nil {
			return nil, err
		}
		streams = append(streams, stream)
	}
	return streams, nil
}

// saveStreams stores the streams, all before the same layer.
func (c *calibrator) saveStreams(streams []*llm.Stream) (kept bool, err error) {
	states := gemm.NewMatrix(0, streams[0].State().Cols)
	for _, stream := range streams {
		x := stream.State()
		for i := range x.Rows {
			states.Data = append(states.Data, x.Row(i)...)
		}
		states.Rows += x.Rows
	}
	return c.store().Keep(c.streamsKey(streams[0].Layer()), func(w io.Writer) error {
		return matrixCodec.Write(w, states)
	})
}

// encode writes the energies, after their number, and the moments.
func (st *statistics) encode(w io.Writer) error {
	buf := binary.LittleEndian.AppendUint64(nil, uint64(len(st.energies)))
	for _, e := range st.energies {
		buf = binary.LittleEndian.AppendUint64(buf, math.Float64bits(e))
	}
	if _, err := w.Write(buf); err != nil {
		return err
	}
	return st.moments.Encode(w)
}

// stored reads the statistics of a site; store.ErrAbsent where they
// have not been computed.
func (c *calibrator) stored(site string) (*statistics, error) {
	count, inputs := 0, 0
	for _, l := range c.source.linears {
		if l.Site == site {
			count++
			inputs = l.K
		}
	}
	st := &statistics{energies: make([]float64, count)}
	err := c.store().Get(c.statisticsKey(site), func(r io.Reader, size int64) error {
		head := make([]byte, 8+8*count)
		if _, err := io.ReadFull(r, head); err != nil {
			return err
		}
		if n := binary.LittleEndian.Uint64(head); n != uint64(count) {
			return fmt.Errorf("%s: energies of %d linear layers, want %d", site, n, count)
		}
		for i := range st.energies {
			st.energies[i] = math.Float64frombits(binary.LittleEndian.Uint64(head[8+8*i:]))
		}
		var err error
		st.moments, err = quant.DecodeMoments(r, size-int64(len(head)))
		if err == nil && st.moments.K != inputs {
			err = fmt.Errorf("%s: second moments of %d inputs, want %d", site, st.moments.K, inputs)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return st, nil
}

// statisticsKey names the statistics of a site by all that they depend on.
func (c *calibrator) statisticsKey(site string) store.Key { return c.key("statistics", site) }

// streamsKey names the streams of the calibration sequences before a layer.
func (c *calibrator) streamsKey(layer int) store.Key {
	return c.key("streams", fmt.Sprint(layer, batchTokens))
}

// key names what is computed from the calibration sequences. The
// kernel is part of it, so that a trial gives the same bits with a cold and a
// warm cache.
func (c *calibrator) key(kind string, rest ...string) store.Key {
	s, set := c.source, c.settings
	parts := []string{s.content["model"], s.content["config.json"], s.content["tokenizer.json"], c.text,
		fmt.Sprint(set.Tokens, set.Context, set.Seed, s.bos >= 0), gemm.Kernel()}
	parts = append(parts, s.changes...)
	return store.NewKey(kind, 2, append(parts, rest...)...)
}

func (c *calibrator) store() *store.Store { return c.source.lab.Store }
