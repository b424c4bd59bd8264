package baseline

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"testing"

	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/plain"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// SpQR's two-level grid, and which weights its leave-one-out rule takes out of
// the fit of their group. Second-level numbers are half precision here.
func TestSpQRPublished(t *testing.T) {
	golden := quanttest.ReadPublished(t).SpQR
	p := quanttest.Correlated(t)
	p.Weights.Row(2)[7], p.Weights.Row(5)[40] = 9, -7
	for bits, want := range map[int][]float64{3: golden.Bilevel3, 4: golden.Bilevel4} {
		f := quant.Format{Bits: bits, Affine: true, Group: 16, Kind: quant.Bilevel}
		q := quanttest.Quantize(t, solve.RTN{Format: f, Scale: grid.Scale{Rule: grid.AbsMax}}, p)
		w, differ := q.Dequantize(), 0
		if len(want) != 16*64 {
			t.Fatalf("%s: %d values, want 1024", f, len(want))
		}
		for i := range 16 {
			for j, v := range w.Row(i)[:64] {
				if d := float64(v) - want[i*64+j]; !(math.Abs(d) < 4e-3) {
					differ++
				}
			}
		}
		if differ > 20 { // a tie of a second-level code moves a group, others one weight
			t.Errorf("%s: %d of 1024 values differ", f, differ)
		}
	}
	m := solve.NewGPTQ(quant.Format{Bits: 4, Affine: true, Group: 16, Kind: quant.Bilevel})
	m.ActOrder = false
	s, err := m.Start(p)
	if err != nil {
		t.Fatal(err)
	}
	lambda := s.Lambda()
	for _, limit := range []float64{.02, .1, .5} {
		skip, err := leaveOneOut(s, lambda, limit)
		if err != nil {
			t.Fatal(err)
		}
		left := 0
		for i, gain := range golden.Gains {
			got, want := skip[2*256+i], gain > limit
			if want {
				left++
			}
			if got != want && math.Abs(gain-limit) > 1e-2*limit {
				t.Errorf("limit %g: weight %d, of gain %g, is left out: %v", limit, i, gain, got)
			}
		}
		t.Logf("limit %g: %d of %d", limit, left, len(golden.Gains))
		if left < 3 || left > len(golden.Gains)/2 {
			t.Errorf("limit %g leaves out %d of %d weights: a poor test", limit, left, len(golden.Gains))
		}
	}
}

// plainSpQR chooses outliers by a full sort over (w-q)²/[H⁻¹]_jj and hands them
// to plain elimination.
func plainSpQR(p quant.Problem, f quant.Format, count int) quant.Matrix {
	m := plain.Elimination{Format: f, Scale: grid.Scale{Rule: grid.AbsMax}, Damping: .01, ActOrder: true}
	n, k := p.Weights.Dims()
	size, _ := f.Groups(k)
	inv, h := plain.Inverse(p.Moments, m.Damping), p.Moments.Diag()
	type place struct {
		row, col int
		cost     float64
	}
	var places []place
	for i := range n {
		w := make([]float64, k)
		for j, v := range p.Weights.Row(i) {
			w[j] = float64(v)
		}
		m.Keep = append(m.Keep, make([]bool, k))
		for j, v := range w {
			g := j / size * size
			d := v - m.Fit(w[g:g+size], h[g:g+size], nil).Round(v)
			places = append(places, place{i, j, d * d / inv[j][j]})
		}
	}
	sort.SliceStable(places, func(a, b int) bool { return places[a].cost > places[b].cost })
	for _, at := range places[:count] {
		m.Keep[at.row][at.col] = true
	}
	return m.Quantize(p)
}

func TestSpQRAgainstPlainElimination(t *testing.T) {
	p := quanttest.Problem(t, 16, 192, 21)
	for _, f := range []quant.Format{quant.Int4(32), quant.Int4(64), {Bits: 4, Affine: true, Group: 64}, {Bits: 3}} {
		last := quanttest.Objective(p, quanttest.Quantize(t, solve.NewGPTQ(f), p).Dequantize())
		for _, share := range []float64{.01, .05, .25} {
			q := quanttest.Quantize(t, spqr(f, share), p)
			count := int(share*16*192 + .5)
			if q.Outliers.Count() != count {
				t.Fatalf("%s, share %g: %d outliers, want %d", f, share, q.Outliers.Count(), count)
			}
			got := quanttest.Objective(p, q.Dequantize())
			quanttest.Near(t, fmt.Sprintf("%s, share %g", f, share), got, quanttest.Objective(p, plainSpQR(p, f, count)), 2e-3)
			if !(got < last) {
				t.Errorf("%s, share %g: objective %g, with fewer outliers %g", f, share, got, last)
			}
			last = got
		}
	}
}

