package gemm

import (
	"fmt"

	"github.com/mosaicquant/mosaicquant/internal/parallel"
)

// tokensPerFlush is how many products are summed in float32 before they are
// added to the float64 moments: the error of a sum of positive terms then stays
// below 256 units in the last place of float32, however many tokens follow.
const tokensPerFlush = 256

// Syrk adds xᵀ·x to the upper triangle of h [K,K], row-major float64, for
// x [M,K]: the second moments of M tokens. Products are summed in float32 over
// at most 256 tokens, then in float64.
func Syrk(h []float64, x Matrix) {
	checkMatrix("Syrk: x", x)
	if k := x.Cols; len(h) != k*k {
		panic(fmt.Sprintf("gemm: Syrk: x [%d,%d] needs h of %d floats, got %d", x.Rows, k, k*k, len(h)))
	}
	if x.Cols == 0 {
		return
	}
	for t := 0; t < x.Rows; t += tokensPerFlush {
		active.moments(h, x.View(t, min(t+tokensPerFlush, x.Rows), 0, x.Cols))
	}
}

// moments adds the moments of one flush. The blocking is that of product, except
// that tiles below the diagonal are skipped and every tile goes by way of a
// float32 copy into h.
func (k *kernel) moments(h []float64, x Matrix) {
	o, n, depth := colsOf(x), x.Cols, x.Rows
	p := workers(n * n / 2 * depth)
	na, nb := (n+k.rows-1)/k.rows, (n+k.cols-1)/k.cols
	sizeA, sizeB := k.size(k.aPanels(), depth), k.size(k.bPanels(), depth)

	packed := borrow(na * sizeA)
	defer packed.release()
	const group = 8
	parallel.Workers(p, (na+group-1)/group, func(_, task int) {
		q := task * group
		k.pack(packed.floats[q*sizeA:], k.aPanels(), o, q, min(q+group, na), 0, depth, nil)
	})

	chunks := k.chunks(p, nb)
	parallel.Workers(p, chunks, func(_, task int) {
		task = chunks - 1 - task // the longest columns first
		first, end := nb*task/chunks, nb*(task+1)/chunks
		mem := borrow((end-first)*sizeB + k.rows*k.cols)
		defer mem.release()
		packedB, tile := mem.floats[k.rows*k.cols:], mem.floats[:k.rows*k.cols]
		k.pack(packedB, k.bPanels(), o, first, end, 0, depth, nil)
		for i := 0; i < min(n, end*k.cols); i += k.rows {
			for q := max(first, i/k.cols); q < end; q++ {
				pa, next := k.withNext(packed.floats, sizeA, i/k.rows, na, q-first)
				k.tiles[0].mul(depth, pa, &packedB[(q-first)*sizeB], next, &tile[0], k.cols, 1, false)
				k.flush(h, n, tile, i, q*k.cols)
			}
		}
	})
}

// flush adds the part of a tile at row i0, column j0 that lies in the upper
// triangle of h [n,n].
func (k *kernel) flush(h []float64, n int, tile []float32, i0, j0 int) {
	for i := i0; i < min(i0+k.rows, n); i++ {
		from, to := max(i, j0), min(j0+k.cols, n)
		if from >= to {
			return
		}
		dst, src := h[i*n+from:i*n+to], tile[(i-i0)*k.cols+from-j0:]
		whole := len(dst) / k.lanes * k.lanes
		if whole > 0 {
			k.accumulate(whole, &dst[0], &src[0])
		}
		for j := whole; j < len(dst); j++ {
			dst[j] += float64(src[j])
		}
	}
}
