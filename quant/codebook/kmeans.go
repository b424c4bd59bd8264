package codebook

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
)

// points are what a codebook is fitted to: the vectors x [rows, cols, v], those of a row
// of vectors having the scales [rows, v], with the weights [cols]. The error of the centre
// c for a vector x is weight·Σ (x - scale·c)².
type points struct {
	v, rows, cols int
	x             []float32
	scales        []float64
	weights       []float64
}

func (p *points) at(i, j int) []float32 { return p.x[(i*p.cols+j)*p.v:][:p.v] }

func (p *points) scale(i int) []float64 { return p.scales[i*p.v:][:p.v] }

// book is a codebook of vectors of v numbers, in ascending order of their first.
type book struct {
	v      int
	values []float64 // [entries, v]
}

func (b *book) entry(c int) []float64 { return b.values[c*b.v:][:b.v] }

func (b *book) len() int { return len(b.values) / b.v }

// sort puts b in order.
func (b *book) sort() {
	order := make([]int, b.len())
	for c := range order {
		order[c] = c
	}
	slices.SortStableFunc(order, func(x, y int) int { return slices.Compare(b.entry(x), b.entry(y)) })
	values := make([]float64, 0, len(b.values))
	for _, c := range order {
		values = append(values, b.entry(c)...)
	}
	b.values = values
}

// distance is Σ (x - scale·c)², given up at limit.
func (b *book) distance(c int, x, scale []float64, limit float64) (sum float64) {
	for r, e := range b.entry(c) {
		d := x[r] - scale[r]*e
		if sum += d * d; sum >= limit {
			return sum
		}
	}
	return sum
}

// nearest returns the entry of least distance to x, of equals the first, and the
// distance. guess is any entry. The entries on both sides of x are tried, until their
// first number alone is too far away.
func (b *book) nearest(x, scale []float64, guess int) (best int, least float64) {
	best, least = guess, b.distance(guess, x, scale, math.Inf(1))
	up, n := 0, b.len()
	if scale[0] > 0 {
		first := x[0] / scale[0]
		for lo, hi := 0, n; lo < hi; up = lo {
			if mid := (lo + hi) / 2; b.values[mid*b.v] < first {
				lo = mid + 1
			} else {
				hi = mid
			}
		}
	}
	try := func(c int) (more bool) {
		d := x[0] - scale[0]*b.values[c*b.v]
		if d*d > least {
			return false
		}
		if d := b.distance(c, x, scale, math.Inf(1)); d < least || d == least && c < best {
			best, least = c, d
		}
		return true
	}
	for c := up; c < n && try(c); c++ {
	}
	for c := up - 1; c >= 0 && try(c); c-- {
	}
	return best, least
}

// round rounds b to half precision and returns it as it is stored.
func (b *book) round() []uint16 {
	stored := make([]uint16, len(b.values))
	for i, v := range b.values {
		stored[i] = half.ToF16(float32(v))
		b.values[i] = float64(half.FromF16(stored[i]))
	}
	return stored
}

// chunks is in how many parts sums over points are made, so that they do not depend on
// the number of processors.
const chunks = 16

// maxRounds and tolerance end Lloyd's iteration: after that many rounds, or when the error
// falls by less than that share of it. VPTQ's values, of which the second is of the shift
// of centres there.
const (
	maxRounds = 100
	tolerance = 1e-5
)

// lloyd moves the entries of b to the weighted means of their points, until the error
// stands, and returns the error of the last round.
func (p *points) lloyd(b *book) float64 {
	guess := make([]uint16, p.rows*p.cols)
	before := math.Inf(1)
	for range maxRounds {
		b.sort()
		loss := p.step(b, guess)
		if !(loss < before*(1-tolerance)) {
			return loss
		}
		before = loss
	}
	b.sort()
	return before
}

// step moves the entries of b once, and returns the error before. Entries without points
// stay where they are.
func (p *points) step(b *book, guess []uint16) (loss float64) {
	type sums struct{ top, below []float64 }
	parts, losses := make([]sums, chunks), make([]float64, chunks)
	parallel.For(chunks, func(part int) error {
		s := sums{make([]float64, len(b.values)), make([]float64, len(b.values))}
		x := make([]float64, p.v)
		for i := part * p.rows / chunks; i < (part+1)*p.rows/chunks; i++ {
			scale := p.scale(i)
			for j, w := range p.weights {
				if w == 0 {
					continue
				}
				for r, v := range p.at(i, j) {
					x[r] = float64(v)
				}
				c, d := b.nearest(x, scale, int(guess[i*p.cols+j]))
				guess[i*p.cols+j] = uint16(c)
				losses[part] += w * d
				for r, v := range x {
					s.top[c*p.v+r] += w * scale[r] * v
					s.below[c*p.v+r] += w * scale[r] * scale[r]
				}
			}
		}
		parts[part] = s
		return nil
	})
	for part, s := range parts {
		loss += losses[part]
		if part > 0 {
			for i := range s.top {
				parts[0].top[i] += s.top[i]
				parts[0].below[i] += s.below[i]
			}
		}
	}
	for i, below := range parts[0].below {
		if below > 0 {
			b.values[i] = parts[0].top[i] / below
		}
	}
	return loss
}

// seedsEach is how many points k-means++ looks at for each entry.
const seedsEach = 32

// start draws entries from the points by k-means++ (Arthur and Vassilvitskii 2007) on a
// sample: each next one with a probability like its error.
func (p *points) start(entries int, draw *rand.Rand) *book {
	b := &book{p.v, make([]float64, entries*p.v)}
	all := p.rows * p.cols
	count := min(all, seedsEach*entries)
	x, near := make([]float64, 0, count*p.v), make([]float64, 0, count)
	for t := range count {
		at := t
		if count < all {
			at = draw.IntN(all)
		}
		i, j := at/p.cols, at%p.cols
		var weight float64
		for r, v := range p.at(i, j) {
			if s := p.scale(i)[r]; s > 0 {
				x, weight = append(x, float64(v)/s), weight+s*s
			} else {
				x = append(x, 0)
			}
		}
		near = append(near, weight*p.weights[j])
	}
	var weights []float64 // those of the sample, once near has distances
	for c := range entries {
		t := pick(near, draw)
		if t < 0 { // nothing is left to be coded
			break
		}
		copy(b.entry(c), x[t*p.v:][:p.v])
		if weights == nil {
			weights = slices.Clone(near)
			for t := range near {
				near[t] = math.Inf(1)
			}
		}
		for t := range near {
			var d float64
			for r, e := range b.entry(c) {
				d += (x[t*p.v+r] - e) * (x[t*p.v+r] - e)
			}
			near[t] = min(near[t], weights[t]*d)
		}
	}
	return b
}

// pick draws an index with a probability like its weight; -1 if all are 0.
func pick(weights []float64, draw *rand.Rand) int {
	var sum float64
	for _, w := range weights {
		sum += w
	}
	at, last := draw.Float64()*sum, -1
	for t, w := range weights {
		if w == 0 {
			continue
		}
		last = t
		if at -= w; at < 0 {
			break
		}
	}
	return last
}
