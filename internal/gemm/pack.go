package gemm

// An operand is A [M,K] or Bᵀ [N,K] of a product: a set of rows along which
// the product sums. The rows are contiguous in memory if src is set (loaded by
// tile) or direct (read where they lie), else m holds them as columns.
type operand struct {
	rows, depth int
	src         Source
	m           Matrix
	direct      bool
}

// rowsOf returns the operand whose rows are those of w.
func rowsOf(w Source) operand {
	n, k := w.Dims()
	if m, ok := w.(Matrix); ok {
		return operand{rows: n, depth: k, m: m, direct: true}
	}
	return operand{rows: n, depth: k, src: w}
}

// colsOf returns the operand whose rows are the columns of m.
func colsOf(m Matrix) operand { return operand{rows: m.Cols, depth: m.Rows, m: m} }

// panels is how one side of the tile wants its operand: panel q holds rows
// q*height ... as stride floats for each k, those past the last row being zero
// or of no effect.
type panels struct{ height, stride int }

func (k *kernel) aPanels() panels { return panels{k.rows, k.aStride} }
func (k *kernel) bPanels() panels { return panels{k.cols, k.cols} }

// size returns the floats that one panel of the given depth takes: packing
// writes whole squares of block x block.
func (k *kernel) size(s panels, depth int) int { return s.stride * roundUp(depth, k.block) }

// pack writes the panels first <= q < last of rows [·, p0:p0+depth] of o to dst.
// scratch needs scratchSize floats.
func (k *kernel) pack(dst []float32, s panels, o operand, first, last, p0, depth int, scratch []float32) {
	size := k.size(s, depth)
	for q := first; q < last; q++ {
		k.packPanel(dst[(q-first)*size:][:size], s, o, q*s.height, p0, depth, scratch)
	}
}

func (k *kernel) packPanel(dst []float32, s panels, o operand, r0, p0, depth int, scratch []float32) {
	n := min(s.height, o.rows-r0)
	switch {
	case o.src != nil:
		// Whatever the storage is, the tile comes out as float32 in scratch,
		// small enough to be still in the cache when it is transposed.
		ld := roundUp(depth, k.block)
		o.src.Load(Matrix{Rows: n, Cols: depth, Stride: ld, Data: scratch[:(n-1)*ld+depth]}, r0, p0)
		clear(scratch[n*ld : s.stride*ld])
		for b := 0; b < s.stride; b += k.block {
			k.transpose(&dst[b], s.stride, &scratch[b*ld], ld, ld/k.block)
		}
	case o.direct:
		for b := 0; b < s.stride; b += k.block {
			k.packSquares(dst[b:], s.stride, o.m, r0+b, p0, depth, scratch)
		}
	default:
		// Already in the order of the panel: copy, a full stride if there is one
		// because moves of a fixed power of two are faster.
		if r0+s.stride <= o.m.Cols {
			n = s.stride
		}
		for p := range depth {
			at := (p0+p)*o.m.Stride + r0
			d := dst[p*s.stride:][:s.stride]
			clear(d[copy(d, o.m.Data[at:at+n]):])
		}
	}
}

// packSquares transposes block rows of m from row r on, where they lie if they
// and the depth fill whole squares, else through a zeroed copy.
func (k *kernel) packSquares(dst []float32, stride int, m Matrix, r, p0, depth int, scratch []float32) {
	n := min(k.block, m.Rows-r)
	whole := 0
	if n == k.block {
		whole = depth / k.block
		if whole > 0 {
			k.transpose(&dst[0], stride, &m.Data[r*m.Stride+p0], m.Stride, whole)
		}
	}
	done := whole * k.block
	if done == depth {
		return
	}
	ld := roundUp(depth-done, k.block)
	for i := range k.block {
		row := scratch[i*ld : (i+1)*ld]
		filled := 0
		if i < n {
			at := (r+i)*m.Stride + p0
			filled = copy(row, m.Data[at+done:at+depth])
		}
		clear(row[filled:])
	}
	k.transpose(&dst[done*stride], stride, &scratch[0], ld, ld/k.block)
}

func (k *kernel) scratchSize() int { return max(k.cols, k.aStride) * k.kc }

func roundUp(n, to int) int { return (n + to - 1) / to * to }