// SpQR's own rule against its definition: the threshold from the variances of
// columns and the diagonal that elimination meets, the leave-one-out rule by
// fitting again, the outliers found in the loop.
func TestSpQRThresholdAgainstPlainElimination(t *testing.T) {
	const n, k, size, damping = 16, 96, 16, .01
	p := quanttest.Problem(t, n, k, 22)
	f := quant.Format{Bits: 4, Affine: true, Group: size}
	h := p.Moments.Diag()
	order := make([]int, k)
	for j := range order {
		order[j] = j
	}
	sort.SliceStable(order, func(a, b int) bool { return h[order[a]] > h[order[b]] })
	inv, diagonal := plain.Inverse(p.Moments, damping), make([]float64, k)
	for at, c := range order {
		diagonal[c] = inv[c][c]
		for _, i := range order[at+1:] {
			f := inv[i][c] / inv[c][c]
			for _, j := range order[at+1:] {
				inv[i][j] -= f * inv[c][j]
			}
		}
	}
	var scale float64
	for j := range k {
		var mean, variance float64
		for i := range n {
			mean += float64(p.Weights.Row(i)[j]) / n
		}
		for i := range n {
			d := float64(p.Weights.Row(i)[j]) - mean
			variance += d * d / n
		}
		scale += variance / diagonal[j] / k
	}
	counts := []int{}
	for _, tau := range []float64{.003, .01, .03} {
		m := plain.Elimination{Format: f, Scale: grid.Scale{Rule: grid.AbsMax}, Damping: damping, ActOrder: true, Threshold: tau * scale}
		for i := range n {
			left := make([]bool, k)
			for g := 0; g < k; g += size {
				var w []float64
				for _, v := range p.Weights.Row(i)[g : g+size] {
					w = append(w, float64(v))
				}
				loss := func(skip []bool) (sum float64) {
					grid := m.Fit(w, h[g:g+size], skip)
					for j, v := range w {
						if skip == nil || !skip[j] {
							d := v - grid.Round(v)
							sum += d * d / diagonal[g+j]
						}
					}
					return sum
				}
				for j := range w {
					skip := make([]bool, size)
					skip[j] = true
					left[g+j] = loss(nil)-loss(skip) > m.Threshold
				}
			}
			m.Keep = append(m.Keep, left)
		}
		want := m.Quantize(p)
		q := quanttest.Quantize(t, SpQR{GPTQ: solve.NewGPTQ(f), Threshold: tau}, p)
		got := q.Dequantize()
		differ := 0
		for i := range want.Data {
			if d := math.Abs(float64(got.Data[i] - want.Data[i])); !(d < 1e-3) {
				differ++
			}
		}
		t.Logf("τ=%g: %d outliers, %d of %d weights differ", tau, q.Outliers.Count(), differ, len(want.Data))
		if differ > len(want.Data)/50 { // roundings that fall the other way
			t.Errorf("τ=%g: %d of %d weights differ", tau, differ, len(want.Data))
		}
		quanttest.Near(t, "objective", quanttest.Objective(p, got), quanttest.Objective(p, want), 5e-3)
		counts = append(counts, q.Outliers.Count())
	}
	if counts[0] < 50 || counts[2] < 5 || !slices.IsSortedFunc(counts, func(a, b int) int { return b - a }) {
		t.Errorf("%v outliers: a poor test", counts)
	}
}

// The base has the code of zero where an outlier is.
func TestOutliersLeaveZeros(t *testing.T) {
	p := quanttest.Problem(t, 16, 192, 23)
	for _, m := range []SpQR{spqr(quant.Int4(32), .05), {GPTQ: solve.NewGPTQ(quant.Int4(32)), Threshold: .02}} {
		q := quanttest.Quantize(t, m, p)
		base := quant.Quantized{Base: q.Base}
		w := base.Dequantize()
		for i := range 16 {
			for at := q.Outliers.RowPtr.At(i); at < q.Outliers.RowPtr.At(i+1); at++ {
				if v := w.Row(i)[q.Outliers.Cols.At(at)]; v != 0 {
					t.Fatalf("the base of outlier [%d,%d] is %g, want 0", i, q.Outliers.Cols.At(at), v)
				}
			}
		}
		if q.Outliers.Count() == 0 {
			t.Error("no outliers")
		}
	}
}

// spqr returns SpQR on GPTQ as recommended.
func spqr(f quant.Format, share float64) SpQR { return SpQR{GPTQ: solve.NewGPTQ(f), Share: share} }
