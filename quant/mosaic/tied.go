package mosaic

import (
	"math"

	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// ratios returns the candidates for a residual of some bits on base f: multiples
// of the base's (mean) step divided by 4R up to two steps, by 2R up to 16 and by
// 2 beyond, up to a number of steps; those of HalfSteps are whole numbers of half steps.
func ratios(f quant.Format, bits int, steps float64, scale ResidualScale) []float64 {
	if scale == HalfSteps {
		var out []float64
		for h := 1; h <= min(quant.MaxHalfSteps, int(2*steps)); h++ {
			out = append(out, float64(h)/2)
		}
		return out
	}
	unit := 1.0
	if l := f.Kind.Levels(); l != nil {
		unit = (l.Value[len(l.Value)-1] - l.Value[0]) / float64(len(l.Value)-1)
	}
	levels := 1<<bits - 1
	part := unit / float64(4*levels)
	var out []float64
	const near = 1 - 1e-9
	for x := part; x*near <= steps*unit; {
		out = append(out, float64(half.FromF16(half.ToF16(float32(x)))))
		switch {
		case x < 2*unit*near:
			x += part
		case x < 16*unit*near:
			x += 2 * part
		default:
			x += unit / 2
		}
	}
	return out
}

// leastRatio returns the candidate of the least loss, of equals the smallest.
func leastRatio(candidates []float64, loss func(ratio float64) float64) float64 {
	losses := make([]float64, len(candidates))
	parallel.For(len(candidates), func(i int) error {
		losses[i] = loss(candidates[i])
		return nil
	})
	best := 0
	for i, l := range losses {
		if l < losses[best] {
			best = i
		}
	}
	return candidates[best]
}

// ratioSample is about how many weights a ratio is chosen by.
const ratioSample = 1 << 13

// tiedResidual quantizes R on all blocks with steps tied to the scales [N,
// groups] of base. h [K] are the weights of columns, nil without.
func tiedResidual(t solve.Tiling, r quant.Matrix, h []float64, f quant.Format, base baseScales,
	scale ResidualScale) quantizedResidual {
	size, groups := base.format.Groups(t.K)
	grid := grid.Grid{Zero: f.Offset(), Lo: f.Lowest(), Hi: f.Highest()}
	stride := t.N*t.K/ratioSample | 1
	ratio := leastRatio(ratios(base.format, f.Bits, 2, scale), func(ratio float64) (sum float64) {
		g := grid
		for at := 0; at < t.N*t.K; at += stride {
			i, j := at/t.K, at%t.K
			g.Scale = ratio * base.scales[i*groups+j/size]
			x := float64(r.Row(i)[j])
			d := x - g.Value(g.Code(x))
			if h != nil {
				d *= d * h[j]
			} else {
				d *= d
			}
			sum += d
		}
		return sum
	})
	q := quantizedResidual{codes: make([]uint8, t.N*t.K), scales: []uint16{half.ToF16(float32(ratio))}, values: r.Clone()}
	parallel.For(t.N, func(i int) error {
		g := grid
		for j, x := range r.Row(i) {
			g.Scale = ratio * base.scales[i*groups+j/size]
			u := g.Code(float64(x))
			q.codes[i*t.K+j] = u
			q.values.Row(i)[j] = float32(g.Value(u))
		}
		return nil
	})
	return q
}

// baseScales are the scales [N, groups] of a base.
type baseScales struct {
	format quant.Format
	scales []float64
}

func packedScales(p *quant.Packed) baseScales {
	_, groups := p.Format.Groups(p.K)
	b := baseScales{p.Format, make([]float64, p.N*groups)}
	for i := range b.scales {
		b.scales[i], _ = p.Scale(i/groups, i%groups, groups)
	}
	return b
}

func loopScales(s *solve.Pass) baseScales {
	b := baseScales{s.Fitter.Format, make([]float64, len(s.Grids))}
	for i := range s.Grids {
		b.scales[i] = s.Grids[i].Scale
	}
	return b
}

// tie returns the residual of the kept blocks, tied to the scales of the base,
// whose grids are fitted without these blocks and become what fitTied finds; full
// are those of all weights. The ratio is that of the least loss so found.
//
// Groups whose scales share something (a second level, as in NF4DQ and Bilevel) may have
// no scale at which base and residual together reach a weight far larger than its
// neighbours. beyond lists the groups that lose far more so than they would on full, without
// any residual (beyondLoss): their kept blocks must be counted when grids are fitted.
func tie(s *solve.Pass, m Joint, t solve.Tiling, kept []int, lambda []float64,
	full []grid.Grid) (res *solve.Sparse, beyond []int) {
	size, groups := s.Fitter.Format.Groups(t.K)
	res = solve.NewSparse(t, m.Bits, false, m.AllPairs, make([]uint8, t.N*t.K), make([]uint16, len(s.Grids)), kept)
	res.Tied = &solve.Tied{Size: size, Groups: groups}
	var covered []int // groups with kept blocks, ascending
	for g := range s.Grids {
		first := g / groups / t.R * t.Cols()
		for b := g % groups * size / t.C; b*t.C < min((g%groups+1)*size, t.K); b++ {
			if res.Keep[first+b] {
				covered = append(covered, g)
				break
			}
		}
	}
	f := tiedFit{s, res, lambda, full}
	stride := len(covered)*size/ratioSample | 1
	span := float64(s.Grids[0].Hi - s.Grids[0].Lo)
	res.Tied.Ratio = leastRatio(ratios(s.Fitter.Format, m.Bits, span, m.ResidualScale), func(ratio float64) (sum float64) {
		for x := 0; x < len(covered); x += stride {
			_, loss := f.group(covered[x], ratio)
			sum += loss
		}
		return sum
	})
	worse := make([]bool, len(covered))
	parallel.For(len(covered), func(x int) error {
		g, loss := f.group(covered[x], res.Tied.Ratio)
		s.Grids[covered[x]], worse[x] = g, loss > beyondLoss*f.plain(covered[x])
		return nil
	})
	for x, w := range worse {
		if w {
			beyond = append(beyond, covered[x])
		}
	}
	for g := range s.Grids {
		res.Follow(g, &s.Grids[g])
	}
	return res, beyond
}

// pairLoss is the squared distance of w to the pair of codes chosen for it.
func pairLoss(base, res *grid.Grid, pair func(base, res *grid.Grid, w float64) (u, v uint8), w float64) float64 {
	u, v := pair(base, res, w)
	d := w - base.Value(u) - res.Value(v)
	return d * d
}

// tiedFit finds the grids of groups with kept blocks.
type tiedFit struct {
	*solve.Pass // its grids are fitted without kept blocks
	res         *solve.Sparse
	lambda      []float64
	full        []grid.Grid // fitted to all weights
}

// plain returns Σ λ_j·d² of group g on the grid of all weights, without residual.
func (f tiedFit) plain(g int) (sum float64) {
	i, k0 := g/f.res.Tied.Groups, g%f.res.Tied.Groups*f.res.Tied.Size
	for j, x := range f.Problem.Weights.Row(i)[k0:min(k0+f.res.Tied.Size, f.Problem.Weights.Cols)] {
		d := float64(x) - f.full[g].Value(f.full[g].Code(float64(x)))
		sum += f.lambda[k0+j] * d * d
	}
	return sum
}

// group returns the grid of least Σ λ_j·d² over all weights of group g, kept
// blocks included, and that loss: from the scale fitted without kept blocks up to
// that for all weights, in steps of an eighth of an octave. Outliers that base and
// residual together would not reach so get a scale at which they do, where that is
// worth its coarser grid. A Bilevel group tries all codes of its second level.
func (f tiedFit) group(g int, ratio float64) (best grid.Grid, least float64) {
	i, k0 := g/f.res.Tied.Groups, g%f.res.Tied.Groups*f.res.Tied.Size
	w := f.Problem.Weights.Row(i)[k0:min(k0+f.res.Tied.Size, f.Problem.Weights.Cols)]
	first, full, r := f.Grids[g], &f.full[g], f.res.Grids[g]
	best, least = first, math.Inf(1)
	try := func(b grid.Grid) {
		r.Scale = ratio * b.Scale
		var sum float64
		for j, x := range w {
			if f.res.At(i, k0+j) != nil {
				sum += f.lambda[k0+j] * pairLoss(&b, &r, f.res.Pair, float64(x))
			} else {
				d := float64(x) - b.Value(b.Code(float64(x)))
				sum += f.lambda[k0+j] * d * d
			}
			if sum >= least {
				return
			}
		}
		best, least = b, sum
	}
	try(first)
	if first.Second != nil {
		for b := range first.Codes() {
			try(b)
		}
		return best, least
	}
	if !grid.Shared(f.Fitter.Format) {
		try(*full)
	}
	for x := octave8; first.Scale*x < full.Scale; x *= octave8 {
		b := first
		if b.Bits, b.Scale = b.Storable(first.Scale * x); !(b.Scale > 0) {
			break
		}
		try(b)
		if first.Scale == 0 {
			break
		}
	}
	return best, least
}

// beyondLoss is how many times its loss without residual a group may lose beside one
// before its kept blocks are counted in its scale. A weight out of reach loses far more.
const beyondLoss = 16

const octave8 = 1.0905077326652577 // 2^(1/8)
