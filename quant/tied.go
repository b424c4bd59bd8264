package quant

import (
	"fmt"
	"math"
)

// A tied residual stores no scales: a code v stands for v·ratio·s, s being the
// scale of its weight's group in the base. The ratio is one half-precision number
// for the matrix, so a block costs its codes and its index, whatever its shape.
//
// Which ratio is best depends on how far the weights of kept blocks lie beyond
// the range of their groups, which are fitted without them. In units of the
// base's step, let the base have L levels and the residual R. The sums of all
// pairs of codes are R copies of the base's grid, r·ratio apart:
//
//   - A residual that comes after its base rounds errors within ±1/2. Evenly
//     spread, they are best cut into R equal cells: ratio 1/R.
//   - m + 1/R with a whole m gives R copies that lie between each other: around 0
//     where all overlap, a grid R times as fine; further out fewer copies
//     overlap, and beyond ±(L-1)/2 a single one carries the grid to
//     ±((L-1)/2 + ratio·(R-1)/2). The L·R levels are spent on a fine middle for
//     small m, on range for large m. Where no more than two copies overlap, m + 1/2
//     spaces them evenly: 2-bit codes at 7.5 on int4 cover ±7 in steps of 1/2 and
//     reach ±14.5, which is what most layers choose.
//   - NF4 and its like are not uniform, and their copies interleave nowhere
//     exactly.
//
// So the ratio is searched among multiples of 1/(2R) steps, which hold both
// kinds of interleaving, up to the base's whole range. What counts is Σ λ_j·d², d
// being the distance of a weight to the nearest value, over groups with kept
// blocks, each with the scale that is best for this ratio: a few outliers that a
// fine middle does not reach are cheaper served by their own group's scale than by
// the ratio of all.
type tied struct {
	ratio        float64
	size, groups int // of the base
}

// maxRatio is above every ratio there is: base grids span 255 steps at most.
const maxRatio = 256

