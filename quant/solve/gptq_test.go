package solve

import (
	"errors"
	"fmt"
	"testing"

	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/plain"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
)

func TestGPTQAgainstPlainElimination(t *testing.T) {
	p := quanttest.Problem(t, 24, 256, 3)
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
			m := NewGPTQ(quant.Int4(c.group))
			m.ActOrder, m.DynamicGroups = c.actOrder, c.dynamic
			got := quanttest.Objective(p, quanttest.Quantize(t, m, p).Dequantize())
			quanttest.Near(t, "tr(EHEᵀ)", got, quanttest.Objective(p, plain.Elimination{Format: m.Format, Scale: m.Scale, Damping: .01, ActOrder: c.actOrder, Dynamic: c.dynamic}.Quantize(p)), 1e-3)
			if _, ok := rtn[c.group]; !ok {
				rtn[c.group] = quanttest.Objective(p, quanttest.Quantize(t, RTN{m.Format, m.Scale}, p).Dequantize())
			}
			if !(got < rtn[c.group]) {
				t.Errorf("GPTQ %g is not below RTN %g", got, rtn[c.group])
			}
		})
	}
}

// Affine grids and searched scales go through the same loop.
func TestGPTQFormatsAgainstPlainElimination(t *testing.T) {
	p := quanttest.Problem(t, 12, 192, 13)
	for _, f := range []quant.Format{quant.Int4(32), {Bits: 4, Affine: true, Group: 32}, {Bits: 3, Affine: true}, {Bits: 2, Group: 64}, {Bits: 8, Group: 96}} {
		for _, s := range []grid.Scale{{Rule: grid.AbsMax}, {Rule: grid.SearchMSE, Norm: 2}, {Rule: grid.SearchMSE, Norm: 2.4}, {Rule: grid.SearchHessian}} {
			for _, actOrder := range []bool{true, false} {
				m := GPTQ{Format: f, Scale: s, Damping: .01, ActOrder: actOrder, DynamicGroups: !actOrder}
				want := plain.Elimination{Format: f, Scale: s, Damping: .01, ActOrder: actOrder, Dynamic: !actOrder}.Quantize(p)
				quanttest.Near(t, fmt.Sprintf("%s %v act=%v", f, s, actOrder), quanttest.Objective(p, quanttest.Quantize(t, m, p).Dequantize()), quanttest.Objective(p, want), 2e-3)
			}
		}
	}
}

// Groups that blocks of 128 columns do not divide must be fitted on corrected
// weights as well. Nearly all rows come out with the same codes; where one
// rounding falls the other way, all that follows in that row is another solution,
// as good as the first.
func TestGPTQDynamicGroupsAcrossBlocks(t *testing.T) {
	for _, size := range []int{48, 192, 96} {
		p := quanttest.Problem(t, 8, 576, 4)
		m := GPTQ{Format: quant.Int4(size), Scale: grid.Scale{Rule: grid.AbsMax}, Damping: .01, DynamicGroups: true}
		got := quanttest.Quantize(t, m, p).Dequantize()
		want := plain.Elimination{Format: m.Format, Scale: m.Scale, Damping: .01, Dynamic: true}.Quantize(p)
		same := 0
		for i := range 8 {
			if quanttest.Equal(got.View(i, i+1, 0, 576), want.View(i, i+1, 0, 576)) {
				same++
			}
		}
		if same < 6 {
			t.Errorf("group %d: %d of 8 rows are those of plain elimination", size, same)
		}
		quanttest.Near(t, fmt.Sprint("group ", size), quanttest.Objective(p, got), quanttest.Objective(p, want), 1e-2)
	}
}

func TestGPTQSingular(t *testing.T) {
	p := quanttest.Problem(t, 2, 16, 1)
	m := *p.Moments
	m.H = make([]float64, 256)
	for i := range m.H { // rank one
		m.H[i] = float64(i/16+1) * float64(i%16+1)
	}
	p.Moments = &m
	g := NewGPTQ(quant.Int4(16))
	g.Damping = 0
	if _, err := g.Quantize(p); !errors.Is(err, ErrSingular) {
		t.Errorf("singular H: %v", err)
	}
}

// A dead channel is rounded to nearest and moves nothing else.
func TestGPTQDeadChannel(t *testing.T) {
	p := quanttest.Problem(t, 4, 32, 9)
	for j := range 32 {
		p.Moments.H[7*32+j], p.Moments.H[j*32+7] = 0, 0
	}
	m := NewGPTQ(quant.Int4(32))
	q := quanttest.Quantize(t, m, p)
	if len(q.Warnings) != 1 {
		t.Errorf("warnings %q, want one of a dead channel", q.Warnings)
	}
	a, b := q.Dequantize(), quanttest.Quantize(t, RTN{m.Format, m.Scale}, p).Dequantize()
	for i := range 4 {
		if a.Row(i)[7] != b.Row(i)[7] {
			t.Errorf("dead weight of row %d is %g, want %g", i, a.Row(i)[7], b.Row(i)[7])
		}
	}
}

// Dead channels change nothing but themselves: the others come out as in a
// layer that does not have them.
func TestGPTQWithoutDeadChannels(t *testing.T) {
	const k, live = 48, 40
	p := quanttest.Problem(t, 6, k, 10)
	order := make([]int, live)
	for j := range order {
		order[j] = j
	}
	for j := live; j < k; j++ {
		for i := range k {
			p.Moments.H[j*k+i], p.Moments.H[i*k+j] = 0, 0
		}
		for i := range 6 {
			p.Weights.Row(i)[j] /= 64 // so that scales of rows do not see them
		}
	}
	sub := quant.Problem{Name: "layer", Weights: p.Weights.View(0, 6, 0, live), Moments: p.Moments.Channels(order)}
	for _, actOrder := range []bool{true, false} {
		m := NewGPTQ(quant.Int4(0))
		m.Damping, m.ActOrder = .3, actOrder
		if !quanttest.Equal(quanttest.Quantize(t, m, p).Dequantize().View(0, 6, 0, live), quanttest.Quantize(t, m, sub).Dequantize()) {
			t.Errorf("act-order %v: dead channels change others", actOrder)
		}
	}
}
