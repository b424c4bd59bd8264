package gemm

import "github.com/mosaicquant/mosaicquant/internal/parallel"

const (
	fewRowsTask = 32 // rows of W in a task, a multiple of 4
	// How many k at a time: long runs please the prefetcher, but once four rows
	// of W are read many times they should stay in the L1 cache.
	longRun, shortRun, longRunRows = 4096, 1024, 8
)

// mulFewRows is MulNT for the few rows of a decoding step. Packing would write
// and read again every weight for a handful of products; here W is streamed
// once, four rows at a time, past X. The last few k, and the last rows,
// are filled up with zeros.
func (k *kernel) mulFewRows(y, x Matrix, w Source) {
	n, depth := w.Dims()
	ld := roundUp(depth, k.lanes) + k.lanes // not a power of two, which would crowd one set of the cache
	copied := borrow(x.Rows * ld)
	defer copied.release()
	xs := Matrix{Rows: x.Rows, Cols: ld, Stride: ld, Data: copied.floats}
	for i := range x.Rows {
		row := xs.Row(i)
		clear(row[copy(row, x.Row(i)):])
	}

	run := longRun
	if x.Rows > longRunRows {
		run = shortRun
	}
	tasks := (n + fewRowsTask - 1) / fewRowsTask
	parallel.Workers(workers(x.Rows*n*depth), tasks, func(_, task int) {
		mem := borrow(4*run + 8*x.Rows)
		defer mem.release()
		tile, sums := mem.floats[:4*run], mem.floats[4*run:]
		for j := task * fewRowsTask; j < min((task+1)*fewRowsTask, n); j += 4 {
			k.mulFour(y, xs, w, j, run, tile, sums)
		}
	})
}

// mulFour sets columns j ... j+3 of y, those that exist. tile holds 4*run
// floats, sums 8 for every row of x.
func (k *kernel) mulFour(y, x Matrix, w Source, j, run int, tile, sums []float32) {
	n, depth := w.Dims()
	direct, isMatrix := w.(Matrix)
	total, part := sums[:4*x.Rows], sums[4*x.Rows:]
	clear(total)
	for k0 := 0; k0 < depth; k0 += run {
		d := min(run, depth-k0)
		padded := roundUp(d, k.lanes)
		rows, ld := tile, padded
		if isMatrix && d == padded && j+4 <= n {
			rows, ld = direct.Data[j*direct.Stride+k0:], direct.Stride
		} else {
			if d < padded || j+4 > n {
				clear(tile[:4*padded])
			}
			w.Load(Matrix{Rows: min(4, n-j), Cols: d, Stride: ld, Data: tile}, j, k0)
		}
		for i := 0; i < x.Rows; {
			dot, m := k.dotWide, k.wide
			if x.Rows-i < m {
				dot, m = k.dot1, 1
			}
			dot(padded, &rows[0], ld, &x.Data[i*x.Stride+k0], x.Stride, &part[4*i])
			i += m
		}
		for i, v := range part {
			total[i] += v
		}
	}
	for i := range y.Rows {
		copy(y.Row(i)[j:], total[4*i:4*i+4])
	}
}
