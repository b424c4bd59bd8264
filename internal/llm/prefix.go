package llm

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/half"
)

// prefix are tokens that stand before every sequence. Only their keys and values are
// needed, which a model computes once, with its weights and inputs in 16 bits, and keeps
// in half precision.
type prefix struct {
	tokens []int32
	of     *Model // what computes them, without prefix

	once sync.Once
	past *Cache
	err  error
}

// WithPrefix returns a view of m in which every sequence follows the tokens: it begins at
// position len(tokens), and its attention sees theirs. None for no prefix. The tokens
// have no rows of their own in what a stream computes or taps. Their keys and values are
// those of m with weights and inputs as they are now, rounded to half precision: views
// of other weights (see With) share them, those in other channels (Scale, Fold,
// Transform) compute them anew. Layers with a sliding window lose sight of the
// prefix as they do of other tokens. Decode is an error.
func (m *Model) WithPrefix(tokens []int32) *Model {
	v := *m
	v.prefix, v.engine = nil, nil
	if len(tokens) > 0 {
		plain := v
		v.prefix = &prefix{tokens: slices.Clone(tokens), of: &plain}
	}
	return &v
}

// Prefix returns the tokens that stand before every sequence.
func (m *Model) Prefix() []int32 {
	if m.prefix == nil {
		return nil
	}
	return m.prefix.tokens
}

// PrefixBytes is the size of the keys and values of the prefix in half precision.
func (m *Model) PrefixBytes() int64 {
	return 2 * 2 * int64(len(m.layers)) * int64(m.kv) * int64(len(m.Prefix()))
}

// PrefixKeys returns the keys, turned by their positions, and the values of the prefix
// [P,KV] in each layer; nil where there is none. They must not be modified.
func (m *Model) PrefixKeys() (keys, values []gemm.Matrix, err error) {
	past, err := m.prefix.keys()
	if past == nil || err != nil {
		return nil, nil, err
	}
	return past.k, past.v, nil
}

// keys returns the keys and values of the prefix, nil where there is none.
func (p *prefix) keys() (*Cache, error) {
	if p == nil {
		return nil, nil
	}
	p.once.Do(func() {
		past := p.of.NewCache(len(p.tokens))
		if _, p.err = p.of.Decode(context.Background(), past, p.tokens); p.err != nil {
			p.err = fmt.Errorf("prefix: %w", p.err)
			return
		}
		for l := range past.k {
			for _, data := range [][]float32{past.k[l].Data, past.v[l].Data} {
				for i, v := range data {
					if !(v <= half.MaxF16 && v >= -half.MaxF16) {
						p.err = fmt.Errorf("llm: %s: prefix: %g among the keys and values of layer %d exceeds half precision",
							p.of.name, v, l)
						return
					}
					data[i] = half.FromF16(half.ToF16(v))
				}
			}
		}
		p.past = past
	})
	return p.past, p.err
}
