// Package outliers measures how far the tails of a matrix reach: what decides
// the step of a uniform grid, and so what quantization costs. It serves weights
// W [N,K] and activations X [M,K] alike; columns are input channels.
//
// A matrix is seen as a stream of row tiles, twice: once for moments and peaks,
// once to count what lies far out. Memory is that of one tile, 12 bytes per column
// and 4 per row.
package outliers

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// Far is how many standard deviations from the mean an element must lie for
// Stats.Far to count it.
const Far = 6

// Stats describes one matrix. A ratio whose denominator is zero is NaN: a
// constant matrix has no kurtosis, one whose median channel is zero no
// channel ratio.
type Stats struct {
	Rows, Cols int
	Mean, RMS  float64
	// Kurtosis is the excess kurtosis E(x-μ)⁴/σ⁴ - 3, 0 for a Gaussian.
	Kurtosis float64
	// MaxOverRMS is max|x| over the root mean square.
	MaxOverRMS float64
	// Far is the share of elements with |x-μ| > 6σ; 2·10⁻⁹ for a Gaussian.
	Far float64
	// RowPeak is the largest max|x| of a row over the median row's, ColPeak the
	// same of columns. For activations rows are tokens.
	RowPeak, ColPeak float64
	// ColRMS is the largest root mean square of a column over the median column's.
	ColRMS float64
	// Top lists the columns of the largest root mean square, largest first.
	Top []Channel
}

// Channel is one column: its index and its root mean square over the median
// column's.
type Channel struct {
	Index int
	Ratio float64
}

// top is how many channels Stats lists.
const top = 3

// Collector sums one matrix tile by tile: all tiles with Add, then Turn, then
// the same tiles with Add again, then Stats.
type Collector struct {
	cols int
	n    float64 // elements seen in the first pass

	mean, m2, m3, m4 float64 // central moments, as sums
	rowMax           []float32
	colMax           []float32
	colSum           []float64 // of squares
	max              float32

	second    bool
	low, high float64 // elements outside are far
	seen, far float64 // in the second pass
}

// NewCollector returns a collector of matrices with cols columns.
func NewCollector(cols int) *Collector {
	return &Collector{cols: cols, colMax: make([]float32, cols), colSum: make([]float64, cols)}
}

// Add takes the next rows of the matrix. It panics on another number of
// columns. Elements must be finite.
func (c *Collector) Add(x gemm.Matrix) {
	if x.Cols != c.cols {
		panic(fmt.Sprintf("outliers: a tile of %d columns of a matrix of %d", x.Cols, c.cols))
	}
	for i := range x.Rows {
		if c.second {
			c.count(x.Row(i))
		} else {
			c.addRow(x.Row(i))
		}
	}
}

// addRow updates the central moments by those of a row (Pébay 2008,
// SAND2008-6212, eq. 3.1), which keeps them exact where the mean is large.
func (c *Collector) addRow(row []float32) {
	if len(row) == 0 {
		return
	}
	var sum float64
	var peak float32
	for j, v := range row {
		sum += float64(v)
		c.colSum[j] += float64(v) * float64(v)
		if v < 0 {
			v = -v
		}
		c.colMax[j] = max(c.colMax[j], v)
		peak = max(peak, v)
	}
	c.rowMax = append(c.rowMax, peak)
	c.max = max(c.max, peak)

	nb := float64(len(row))
	mean := sum / nb
	var b2, b3, b4 float64
	for _, v := range row {
		d := float64(v) - mean
		b2 += d * d
		b3 += d * d * d
		b4 += d * d * d * d
	}
	na := c.n
	n := na + nb
	d := mean - c.mean
	c.m4 += b4 + d*d*d*d*na*nb*(na*na-na*nb+nb*nb)/(n*n*n) + 6*d*d*(na*na*b2+nb*nb*c.m2)/(n*n) + 4*d*(na*b3-nb*c.m3)/n
	c.m3 += b3 + d*d*d*na*nb*(na-nb)/(n*n) + 3*d*(na*b2-nb*c.m2)/n
	c.m2 += b2 + d*d*na*nb/n
	c.mean += d * nb / n
	c.n = n
}

func (c *Collector) count(row []float32) {
	c.seen += float64(len(row))
	for _, v := range row {
		if x := float64(v); x < c.low || x > c.high {
			c.far++
		}
	}
}

// Turn ends the first pass.
func (c *Collector) Turn() {
	sigma := math.Sqrt(c.m2 / c.n)
	c.second, c.low, c.high = true, c.mean-Far*sigma, c.mean+Far*sigma
}

// Stats returns the statistics. It is an error if nothing was added, or not the
// same number of elements twice.
func (c *Collector) Stats() (Stats, error) {
	if c.n == 0 || c.seen != c.n {
		return Stats{}, fmt.Errorf("outliers: %.0f elements in the first pass, %.0f in the second", c.n, c.seen)
	}
	variance := c.m2 / c.n
	rows := len(c.rowMax)
	s := Stats{
		Rows: rows, Cols: c.cols, Mean: c.mean, RMS: math.Sqrt(variance + c.mean*c.mean),
		Kurtosis: over(c.m4/c.n, variance*variance) - 3,
		Far:      c.far / c.n,
		RowPeak:  over(float64(slices.Max(c.rowMax)), float64(median(c.rowMax))),
		ColPeak:  over(float64(slices.Max(c.colMax)), float64(median(c.colMax))),
	}
	s.MaxOverRMS = over(float64(c.max), s.RMS)
	mid := median(c.colSum)
	for j, v := range c.colSum {
		s.Top = append(s.Top, Channel{j, math.Sqrt(over(v, mid))})
	}
	slices.SortStableFunc(s.Top, func(a, b Channel) int { return cmp.Compare(c.colSum[b.Index], c.colSum[a.Index]) })
	s.Top = slices.Clone(s.Top[:min(top, len(s.Top))])
	s.ColRMS = s.Top[0].Ratio
	return s, nil
}

// over is a/b, NaN where b is zero.
func over(a, b float64) float64 {
	if b == 0 {
		return math.NaN()
	}
	return a / b
}

// median is the lower median of v, which it leaves as it is.
func median[T cmp.Ordered](v []T) T {
	sorted := slices.Sorted(slices.Values(v))
	return sorted[(len(sorted)-1)/2]
}

// Of returns the statistics of w [N,K], which it reads twice in tiles of a few
// rows. NaN and Inf are an error.
func Of(w gemm.Source) (Stats, error) {
	n, k := w.Dims()
	c := NewCollector(k)
	tile := gemm.NewMatrix(min(n, max(1, 1<<16/max(k, 1))), k)
	for pass := range 2 {
		for i := 0; i < n; i += tile.Rows {
			rows := tile.View(0, min(tile.Rows, n-i), 0, k)
			w.Load(rows, i, 0)
			if pass == 0 {
				for r := range rows.Rows {
					for j, v := range rows.Row(r) {
						if v-v != 0 {
							return Stats{}, fmt.Errorf("element [%d,%d] is %v", i+r, j, v)
						}
					}
				}
			}
			c.Add(rows)
		}
		if pass == 0 {
			c.Turn()
		}
	}
	return c.Stats()
}
