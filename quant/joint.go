package quant

import (
	"math"
	"slices"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// joint quantizes base and residual together inside GPTQ's column loop: a
// weight of a kept block gets the pair of base and residual code nearest to it,
// and only the final remainder is propagated. A residual added after GPTQ
// instead undoes part of the compensation that GPTQ built into the other
// columns, and can raise tr(E·H·Eᵀ).
//
// In GPTQ's loop tr(E·H·Eᵀ), with the damped H, is the sum over all weights of
// d²/U_jj², d being the error that the loop makes at a weight and propagates.
// So 1/U_jj² takes the place of h in choosing blocks and fitting residual
// scales, and criteria that look at errors see those of a first run without
// residual. Base scales are fitted to the weights without residual alone.
func (m Mosaic) joint(p Problem, f Format) (*Quantized, error) {
	s, t, err := m.startJoint(p)
	if err != nil {
		return nil, err
	}
	size, groups := s.fitter.format.groups(t.k)
	var res *sparse
	if count := int(math.Round(m.Density * float64(t.count()))); count > 0 {
		lambda := s.lambda()
		kept, err := m.jointBlocks(s, t, lambda, count, f)
		if err != nil {
			return nil, err
		}
		full := s.grids
		if s.grids, err = fitAll(p, p.Weights, s.fitter, covered(t, kept, size)); err != nil {
			return nil, err
		}
		e := p.Weights.Clone()
		for i := range t.n {
			row := e.Row(i)
			for j, w := range row {
				g := &s.grids[i*groups+j/size]
				row[j] = w - float32(g.value(g.code(float64(w))))
			}
		}
		if m.BaseScales {
			res = tie(s, m, t, kept, lambda, full)
		} else {
			q, err := m.residual(p, t, e, lambda, f, baseScales{})
			if err != nil {
				return nil, err
			}
			res = newSparse(t, m.Bits, m.RowScales, m.AllPairs, q.codes, q.scales, kept)
		}
		s.stored = func(row, col int, w float64, code *uint8) (float64, error) {
			b, r := &s.grids[row*groups+col/size], res.grid(row, col)
			if r == nil {
				return b.value(*code), nil
			}
			var v uint8
			*code, v = res.pair(b, r, w)
			res.codes[row*t.k+col] = v
			return b.value(*code) + r.value(v), nil
		}
	}
	if err := s.run(); err != nil {
		return nil, err
	}
	s.refine(m.Refine, res)
	q := &Quantized{Base: s.pack(), Warnings: s.warnings}
	if res != nil {
		q.Residual = packSparse(res, m)
	}
	return q, nil
}

// startJoint validates m, whose block shape is known, and returns the base ready
// to run without residual.
func (m Mosaic) startJoint(p Problem) (*pass, tiling, error) {
	var t tiling
	base, ok := m.Base.(GPTQ)
	switch {
	case !ok:
		return nil, t, p.errorf("joint residual needs a GPTQ base, got %T", m.Base)
	case base.DynamicGroups:
		return nil, t, p.errorf("joint residual needs static groups: blocks are chosen before the loop")
	case base.Refine != 0:
		return nil, t, p.errorf("joint residual is refined together with its base, which asks for %d rounds of its own", base.Refine)
	case m.Criterion == Full || m.Criterion == Greedy || m.Criterion == Oracle:
		return nil, t, p.errorf("joint residual with criterion %q: losses of GPTQ's loop add up without cross terms, which is delta", m.Criterion)
	}
	s, err := base.start(p)
	if err != nil {
		return nil, t, err
	}
	s.grids, err = fitAll(p, p.Weights, s.fitter, nil)
	return s, tiling{n: p.Weights.Rows, k: p.Weights.Cols, r: m.BlockRows, c: m.BlockCols}, err
}

// jointBlocks returns the count blocks to keep, ascending; s is ready to run
// without residual.
func (m Mosaic) jointBlocks(s *pass, t tiling, lambda []float64, count int, f Format) ([]int, error) {
	if m.Criterion == Relief {
		return relief(s.problem, s.fitter, t, lambda, count)
	}
	scores, err := m.jointScores(s, t, lambda, f)
	if err != nil {
		return nil, err
	}
	return largest(scores, count), nil
}

// jointScores returns the score of every block: what it takes off the loop's own
// tr(E·H·Eᵀ), except for criteria that count something else. s is ready to run
// without residual, and so it is afterwards.
func (m Mosaic) jointScores(s *pass, t tiling, lambda []float64, f Format) ([]float64, error) {
	p := s.problem
	if m.Criterion == Relief {
		return reliefScores(p, s.fitter, t, lambda)
	}
	size, groups := s.fitter.format.groups(t.k)
	d := gemm.NewMatrix(t.n, t.k)
	s.stored = func(row, col int, w float64, code *uint8) (float64, error) {
		v := s.grids[row*groups+col/size].value(*code)
		d.Row(row)[col] = float32(w - v)
		return v, nil
	}
	defer func() { s.stored = nil }()
	if err := s.run(); err != nil {
		return nil, err
	}
	q, err := m.residual(p, t, d, lambda, f, loopScales(s))
	if err != nil {
		return nil, err
	}
	return m.score(p, t, d, lambda, q), nil
}

// covered marks the weights [N*K] of the kept blocks, but for groups that are
// kept as a whole, which need a scale all the same.
func covered(t tiling, kept []int, group int) []bool {
	skip := make([]bool, t.n*t.k)
	for _, b := range kept {
		n0, n1, k0, k1 := t.bounds(b)
		for i := n0; i < n1; i++ {
			for j := k0; j < k1; j++ {
				skip[i*t.k+j] = true
			}
		}
	}
	for i := range t.n {
		row := skip[i*t.k : (i+1)*t.k]
		for g := 0; g < t.k; g += group {
			if part := row[g:min(g+group, t.k)]; !slices.Contains(part, false) {
				clear(part)
			}
		}
	}
	return skip
}

// sparse is a residual in the making: blocks are chosen, codes and scales not
// yet final. The nil sparse keeps nothing.
type sparse struct {
	t         tiling
	rowScales bool
	pair      func(base, res *grid, w float64) (u, v uint8)
	kept      []int
	keep      []bool  // [blocks]
	grids     []grid  // [blocks], or [blocks, rows of a block]
	codes     []uint8 // [N,K]
	tied      *tied   // nil if blocks have scales of their own
}

// newSparse returns the residual of the kept blocks, whose codes are codes [N,K] of
// some bits, on scales [blocks] or, with rowScales, [blocks, rows of a block]. A
// weight's codes are the nearest of all pairs, or those of nearPair.
func newSparse(t tiling, bits int, rowScales, allPairs bool, codes []uint8, scales []uint16, kept []int) *sparse {
	s := &sparse{t: t, rowScales: rowScales, kept: kept, keep: make([]bool, t.count()), grids: make([]grid, len(scales)), codes: codes}
	for _, b := range kept {
		s.keep[b] = true
	}
	if s.pair = nearPair; allPairs {
		s.pair = nearestPair
	}
	f := Format{Bits: bits}
	for i, bits := range scales {
		s.grids[i] = grid{bits: bits, scale: float64(fromF16(bits)), zero: f.offset(), lo: f.lowest(), hi: f.highest()}
	}
	return s
}

// grid returns the grid of the residual at [row,col], nil where none is kept.
func (s *sparse) grid(row, col int) *grid {
	if s == nil {
		return nil
	}
	b := row/s.t.r*s.t.cols() + col/s.t.c
	switch {
	case !s.keep[b]:
		return nil
	case s.tied != nil:
		return &s.grids[row*s.tied.groups+col/s.tied.size]
	case s.rowScales:
		return &s.grids[b*s.t.r+row%s.t.r]
	}
	return &s.grids[b]
}

// pack returns the residual as stored.
func packSparse(s *sparse, m Mosaic) *Residual {
	if s.tied != nil {
		return gather(s.t, quantizedResidual{codes: s.codes, scales: []uint16{toF16(float32(s.tied.ratio))}}, s.kept, m)
	}
	q := quantizedResidual{codes: s.codes, scales: make([]uint16, len(s.grids))}
	for i := range s.grids {
		q.scales[i] = s.grids[i].bits
	}
	return gather(s.t, q, s.kept, m)
}
