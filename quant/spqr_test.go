package quant

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"testing"
)

// plainSpQR chooses outliers by a full sort over (w-q)²/[H⁻¹]_jj and hands them
// to plain elimination.
func plainSpQR(p Problem, f Format, count int) Matrix {
	m := plain{format: f, scale: Scale{Rule: AbsMax}, damping: .01, actOrder: true}
	n, k := p.Weights.Dims()
	size, _ := f.groups(k)
	inv, h := plainInverse(p.Moments, m.damping), p.Moments.Diag()
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
		m.keep = append(m.keep, make([]bool, k))
		for j, v := range w {
			g := j / size * size
			d := v - m.fit(w[g:g+size], h[g:g+size], nil).round(v)
			places = append(places, place{i, j, d * d / inv[j][j]})
		}
	}
	sort.SliceStable(places, func(a, b int) bool { return places[a].cost > places[b].cost })
	for _, at := range places[:count] {
		m.keep[at.row][at.col] = true
	}
	return m.quantize(p)
}

func TestSpQRAgainstPlainElimination(t *testing.T) {
	p := problem(t, 16, 192, 21)
	for _, f := range []Format{Int4(32), Int4(64), {Bits: 4, Affine: true, Group: 64}, {Bits: 3}} {
		last := objective(p, quantize(t, NewGPTQ(f), p).Dequantize())
		for _, share := range []float64{.01, .05, .25} {
			q := quantize(t, NewSpQR(f, share), p)
			count := int(share*16*192 + .5)
			if q.Outliers.Count() != count {
				t.Fatalf("%s, share %g: %d outliers, want %d", f, share, q.Outliers.Count(), count)
			}
			got := objective(p, q.Dequantize())
			near(t, fmt.Sprintf("%s, share %g", f, share), got, objective(p, plainSpQR(p, f, count)), 2e-3)
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
	p := problem(t, n, k, 22)
	f := Format{Bits: 4, Affine: true, Group: size}
	h := p.Moments.Diag()
	order := make([]int, k)
	for j := range order {
		order[j] = j
	}
	sort.SliceStable(order, func(a, b int) bool { return h[order[a]] > h[order[b]] })
	inv, diagonal := plainInverse(p.Moments, damping), make([]float64, k)
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
		m := plain{format: f, scale: Scale{Rule: AbsMax}, damping: damping, actOrder: true, threshold: tau * scale}
		for i := range n {
			left := make([]bool, k)
			for g := 0; g < k; g += size {
				var w []float64
				for _, v := range p.Weights.Row(i)[g : g+size] {
					w = append(w, float64(v))
				}
				loss := func(skip []bool) (sum float64) {
					grid := m.fit(w, h[g:g+size], skip)
					for j, v := range w {
						if skip == nil || !skip[j] {
							d := v - grid.round(v)
							sum += d * d / diagonal[g+j]
						}
					}
					return sum
				}
				for j := range w {
					skip := make([]bool, size)
					skip[j] = true
					left[g+j] = loss(nil)-loss(skip) > m.threshold
				}
			}
			m.keep = append(m.keep, left)
		}
		want := m.quantize(p)
		q := quantize(t, SpQR{GPTQ: NewGPTQ(f), Threshold: tau}, p)
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
		near(t, "objective", objective(p, got), objective(p, want), 5e-3)
		counts = append(counts, q.Outliers.Count())
	}
	if counts[0] < 50 || counts[2] < 5 || !slices.IsSortedFunc(counts, func(a, b int) int { return b - a }) {
		t.Errorf("%v outliers: a poor test", counts)
	}
}

// The base has the code of zero where an outlier is.
func TestOutliersLeaveZeros(t *testing.T) {
	p := problem(t, 16, 192, 23)
	for _, m := range []SpQR{NewSpQR(Int4(32), .05), {GPTQ: NewGPTQ(Int4(32)), Threshold: .02}} {
		q := quantize(t, m, p)
		base := Quantized{Base: q.Base}
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
