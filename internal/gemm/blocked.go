package gemm

import "github.com/mosaicquant/mosaicquant/internal/parallel"

// A product is c = alpha·a·bᵀ + beta·c for a [M,K], b [N,K], c [M,N], blocked
// for the caches after Goto and van de Geijn, "Anatomy of High-Performance
// Matrix Multiplication" (ACM TOMS 34(3), 2008), and Van Zee and van de Geijn,
// "BLIS" (ACM TOMS 41(3), 2015):
//
//   - a tile of c stays in registers for kc steps of k;
//   - one packed panel of a (rows x kc) stays in the L1 cache while it meets
//     every panel of a chunk of b;
//   - a chunk of b (chunk panels x kc) is packed by the task that needs it and
//     stays in that core's L2;
//   - a is packed once, by all, for up to rowsAtOnce rows.
//
// A task owns whole columns of c, so no two write to the same place, and the
// order in which k is summed depends on K and the kernel alone: the bits do not
// depend on the number of goroutines.
type product struct {
	*kernel
	alpha, beta float32
	a, b        operand
	c           Matrix
	blocks      []int // boundaries of the blocks along k
}

// packedFloats is about how much of a is packed at once (32 MiB), but never
// fewer than minRows rows: packing b again for each would cost too much.
const (
	packedFloats = 8 << 20
	minRows      = 512
)

func (k *kernel) multiply(alpha float32, a, b operand, beta float32, c Matrix) {
	if beta != 0 {
		scale(beta, c)
	}
	if a.depth == 0 {
		if beta == 0 {
			scale(0, c)
		}
		return
	}
	g := product{kernel: k, alpha: alpha, beta: beta, a: a, b: b, c: c, blocks: k.split(a.depth)}
	step := roundUp(max(minRows, packedFloats/a.depth), k.rows)
	for m0 := 0; m0 < a.rows; m0 += step {
		g.rowsAtOnce(m0, min(step, a.rows-m0))
	}
}

// split cuts depth into nearly equal blocks of at most kc; all but the last are
// multiples of the packing square.
func (k *kernel) split(depth int) []int {
	n := (depth + k.kc - 1) / k.kc
	step := roundUp((depth+n-1)/n, k.block)
	at := []int{0}
	for p := step; p < depth; p += step {
		at = append(at, p)
	}
	return append(at, depth)
}

// rowsAtOnce computes rows m0 ... m0+m of c; m0 is a multiple of the tile's rows.
func (g *product) rowsAtOnce(m0, m int) {
	p := workers(m * g.b.rows * g.a.depth)
	na, nb := (m+g.rows-1)/g.rows, (g.b.rows+g.cols-1)/g.cols

	packed := borrow(na * g.size(g.aPanels(), g.a.depth))
	defer packed.release()
	// at is where block i of k starts in packed: all panels of a block lie together.
	at := func(i int) []float32 { return packed.floats[na*g.size(g.aPanels(), g.blocks[i]):] }

	const group = 8 // panels of a that a task packs
	groups, last := (na+group-1)/group, len(g.blocks)-1
	parallel.Workers(p, groups*last, func(_, task int) {
		i, q := task/groups, task%groups*group
		depth := g.blocks[i+1] - g.blocks[i]
		scratch := borrow(g.scratchSize())
		defer scratch.release()
		first := m0/g.rows + q
		g.pack(at(i)[q*g.size(g.aPanels(), depth):], g.aPanels(), g.a,
			first, first+min(group, na-q), g.blocks[i], depth, scratch.floats)
	})

	chunks := g.chunks(p, nb)
	parallel.Workers(p, chunks, func(_, task int) {
		// Larger chunks come first, so that none is left for one goroutine at the end.
		first, end := (nb*task+chunks-1)/chunks, (nb*(task+1)+chunks-1)/chunks
		mem := borrow((end-first)*g.size(g.bPanels(), g.kc) + g.scratchSize())
		defer mem.release()
		packedB, scratch := mem.floats[g.scratchSize():], mem.floats[:g.scratchSize()]
		for i := range last {
			depth := g.blocks[i+1] - g.blocks[i]
			g.pack(packedB, g.bPanels(), g.b, first, end, g.blocks[i], depth, scratch)
			g.tiles(at(i), packedB, m0, m, first, end, depth, i > 0 || g.beta != 0, scratch)
		}
	})
}

// chunks returns into how many tasks nb panels of b are divided: enough that
// the last ones to finish keep the others waiting for little, a multiple of p.
func (k *kernel) chunks(p, nb int) int {
	n := (nb + k.chunk - 1) / k.chunk
	if p > 1 {
		n = roundUp(max(n, min(4*p, nb/2)), p)
	}
	return min(n, nb)
}

// tiles multiplies all panels of a by the panels first ... end of b.
func (g *product) tiles(a, b []float32, m0, m, first, end, depth int, add bool, edge []float32) {
	sizeA, sizeB := g.size(g.aPanels(), depth), g.size(g.bPanels(), depth)
	na := (m + g.rows - 1) / g.rows
	for i := 0; i < m; i += g.rows {
		for q := first; q < end; q++ {
			pa, next := g.withNext(a, sizeA, i/g.rows, na, q-first)
			pb := &b[(q-first)*sizeB]
			j, r := q*g.cols, m0+i
			rows, cols := min(g.rows, m-i), min(g.cols, g.c.Cols-j)
			t := g.covering(rows, cols)
			if t.rows == rows && t.cols == cols {
				t.mul(depth, pa, pb, next, &g.c.Data[r*g.c.Stride+j], g.c.Stride, g.alpha, add)
				continue
			}
			// The tile hangs over the edge of c: compute all of it aside and
			// take what belongs to c.
			t.mul(depth, pa, pb, next, &edge[0], g.cols, g.alpha, false)
			for h := range rows {
				dst, src := g.c.Row(r + h)[j:j+cols], edge[h*g.cols:]
				if !add {
					copy(dst, src)
					continue
				}
				for n, v := range dst {
					dst[n] = v + src[n]
				}
			}
		}
	}
}

// withNext returns panel i of the n in a, and what tile number visit of that
// panel should fetch ahead: its share of panel i+1.
func (k *kernel) withNext(a []float32, size, i, n, visit int) (panel, next *float32) {
	panel = &a[i*size]
	if ahead := visit * size / k.fetch; i+1 < n && ahead < size {
		return panel, &a[(i+1)*size+ahead]
	}
	return panel, panel
}

// scale sets c = beta·c, and to zero for beta = 0 whatever c holds.
func scale(beta float32, c Matrix) {
	if beta == 1 {
		return
	}
	for i := range c.Rows {
		row := c.Row(i)
		if beta == 0 {
			clear(row)
			continue
		}
		for j := range row {
			row[j] *= beta
		}
	}
}
