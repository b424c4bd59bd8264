package gemm

// fewRowsTask is how many rows of W one task takes, a multiple of 4.
const fewRowsTask = 32

// mulFewRows is MulNT for the few rows of a decoding step. Packing would write
// and read again every weight for a handful of products; here W is streamed
// once, four rows at a time, past rows of X that stay in the L1 cache.
func (k *kernel) mulFewRows(y, x Matrix, w Source) {
	n, depth := w.Dims()
	direct, isMatrix := w.(Matrix)
	ld := roundUp(depth, k.lanes)
	whole := depth / k.lanes * k.lanes

	// The last elements of X's rows, zeroed up to a register.
	tail := borrow(x.Rows * k.lanes)
	defer tail.release()
	tx := Matrix{Rows: x.Rows, Cols: k.lanes, Stride: k.lanes, Data: tail.floats}
	for i := range x.Rows {
		row := tx.Row(i)
		clear(row[copy(row, x.Row(i)[whole:]):])
	}

	tasks := (n + fewRowsTask - 1) / fewRowsTask
	parallel(workers(x.Rows*n*depth), tasks, func(task int) {
		mem := borrow(4*ld + 4*k.lanes + 8*k.wide)
		defer mem.release()
		rows := Matrix{Cols: depth, Stride: ld, Data: mem.floats[:4*ld]}
		tw := mem.floats[4*ld:][:4*k.lanes]
		out := mem.floats[4*ld+4*k.lanes:][:8*k.wide]
		for j := task * fewRowsTask; j < min((task+1)*fewRowsTask, n); j += 4 {
			w4 := rows
			if w4.Rows = min(4, n-j); isMatrix && w4.Rows == 4 {
				w4 = Matrix{Rows: 4, Cols: depth, Stride: direct.Stride, Data: direct.Data[j*direct.Stride:]}
			} else {
				clear(w4.Data)
				w.Load(w4, j, 0)
				w4.Rows = 4
			}
			if whole < depth {
				clear(tw)
				for i := range 4 {
					copy(tw[i*k.lanes:], w4.Row(i)[whole:])
				}
			}
			k.mulFour(y, x, tx, w4, tw, j, out)
		}
	})
}

// mulFour sets columns j ... j+3 of y, those that exist, from four rows of W.
// tx and tw are the ends of the rows past the last whole register.
func (k *kernel) mulFour(y, x, tx, w4 Matrix, tw []float32, j int, out []float32) {
	whole := x.Cols / k.lanes * k.lanes
	for i := 0; i < x.Rows; {
		dot, m := k.dotWide, k.wide
		if x.Rows-i < m {
			dot, m = k.dot1, 1
		}
		clear(out)
		main, rest := out[:4*m], out[4*m:8*m]
		if whole > 0 {
			dot(whole, &w4.Data[0], w4.Stride, &x.Data[i*x.Stride], x.Stride, &main[0])
		}
		if whole < x.Cols {
			dot(k.lanes, &tw[0], k.lanes, &tx.Data[i*k.lanes], k.lanes, &rest[0])
		}
		for h := range m {
			for c := range min(4, y.Cols-j) {
				y.Row(i + h)[j+c] = main[4*h+c] + rest[4*h+c]
			}
		}
		i += m
	}
}
