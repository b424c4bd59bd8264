package quant

import (
	"fmt"
	"math"
	"sync"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
)

// Channels returns the moments of the given channels, in their order.
func (m *Moments) Channels(order []int) *Moments {
	k := len(order)
	c := &Moments{K: k, Tokens: m.Tokens, H: make([]float64, k*k), last: &derived{}}
	for a, i := range order {
		for b, j := range order {
			c.H[a*k+b] = m.H[i*m.K+j]
		}
		if len(m.AbsMax) == m.K {
			c.AbsMax = append(c.AbsMax, m.AbsMax[i])
		}
		if len(m.Mean) == m.K {
			c.Mean, c.MeanAbs = append(c.Mean, m.Mean[i]), append(c.MeanAbs, m.MeanAbs[i])
		}
	}
	return c
}

// Moments are the statistics of the inputs X [M,K] of a linear layer over the
// calibration tokens.
type Moments struct {
	K, Tokens int
	// H [K,K] = 2/M·XᵀX is symmetric, both triangles filled. Its elements are
	// sums in float64 rounded to float32, the precision that they are kept in.
	H      []float64
	AbsMax []float32 // [K] largest |x| of each channel
	// Mean and MeanAbs [K] are the means of x and |x|.
	Mean, MeanAbs []float32
	// Keep, where not nil, returns the value that it keeps under name, or keeps
	// and returns what compute gives: factors of H outlive a run through it. The
	// moments themselves are part of what a value depends on, name is the rest.
	Keep func(name string, compute func() ([]byte, error)) ([]byte, error)
	// last, where not nil, keeps what was derived from H last. H must not change
	// once a method has used it.
	last *derived
}

// derived is what a method derived from H.
type derived struct {
	mu    sync.Mutex
	h     *float64 // first element of the H that it was made from
	key   any
	value any
}

