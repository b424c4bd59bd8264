package llm

import (
	"math"
	"sync"

	"github.com/mosaicquant/mosaicquant/internal/hf"
)

// rope holds the rotary position embedding of one model (Su et al. 2021,
// arXiv:2104.09864): in each head of d elements, the pair (j, j+d/2) turns by
// pos·freq[j].
type rope struct {
	freq  []float32 // [d/2], radians per position
	scale float32   // of cosines and sines, 0 for 1

	mu  sync.Mutex
	tab []float32 // cos then sin of each position, [positions, 2, d/2]
}

// table returns the cosines and sines of at least n positions, laid out as tab.
// It grows by doubling; at d = 128 a position takes 512 bytes.
func (r *rope) table(n int) []float32 {
	d2 := len(r.freq)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.tab) >= n*2*d2 {
		return r.tab
	}
	have := len(r.tab) / (2 * d2)
	n = max(n, 2*have)
	tab := make([]float32, n*2*d2)
	copy(tab, r.tab)
	for p := have; p < n; p++ {
		row := tab[p*2*d2 : (p+1)*2*d2]
		for j, f := range r.freq {
			// The angle is rounded to float32, as in transformers.
			sin, cos := math.Sincos(float64(float32(p) * f))
			row[j], row[d2+j] = float32(cos), float32(sin)
			if r.scale != 0 {
				row[j], row[d2+j] = row[j]*r.scale, row[d2+j]*r.scale
			}
		}
	}
	r.tab = tab
	return tab
}

// rotate turns the heads of x (a whole number of them, each d wide) by the
// table row cs of their position.
func rotate(x, cs []float32) {
	d2 := len(cs) / 2
	cos, sin := cs[:d2], cs[d2:2*d2]
	for ; len(x) > 0; x = x[2*d2:] {
		a, b := x[:d2], x[d2:2*d2]
		for j, c := range cos {
			u, v, s := a[j], b[j], sin[j]
			a[j] = u*c - v*s
			b[j] = v*c + u*s
		}
	}
}

// newRope returns the rotation that c asks for.
func newRope(c *hf.Config) *rope {
	r := &rope{freq: frequencies(c)}
	if c.Yarn != nil {
		r.scale = float32(c.Yarn.AttentionFactor)
	}
	return r
}

// yarn returns by how much of its frequency pair j of a head of d is slowed, from
// 0 (kept) to 1 (divided by the factor).
func yarn(y *hf.YarnRope, theta float64, d, j int) float32 {
	at := func(turns float64) float64 { // the pair that turns so often
		return float64(d) * math.Log(float64(y.OriginalMaxPositions)/(turns*2*math.Pi)) / (2 * math.Log(theta))
	}
	low := float32(max(math.Floor(at(y.BetaFast)), 0))
	high := float32(min(math.Ceil(at(y.BetaSlow)), float64(d-1)))
	if low == high {
		high += 0.001
	}
	return min(max((float32(j)-low)/(high-low), 0), 1)
}

// frequencies returns the rotation of each pair of a head in radians per
// position, rounded where transformers rounds. With llama3 scaling, long
// wavelengths are stretched by the factor, short ones kept, and those between
// interpolated.
func frequencies(c *hf.Config) []float32 {
	f := make([]float32, c.HeadDim/2)
	for j := range f {
		inv := 1 / float32(math.Pow(c.RopeTheta, float64(float32(2*j)/float32(c.HeadDim))))
		if s := c.Llama3; s != nil {
			turns := float64(s.OriginalMaxPositions) * float64(inv) / (2 * math.Pi)
			switch {
			case turns < s.LowFreqFactor:
				inv /= float32(s.Factor)
			case turns <= s.HighFreqFactor:
				smooth := float32((turns - s.LowFreqFactor) / (s.HighFreqFactor - s.LowFreqFactor))
				inv = (1-smooth)*inv/float32(s.Factor) + smooth*inv
			}
		}
		if y := c.Yarn; y != nil {
			slow := yarn(y, c.RopeTheta, c.HeadDim, j)
			inv = inv/float32(y.Factor)*slow + inv*(1-slow)
		}
		if c.LinearFactor != 0 {
			inv /= float32(c.LinearFactor)
		}
		f[j] = inv
	}
	return f
}
