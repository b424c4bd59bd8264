package quant

// Outliers is a sparse half-precision matrix [N,K] in compressed sparse rows
// (CSR), whose values replace those of the dense base.
type Outliers struct {
	N, K   int
	RowPtr Ints // [N+1]: the outliers of row n are RowPtr[n] up to RowPtr[n+1]
	Cols   Ints // [count], ascending within a row
	Values []uint16
}

// Count returns the number of outliers.
func (o *Outliers) Count() int { return len(o.Values) }

// Density is the share of weights that are outliers.
func (o *Outliers) Density() float64 {
	return float64(o.Count()) / (float64(o.N) * float64(o.K))
}

// replace overwrites the tile at (n0,k0) in dst where o has values.
func (o *Outliers) replace(dst Matrix, n0, k0 int) {
	for i := range dst.Rows {
		out := dst.Row(i)
		for p := o.RowPtr.At(n0 + i); p < o.RowPtr.At(n0+i+1); p++ {
			if k := o.Cols.At(p) - k0; k >= 0 && k < len(out) {
				out[k] = fromF16(o.Values[p])
			}
		}
	}
}
