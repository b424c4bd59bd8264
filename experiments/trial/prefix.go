package trial

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/internal/store"
)

const (
	prefixTokens = 4096 // of the calibration in which tokens for a prefix are looked for, at least
	prefixTimes  = 64   // an outlier token's largest input of down_proj over the median of its sequence
	prefixChange = "prefix outliers"
)

// notePrefix notes that t asks for a prefix.
func (s *source) notePrefix(t plan.Trial) {
	if t.Prefix == "" {
		return
	}
	s.prefixed = true
	s.changes = append(s.changes, fmt.Sprint(prefixChange, " ", prefixTokens, " ", prefixTimes))
}

// withoutPrefix returns the changes of the model that leave its function as it is.
func (s *source) withoutPrefix() []string {
	return slices.DeleteFunc(slices.Clone(s.changes), func(c string) bool { return strings.HasPrefix(c, prefixChange) })
}

// prefix gives the model the prefix of PrefixQuant (Chen et al. 2024, arXiv:2410.05265).
func (s *Subject) prefix(ctx context.Context) error {
	src := s.source
	begin, ok := src.tokenizer.BOS()
	if eos := src.model.Config().EOS; !ok && len(eos) > 0 {
		begin, ok = eos[0], true
	}
	if !ok {
		return fmt.Errorf("model %s has no token that begins or ends sequences", src.name)
	}
	key := s.calibrated.key("prefix")
	data, err := store.Do(ctx, src.lab.Store, key, bytesCodec, func(ctx context.Context) ([]byte, error) {
		tokens, err := s.calibrated.outlierTokens(ctx)
		var b bytes.Buffer
		binary.Write(&b, binary.LittleEndian, tokens) // into memory
		return b.Bytes(), err
	})
	if err != nil {
		return err
	}
	tokens := make([]int32, len(data)/4)
	if err := binary.Read(bytes.NewReader(data), binary.LittleEndian, tokens); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	tokens = append(tokens, begin)
	src.warn("the prefix is %d tokens: %q; divergence is from the model without it", len(tokens),
		src.tokenizer.Decode(tokens))
	if limit := src.model.Config().MaxPositions; s.evaluator.protocol.Context+len(tokens) > limit {
		src.warn("prefix and protocol.context %d are beyond the %d positions the model was trained for",
			s.evaluator.protocol.Context, limit)
	}
	src.model = src.model.WithPrefix(tokens)
	return nil
}

// outlierTokens returns the tokens that PrefixQuant puts before the one that begins
// sequences, as the authors' get_prefixed_tokens finds them, but on the calibration text.
func (c *calibrator) outlierTokens(ctx context.Context) ([]int32, error) {
	var seqs [][]int32
	tokens := 0
	for _, seq := range c.sequences {
		if tokens >= prefixTokens {
			break
		}
		seqs = append(seqs, seq)
		tokens += len(seq)
	}
	found := outlierCounts{layers: make([]int, c.source.model.Config().Layers), tokens: map[int32]int{}}
	for first := 0; first < len(seqs); {
		n := min(len(seqs)-first, max(1, batchTokens/len(seqs[first])))
		part, layer := seqs[first:first+n], 0
		_, err := c.source.model.Hidden(ctx, part, func(site string, x gemm.Matrix) {
			if !strings.HasSuffix(site, ".mlp_mid") {
				return
			}
			row := 0
			for _, seq := range part {
				top := make([]float32, len(seq))
				for i := range top {
					top[i] = gemm.MaxAbs(x.Row(row + i))
				}
				found.add(layer, seq, top)
				row += len(seq)
			}
			layer++
		})
		if err != nil {
			return nil, err
		}
		first += n
	}
	return found.prefix(len(seqs)), nil
}

// outlierCounts counts outlier tokens: those whose largest input of down_proj is over 64
// times the median of its sequence.
type outlierCounts struct {
	layers []int         // in each layer
	tokens map[int32]int // in all layers, without the first of each sequence, an outlier whatever it is
}

// add counts the outliers of a sequence in a layer, whose largest inputs are top.
func (o *outlierCounts) add(layer int, seq []int32, top []float32) {
	median := slices.Sorted(slices.Values(top))[(len(top)-1)/2]
	for i, v := range top {
		if v/median > prefixTimes {
			o.layers[layer]++
			if i > 0 {
				o.tokens[seq[i]]++
			}
		}
	}
}

// prefix returns the tokens that are outliers most often, as many as a sequence has
// outliers in the layer that has most, rounded up; of equals the lower number comes first.
// A single token that is one in fewer than a tenth of the sequences is none.
func (o *outlierCounts) prefix(sequences int) []int32 {
	tokens := slices.Sorted(maps.Keys(o.tokens))
	slices.SortStableFunc(tokens, func(a, b int32) int { return o.tokens[b] - o.tokens[a] })
	if len(tokens) == 1 && 10*o.tokens[tokens[0]] < sequences {
		return nil
	}
	n := int(math.Ceil(float64(slices.Max(o.layers)) / float64(sequences)))
	return tokens[:min(n, len(tokens))]
}

// reportPrefix writes what the prefix stores into r, and returns the bytes.
func reportPrefix(m *llm.Model, r *row.Row) int64 {
	n := m.PrefixBytes()
	if n > 0 {
		r.Ledger = append(r.Ledger, row.Item{Name: "prefix", Bytes: n})
	}
	return n
}
