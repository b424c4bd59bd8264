package llm

import (
	"context"
	"fmt"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// Cache holds the keys and values of the tokens of one sequence: 2·KV float32
// per layer and token. It serves a model and its views, not concurrently.
// Layers with a sliding window keep all tokens too.
type Cache struct {
	k, v []gemm.Matrix // by layer, [max,KV]
	n    int
}

// NewCache returns an empty cache for up to maxTokens tokens.
func (m *Model) NewCache(maxTokens int) *Cache {
	c := &Cache{}
	for range m.layers {
		c.k = append(c.k, gemm.NewMatrix(maxTokens, m.kv))
		c.v = append(c.v, gemm.NewMatrix(maxTokens, m.kv))
	}
	return c
}

// Len is the number of tokens in the cache.
func (c *Cache) Len() int { return c.n }

// Truncate drops all but the first n tokens, for instance to continue a prefix
// in another way. It panics when there are fewer.
func (c *Cache) Truncate(n int) {
	if n < 0 || n > c.n {
		panic(fmt.Sprintf("llm: cache of %d tokens truncated to %d", c.n, n))
	}
	c.n = n
}

// Decode appends tokens to the sequence in cache, a single one or a chunk, and
// returns their final-normed hidden states [T,D]. It equals Hidden of the whole
// sequence up to rounding. After an error the cache is as before. A full cache
// and what Hidden reports are errors.
func (m *Model) Decode(ctx context.Context, cache *Cache, tokens []int32) (gemm.Matrix, error) {
	return m.DecodeEach(ctx, []*Cache{cache}, [][]int32{tokens})
}

// DecodeEach is Decode for several sequences, each with a cache of its own, of which
// linear layers read their weights once. It returns the hidden states [sum T, D],
// sequence after sequence.
func (m *Model) DecodeEach(ctx context.Context, caches []*Cache, tokens [][]int32) (gemm.Matrix, error) {
	if m.engine != nil {
		return gemm.Matrix{}, errEngine
	}
	if len(caches) != len(tokens) {
		panic(fmt.Sprintf("llm: %s: %d caches for %d sequences", m.name, len(caches), len(tokens)))
	}
	if m.prefix != nil {
		return gemm.Matrix{}, fmt.Errorf("llm: %s: caches do not begin with the prefix of the model", m.name)
	}
	var all []int32
	var segs []segment
	positions := 0
	for i, cache := range caches {
		if len(cache.k) != len(m.layers) || cache.k[0].Cols != m.kv {
			panic(fmt.Sprintf("llm: %s: cache of another model", m.name))
		}
		if err := m.checkIDs(tokens[i], cache.n); err != nil {
			return gemm.Matrix{}, fmt.Errorf("llm: %s: %w", m.name, err)
		}
		if room := cache.k[0].Rows - cache.n; len(tokens[i]) > room {
			return gemm.Matrix{}, fmt.Errorf("llm: %s: %d tokens for a cache with room for %d more",
				m.name, len(tokens[i]), room)
		}
		segs = append(segs, segment{r0: len(all), r1: len(all) + len(tokens[i]), first: cache.n, before: -1})
		all = append(all, tokens[i]...)
		positions = max(positions, cache.n+len(tokens[i]))
	}
	x, err := m.load(all)
	if err != nil {
		return gemm.Matrix{}, err
	}
	r := &run{m: m, segs: segs, caches: caches, cs: m.rope.table(positions), x: x}
	defer m.pool.Put(r.allocate())
	for l := range m.layers {
		if err := r.layer(ctx, l); err != nil {
			return gemm.Matrix{}, err
		}
	}
	for i, cache := range caches {
		cache.n += len(tokens[i])
	}
	normRows(x, x, m.norm, m.eps)
	return x, nil
}
