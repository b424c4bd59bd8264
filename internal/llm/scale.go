package llm

import (
	"fmt"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// Scale returns a view of m that computes the same function through other
// channels: at each site named in scales ("model.layers.0.attn_in") the inputs X
// become X·diag(1/s) and the weights that read them W·diag(s), s [K] being the
// site's scales. What makes X takes the factor 1/s up: the gain of the RMSNorm
// before attn_in and mlp_in, the rows (and biases) of v_proj before attn_out and
// of up_proj before mlp_mid. This is exact but for rounding, and without any
// rounding where all s are powers of two; embeddings, the norms of Qwen3's
// queries and keys, and the last norm stay as they are. Weights are scaled as
// they are loaded, none is copied.
//
// A site whose inputs are turned Online has no scales that could be taken up, so
// that scales of it are an error. Channels of attn_out that come from one channel of v_proj (see Producers) need
// one scale. Scale panics on sites that m does not have and on scales of another
// number; scales that are not positive, not finite, or differ where they must
// not, are an error that names site and channel.
func (m *Model) Scale(scales map[string][]float32) (*Model, error) {
	v := m.With(nil)
	used := 0
	for l := range v.layers {
		w := &v.layers[l]
		for site := range sites {
			name := siteName(l, site)
			s, ok := scales[name]
			if !ok {
				continue
			}
			used++
			if w.online[site] != nil {
				return nil, fmt.Errorf("llm: %s: %s: its inputs are turned while the model runs,"+
					" so no layer before it can take up their scales", m.name, name)
			}
			inverse, err := m.inverse(name, site, s)
			if err != nil {
				return nil, fmt.Errorf("llm: %s: %s: %w", m.name, name, err)
			}
			for i := range w.linears[site] {
				r := &w.linears[site][i]
				r.weights = scale(r.weights, nil, s)
			}
			switch site {
			case siteAttnIn:
				w.inputNorm = product(w.inputNorm, inverse)
			case siteMLPIn:
				w.postNorm = product(w.postNorm, inverse)
			case siteAttnOut:
				w.linears[siteAttnIn][2].scaleRows(inverse) // q, k, v
			case siteMLPMid:
				w.linears[siteMLPIn][1].scaleRows(inverse) // gate, up
			}
		}
	}
	if used < len(scales) {
		panic(fmt.Sprintf("llm: %s: %d of the %d sites to scale do not exist", m.name, len(scales)-used, len(scales)))
	}
	return v.WithPrefix(m.Prefix()), nil
}

// Producers tells which channel of what makes the inputs of a site each of its
// K inputs comes from: with grouped queries several heads of attn_out share a
// head of v_proj; elsewhere each has its own. It panics on an unknown site.
func (m *Model) Producers(site string) []int {
	for l := range m.layers {
		for i := range sites {
			if site == siteName(l, i) {
				return m.producers(i)
			}
		}
	}
	panic(fmt.Sprintf("llm: %s: no site %q", m.name, site))
}

func (m *Model) producers(site int) []int {
	from := make([]int, [sites]int{m.dim, m.q, m.dim, m.inter}[site])
	for j := range from {
		from[j] = j
		if site == siteAttnOut {
			head := j / m.headDim / (m.q / m.kv)
			from[j] = head*m.headDim + j%m.headDim
		}
	}
	return from
}

// inverse returns 1/s by channel of the producer.
func (m *Model) inverse(name string, site int, s []float32) ([]float32, error) {
	from := m.producers(site)
	if len(s) != len(from) {
		panic(fmt.Sprintf("llm: %s: %s: %d scales for %d channels", m.name, name, len(s), len(from)))
	}
	inverse := make([]float32, from[len(from)-1]+1)
	for j, p := range from {
		v := 1 / s[j]
		if !(v > 0) || v-v != 0 || s[j]-s[j] != 0 {
			return nil, fmt.Errorf("scale of channel %d is %g", j, s[j])
		}
		if inverse[p] != 0 && inverse[p] != v {
			return nil, fmt.Errorf("scale of channel %d is %g, but %g where it shares channel %d of v_proj",
				j, s[j], 1/inverse[p], p)
		}
		inverse[p] = v
	}
	return inverse, nil
}

func (w *linear) scaleRows(f []float32) {
	w.weights = scale(w.weights, f, nil)
	if w.bias != nil {
		w.bias = product(w.bias, f)
	}
}

func product(a, b []float32) []float32 {
	p := make([]float32, len(a))
	for i := range p {
		p[i] = a[i] * b[i]
	}
	return p
}

// scaled is diag(rows)·W·diag(cols); nil stands for ones.
type scaled struct {
	gemm.Source
	rows, cols []float32
}

// scale returns diag(rows)·W·diag(cols), in one step where W is scaled already.
func scale(w gemm.Source, rows, cols []float32) gemm.Source {
	s, ok := w.(scaled)
	if !ok {
		return scaled{w, rows, cols}
	}
	merge := func(a, b []float32) []float32 {
		switch {
		case a == nil:
			return b
		case b == nil:
			return a
		}
		return product(a, b)
	}
	return scaled{s.Source, merge(s.rows, rows), merge(s.cols, cols)}
}

// Load implements gemm.Source.
func (s scaled) Load(dst gemm.Matrix, n0, k0 int) {
	s.Source.Load(dst, n0, k0)
	for i := range dst.Rows {
		row := dst.Row(i)
		if s.cols != nil {
			for j, c := range s.cols[k0 : k0+len(row)] {
				row[j] *= c
			}
		}
		if s.rows != nil {
			r := s.rows[n0+i]
			for j := range row {
				row[j] *= r
			}
		}
	}
}

// Release releases what W is read from, where that can be released.
func (s scaled) Release() {
	if r, ok := s.Source.(interface{ Release() }); ok {
		r.Release()
	}
}

// Vectors returns the norms and biases of the layers of this view by the name of
// their tensor: what Scale changes beside weights. They must not be modified.
func (m *Model) Vectors() map[string][]float32 {
	v := map[string][]float32{}
	for l := range m.layers {
		w, p := &m.layers[l], fmt.Sprintf("model.layers.%d.", l)
		v[p+"input_layernorm.weight"], v[p+"post_attention_layernorm.weight"] = w.inputNorm, w.postNorm
		for _, group := range w.linears {
			for _, r := range group {
				if r.bias != nil {
					v[r.name+".bias"] = r.bias
				}
			}
		}
	}
	return v
}