// Derived returns what compute derives from H and the settings in key, which must
// be comparable. m keeps the last value until another key is asked for or m goes;
// moments that were put together by hand keep none. Safe for concurrent use;
// whoever comes second waits for the first.
func (m *Moments) Derived(key any, compute func() (any, error)) (any, error) {
	c := m.last
	if c == nil {
		return compute()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.value != nil && c.h == &m.H[0] && c.key == key {
		return c.value, nil
	}
	c.value = nil // before the next one is allocated
	v, err := compute()
	if err != nil {
		return nil, err
	}
	c.h, c.key, c.value = &m.H[0], key, v
	return v, nil
}

// Diag returns h = diag H [K].
func (m *Moments) Diag() []float64 {
	h := make([]float64, m.K)
	for j := range h {
		h[j] = m.H[j*m.K+j]
	}
	return h
}

// Float32 returns H [K,K] in float32.
func (m *Moments) Float32() Matrix {
	h := gemm.NewMatrix(m.K, m.K)
	for i, v := range m.H {
		h.Data[i] = float32(v)
	}
	return h
}

// Accumulator sums the moments of a stream of activations. Sums are float64;
// the memory is one [K,K] matrix, whatever the number of tokens.
type Accumulator struct {
	m           Moments
	sum, sumAbs []float64 // of x and |x|
}

// NewAccumulator returns an empty accumulator for K channels.
func NewAccumulator(k int) *Accumulator {
	return &Accumulator{m: Moments{K: k, H: make([]float64, k*k), AbsMax: make([]float32, k)}, sum: make([]float64, k),
		sumAbs: make([]float64, k)}
}

// Add adds the rows of x [tokens,K]. A value that is not finite, or too large
// to square in float32, is an error that names token and channel, and leaves
// the sums as they were.
func (a *Accumulator) Add(x Matrix) error {
	if x.Cols != a.m.K {
		return fmt.Errorf("quant: activations have %d channels, want %d", x.Cols, a.m.K)
	}
	const limit = 1 << 59 // 256 squares of it still fit into float32
	for t := range x.Rows {
		for j, v := range x.Row(t) {
			if !(v > -limit && v < limit) {
				return fmt.Errorf("quant: activation of token %d, channel %d is %g", a.m.Tokens+t, j, v)
			}
		}
	}
	for t := range x.Rows {
		for j, v := range x.Row(t) {
			a.m.AbsMax[j] = max(a.m.AbsMax[j], max(v, -v))
			a.sum[j] += float64(v)
			a.sumAbs[j] += math.Abs(float64(v))
		}
	}
	gemm.Syrk(a.m.H, x)
	a.m.Tokens += x.Rows
	return nil
}

// Finish scales the sums and returns the moments; the accumulator is spent. It
// reports moments that no calibration can have left: no tokens, or the same h
// in every channel (all zero, for one), which means that the hooks never ran.
func (a *Accumulator) Finish() (*Moments, error) {
	m := a.m
	m.last = &derived{}
	a.m = Moments{K: m.K}
	if m.Tokens == 0 {
		return nil, fmt.Errorf("quant: moments of %d channels: no calibration tokens", m.K)
	}
	scale := 2 / float64(m.Tokens)
	for i := range m.K {
		for j := i; j < m.K; j++ {
			v := float64(float32(m.H[i*m.K+j] * scale))
			m.H[i*m.K+j], m.H[j*m.K+i] = v, v
		}
	}
	m.Mean, m.MeanAbs = make([]float32, m.K), make([]float32, m.K)
	for j := range m.K {
		m.Mean[j], m.MeanAbs[j] = float32(a.sum[j]*scale/2), float32(a.sumAbs[j]*scale/2)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("quant: %w", err)
	}
	return &m, nil
}

// check reports moments that cannot come from a calibration that ran.
func (m *Moments) check() error {
	if m.K <= 0 || len(m.H) != m.K*m.K || len(m.AbsMax) != m.K || len(m.Mean) != m.K || len(m.MeanAbs) != m.K {
		return fmt.Errorf("moments of K=%d hold %d second moments, %d maxima, %d and %d means", m.K, len(m.H), len(m.AbsMax),
			len(m.Mean), len(m.MeanAbs))
	}
	if m.Tokens <= 0 {
		return fmt.Errorf("moments of %d tokens", m.Tokens)
	}
	for i, v := range m.H {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("H[%d,%d] is %g", i/m.K, i%m.K, v)
		}
	}
	constant := true
	for j := range m.K {
		h := m.H[j*m.K+j]
		if h < 0 {
			return fmt.Errorf("H[%d,%d] is %g, want no negative square", j, j, h)
		}
		if v := m.AbsMax[j]; !(v >= 0 && v <= math.MaxFloat32) {
			return fmt.Errorf("absolute maximum of channel %d is %g", j, v)
		}
		if v, a := m.Mean[j], m.MeanAbs[j]; !(a >= 0 && a <= math.MaxFloat32 &&
			v >= -math.MaxFloat32 && v <= math.MaxFloat32) {
			return fmt.Errorf("mean of channel %d is %g, of magnitudes %g", j, v, a)
		}
		constant = constant && h == m.H[0]
	}
	if constant && (m.K > 1 || m.H[0] == 0) {
		if m.H[0] == 0 {
			return fmt.Errorf("all inputs of all %d channels are 0, as behind a norm whose weights are all 0; if the model "+
				"has none, the calibration never ran", m.K)
		}
		return fmt.Errorf("diag H is %g in all %d channels: the calibration never ran", m.H[0], m.K)
	}
	return nil
}

// Scaled returns the moments of X·diag(1/s): H_ij/(s_i·s_j), maxima and means
// over s_j. It shares nothing with m.
func (m *Moments) Scaled(s []float32) *Moments {
	if len(s) != m.K {
		panic(fmt.Sprintf("quant: %d scales for moments of %d channels", len(s), m.K))
	}
	out := &Moments{K: m.K, Tokens: m.Tokens, H: make([]float64, len(m.H)), last: &derived{}}
	out.AbsMax, out.Mean, out.MeanAbs = divided(m.AbsMax, s), divided(m.Mean, s), divided(m.MeanAbs, s)
	inverse := make([]float64, m.K)
	for j, v := range s {
		inverse[j] = 1 / float64(v)
	}
	parallel.For(m.K, func(i int) error {
		row := out.H[i*m.K : (i+1)*m.K]
		for j, v := range m.H[i*m.K : (i+1)*m.K] {
			row[j] = v * (inverse[i] * inverse[j])
		}
		return nil
	})
	return out
}

// divided returns a/b.
func divided(a, b []float32) []float32 {
	q := make([]float32, len(a))
	for j, v := range a {
		q[j] = v / b[j]
	}
	return q
}