// ratios returns the candidates for a residual of some bits on base f: multiples
// of the base's (mean) step divided by 4R up to two steps, by 2R up to 16 and by
// 2 beyond, up to a number of steps.
func ratios(f Format, bits int, steps float64) []float64 {
	unit := 1.0
	if l := fixedLevels[f.Kind]; l != nil {
		unit = (l.value[len(l.value)-1] - l.value[0]) / float64(len(l.value)-1)
	}
	levels := 1<<bits - 1
	part := unit / float64(4*levels)
	var out []float64
	const near = 1 - 1e-9
	for x := part; x*near <= steps*unit; {
		out = append(out, float64(fromF16(toF16(float32(x)))))
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
	parallel(len(candidates), func(i int) error {
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
func tiedResidual(t tiling, r Matrix, h []float64, f Format, base baseScales) quantizedResidual {
	size, groups := base.format.groups(t.k)
	grid := grid{zero: f.offset(), lo: f.lowest(), hi: f.highest()}
	stride := t.n*t.k/ratioSample | 1
	ratio := leastRatio(ratios(base.format, f.Bits, 2), func(ratio float64) (sum float64) {
		g := grid
		for at := 0; at < t.n*t.k; at += stride {
			i, j := at/t.k, at%t.k
			g.scale = ratio * base.scales[i*groups+j/size]
			x := float64(r.Row(i)[j])
			d := x - g.value(g.code(x))
			if h != nil {
				d *= d * h[j]
			} else {
				d *= d
			}
			sum += d
		}
		return sum
	})
	q := quantizedResidual{codes: make([]uint8, t.n*t.k), scales: []uint16{toF16(float32(ratio))}, values: r.Clone()}
	parallel(t.n, func(i int) error {
		g := grid
		for j, x := range r.Row(i) {
			g.scale = ratio * base.scales[i*groups+j/size]
			u := g.code(float64(x))
			q.codes[i*t.k+j] = u
			q.values.Row(i)[j] = float32(g.value(u))
		}
		return nil
	})
	return q
}

// baseScales are the scales [N, groups] of a base.
type baseScales struct {
	format Format
	scales []float64
}

func packedScales(p *Packed) baseScales {
	_, groups := p.Format.groups(p.K)
	b := baseScales{p.Format, make([]float64, p.N*groups)}
	for i := range b.scales {
		b.scales[i], _ = p.scale(i/groups, i%groups, groups)
	}
	return b
}

func loopScales(s *pass) baseScales {
	b := baseScales{s.fitter.format, make([]float64, len(s.grids))}
	for i := range s.grids {
		b.scales[i] = s.grids[i].scale
	}
	return b
}

// tie returns the residual of the kept blocks, tied to the scales of the base,
// whose grids are fitted without these blocks and become what fitTied finds; full
// are those of all weights. The ratio is that of the least loss so found.
func tie(s *pass, m Mosaic, t tiling, kept []int, lambda []float64, full []grid) *sparse {
	size, groups := s.fitter.format.groups(t.k)
	res := newSparse(t, m.Bits, m.RowScales, m.AllPairs, make([]uint8, t.n*t.k), make([]uint16, len(s.grids)), kept)
	res.tied = &tied{size: size, groups: groups}
	var covered []int // groups with kept blocks, ascending
	for g := range s.grids {
		first := g / groups / t.r * t.cols()
		for b := g % groups * size / t.c; b*t.c < min((g%groups+1)*size, t.k); b++ {
			if res.keep[first+b] {
				covered = append(covered, g)
				break
			}
		}
	}
	f := tiedFit{s, res, lambda, full}
	stride := len(covered)*size/ratioSample | 1
	res.tied.ratio = leastRatio(ratios(s.fitter.format, m.Bits, float64(s.grids[0].hi-s.grids[0].lo)), func(ratio float64) (sum float64) {
		for x := 0; x < len(covered); x += stride {
			_, loss := f.group(covered[x], ratio)
			sum += loss
		}
		return sum
	})
	parallel(len(covered), func(x int) error {
		s.grids[covered[x]], _ = f.group(covered[x], res.tied.ratio)
		return nil
	})
	for g := range s.grids {
		res.follow(g, &s.grids[g])
	}
	return res
}

// pairLoss is the squared distance of w to the pair of codes chosen for it.
func pairLoss(base, res *grid, pair func(base, res *grid, w float64) (u, v uint8), w float64) float64 {
	u, v := pair(base, res, w)
	d := w - base.value(u) - res.value(v)
	return d * d
}

// tiedFit finds the grids of groups with kept blocks.
type tiedFit struct {
	*pass  // its grids are fitted without kept blocks
	res    *sparse
	lambda []float64
	full   []grid // fitted to all weights
}

// group returns the grid of least Σ λ_j·d² over all weights of group g, kept
// blocks included, and that loss: from the scale fitted without kept blocks up to
// that for all weights, in steps of an eighth of an octave. Outliers that base and
// residual together would not reach so get a scale at which they do, where that is
// worth its coarser grid. A Bilevel group tries all codes of its second level.
func (f tiedFit) group(g int, ratio float64) (best grid, least float64) {
	i, k0 := g/f.res.tied.groups, g%f.res.tied.groups*f.res.tied.size
	w := f.problem.Weights.Row(i)[k0:min(k0+f.res.tied.size, f.problem.Weights.Cols)]
	first, full, r := f.grids[g], &f.full[g], f.res.grids[g]
	best, least = first, math.Inf(1)
	try := func(b grid) {
		r.scale = ratio * b.scale
		var sum float64
		for j, x := range w {
			if f.res.grid(i, k0+j) != nil {
				sum += f.lambda[k0+j] * pairLoss(&b, &r, f.res.pair, float64(x))
			} else {
				d := float64(x) - b.value(b.code(float64(x)))
				sum += f.lambda[k0+j] * d * d
			}
			if sum >= least {
				return
			}
		}
		best, least = b, sum
	}
	try(first)
	switch f.fitter.format.Kind {
	case Bilevel:
		for c := range 1 << (2 * bilevelBits) {
			b := first
			b.bits, b.offsetBits = uint16(c>>bilevelBits), uint16(c&(1<<bilevelBits-1))
			b.scale, b.offset = bilevelDecode(b.second[:], uint8(b.bits), uint8(b.offsetBits))
			if b.scale > 0 {
				try(b)
			}
		}
		return best, least
	case NVFP4, NF4DQ, Any4: // have scales or a table in common, which are not those of full
	default:
		try(*full)
	}
	for x := octave8; first.scale*x < full.scale; x *= octave8 {
		b := first
		if b.bits, b.scale = b.storable(first.scale * x); !(b.scale > 0) {
			break
		}
		try(b)
		if first.scale == 0 {
			break
		}
	}
	return best, least
}

const octave8 = 1.0905077326652577 // 2^(1/8)

// follow sets the residual's step in group g to that of its base.
func (s *sparse) follow(g int, base *grid) {
	if s != nil && s.tied != nil {
		s.grids[g].scale = s.tied.ratio * base.scale
	}
}

// addTied adds to the levels c of row n0+i of a group, which begins at column lo,
// what residual codes add to them: values move with the scale by all of it.
func (s *strip) addTied(c []float64, i, lo int) {
	if s.res == nil || s.res.tied == nil {
		return
	}
	codes := s.rowOf(s.res.codes, i)[lo:]
	for j := range c {
		if r := s.res.grid(s.n0+i, lo+j); r != nil {
			c[j] += s.res.tied.ratio * r.level(codes[j])
		}
	}
}

// addTied adds codes, from the one at on, to a part of row n that begins at column
// k, with BaseScales.
func (r *Residual) addTied(out []float32, base *Packed, codes []byte, n, k, at int) {
	size, groups := base.Format.groups(base.K)
	ratio := float64(fromF16(r.Scales[0]))
	zero := 1 << (r.Bits - 1)
	last, step := -1, float32(0)
	for j := range out {
		if g := (k + j) / size; g != last {
			s, _ := base.scale(n, g, groups)
			last, step = g, float32(ratio*s)
		}
		out[j] += float32(int(codeAt(codes, at+j, r.Bits))-zero) * step
	}
}

// RowScaled returns r, which must belong to base, in a form with scales of its
// own: as it is, or, with BaseScales, with the steps of each row of a block as
// RowScales, rounded to half precision (a relative 2^-11 at most, which r as
// stored does not lose). It reports blocks that lie in several groups of the base,
// and steps beyond half precision. Codes and index alias r.
func (r *Residual) RowScaled(base *Packed) (*Residual, error) {
	if !r.BaseScales {
		return r, nil
	}
	size, groups := base.Format.groups(base.K)
	out := *r
	out.BaseScales, out.RowScales = false, true
	out.Scales = make([]uint16, r.Blocks()*r.BlockRows)
	ratio := float64(fromF16(r.Scales[0]))
	for b := range r.RowPtr.Len() - 1 {
		for i := r.RowPtr.At(b); i < r.RowPtr.At(b+1); i++ {
			k0 := r.Cols.At(i) * r.BlockCols
			k1 := min(k0+r.BlockCols, r.K)
			if k0/size != (k1-1)/size {
				return nil, fmt.Errorf("quant: residual block %dx%d at column %d lies in several groups of %d: it has no scale of its own", r.BlockRows, r.BlockCols, k0, size)
			}
			for n := b * r.BlockRows; n < min((b+1)*r.BlockRows, r.N); n++ {
				s, _ := base.scale(n, k0/size, groups)
				bits := toF16(float32(ratio * s))
				if bits&0x7c00 == 0x7c00 {
					return nil, fmt.Errorf("quant: residual step %g at row %d, column %d exceeds half precision", ratio*s, n, k0)
				}
				out.Scales[i*r.BlockRows+n-b*r.BlockRows] = bits
			}
		}
	}
	return &out, nil
}
