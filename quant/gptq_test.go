package quant

import (
	"errors"
	"fmt"
	"math"
	"sort"
	"testing"
)

// plainGPTQ is optimal brain quantization in a fixed order, as in Frantar et
// al., section 3: after each column the inverse Hessian loses it by one step of
// Gaussian elimination. No Cholesky, no blocks, float64 throughout. Scales are
// static, or fitted when a group begins.
func plainGPTQ(p Problem, size int, damping float64, actOrder, dynamic bool) Matrix {
	n, k := p.Weights.Dims()
	h := make([][]float64, k)
	var mean float64
	for i := range h {
		h[i] = append([]float64(nil), p.Moments.H[i*k:(i+1)*k]...)
		mean += h[i][i] / float64(k)
	}
	inv := make([][]float64, k)
	for i := range inv {
		h[i][i] += damping * mean
		inv[i] = make([]float64, k)
		inv[i][i] = 1
	}
	for c := range k { // Gauss-Jordan; H is positive definite, so no pivoting
		d := h[c][c]
		for j := range k {
			h[c][j] /= d
			inv[c][j] /= d
		}
		for i := range k {
			if f := h[i][c]; i != c && f != 0 {
				for j := range k {
					h[i][j] -= f * h[c][j]
					inv[i][j] -= f * inv[c][j]
				}
			}
		}
	}
	order := make([]int, k)
	for i := range order {
		order[i] = i
	}
	if actOrder {
		sort.SliceStable(order, func(a, b int) bool {
			return p.Moments.H[order[a]*k+order[a]] > p.Moments.H[order[b]*k+order[b]]
		})
	}
	w := make([][]float64, n)
	out := p.Weights.Clone()
	scale := make([][]float64, n)
	fit := func(i, g int) {
		var m float64
		for _, v := range w[i][g*size : (g+1)*size] {
			m = max(m, math.Abs(v))
		}
		scale[i][g] = float64(fromF16(toF16(float32(m / 7))))
	}
	for i := range w {
		for _, v := range p.Weights.Row(i) {
			w[i] = append(w[i], float64(v))
		}
		scale[i] = make([]float64, k/size)
		for g := range scale[i] {
			fit(i, g)
		}
	}
	for at, c := range order {
		for i := range w {
			if dynamic && c%size == 0 {
				fit(i, c/size)
			}
			s := scale[i][c/size]
			q := max(-7, min(7, math.RoundToEven(w[i][c]/s))) * s
			e := (w[i][c] - q) / inv[c][c]
			for _, j := range order[at:] {
				w[i][j] -= e * inv[c][j]
			}
			out.Row(i)[c] = float32(q)
		}
		d := inv[c][c]
		for _, i := range order[at+1:] {
			f := inv[i][c] / d
			for _, j := range order[at+1:] {
				inv[i][j] -= f * inv[c][j]
			}
		}
	}
	return out
}

func TestGPTQAgainstPlainElimination(t *testing.T) {
	p := problem(t, 24, 256, 3)
	rtn := map[int]float64{}
	for _, c := range []struct {
		group             int
		actOrder, dynamic bool
	}{
		{32, false, false}, {32, true, false}, {32, false, true},
		{128, false, false}, {128, true, false}, {128, false, true},
		{0, false, false}, {0, true, false}, {0, false, true},
	} {
		t.Run(fmt.Sprintf("group=%d,act=%v,dynamic=%v", c.group, c.actOrder, c.dynamic), func(t *testing.T) {
			m := NewGPTQ(Int4(c.group))
			m.ActOrder, m.DynamicGroups = c.actOrder, c.dynamic
			size, _ := m.Format.groups(256)
			got := objective(p, quantize(t, m, p).Dequantize())
			near(t, "tr(EHEᵀ)", got, objective(p, plainGPTQ(p, size, 0.01, c.actOrder, c.dynamic)), 1e-3)
			if _, ok := rtn[c.group]; !ok {
				rtn[c.group] = objective(p, quantize(t, RTN{m.Format, m.Scale}, p).Dequantize())
			}
			if !(got < rtn[c.group]) {
				t.Errorf("GPTQ %g is not below RTN %g", got, rtn[c.group])
			}
		})
	}
}

// Groups that blocks of 128 columns do not divide must be fitted on corrected
// weights as well.
func TestGPTQDynamicGroupsAcrossBlocks(t *testing.T) {
	for _, size := range []int{48, 192, 96} {
		p := problem(t, 8, 576, 4)
		m := GPTQ{Format: Int4(size), Scale: Scale{Rule: AbsMax}, Damping: .01, DynamicGroups: true}
		near(t, fmt.Sprint("group ", size), objective(p, quantize(t, m, p).Dequantize()),
			objective(p, plainGPTQ(p, size, .01, false, true)), 1e-3)
	}
}

func TestGPTQSingular(t *testing.T) {
	p := problem(t, 2, 16, 1)
	m := *p.Moments
	m.H = make([]float64, 256)
	for i := range m.H { // rank one
		m.H[i] = float64(i/16+1) * float64(i%16+1)
	}
	p.Moments = &m
	g := NewGPTQ(Int4(16))
	g.Damping = 0
	if _, err := g.Quantize(p); !errors.Is(err, ErrSingular) {
		t.Errorf("singular H: %v", err)
	}
}

// A dead channel is rounded to nearest and moves nothing else.
func TestGPTQDeadChannel(t *testing.T) {
	p := problem(t, 4, 32, 9)
	for j := range 32 {
		p.Moments.H[7*32+j], p.Moments.H[j*32+7] = 0, 0
	}
	m := NewGPTQ(Int4(32))
	q := quantize(t, m, p)
	if len(q.Warnings) != 1 {
		t.Errorf("warnings %q, want one of a dead channel", q.Warnings)
	}
	a, b := q.Dequantize(), quantize(t, RTN{m.Format, m.Scale}, p).Dequantize()
	for i := range 4 {
		if a.Row(i)[7] != b.Row(i)[7] {
			t.Errorf("dead weight of row %d is %g, want %g", i, a.Row(i)[7], b.Row(i)[7])
		}
	}
}
