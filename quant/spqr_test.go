package quant

import (
	"fmt"
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
