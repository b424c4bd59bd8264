package quant

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// published is what scripts/golden/published.py wrote: results of the authors'
// and of other published implementations.
type published struct {
	Microscaling map[string]struct{ Scales, Values []float64 }
	SmoothQuant  []struct {
		Alpha          float64
		Scales, Weight []float64
	}
	GPTQ []struct {
		Group     int
		ActOrder  bool `json:"act_order"`
		Dynamic   bool
		Objective float64
		Row       []float64 // row 3
	}
	AWQ []struct {
		Affine                    bool
		Losses, Scales, Clip, Row []float64
	}
	Int8 struct{ Codes, Largest []float64 }
	Any4 struct{ Tables, Scales, Zeros, Values []float64 }
	SpQR struct {
		Bilevel3 []float64 `json:"bilevel 3"`
		Bilevel4 []float64 `json:"bilevel 4"`
		Gains    []float64 // rows 2..5
	}
}

func readPublished(t *testing.T) (p published) {
	t.Helper()
	data, err := os.ReadFile("../testdata/published.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &p); err != nil {
		t.Fatal(err)
	}
	return p
}

func drawn(n, k int, seed uint64) Matrix {
	m := gemm.NewMatrix(n, k)
	integers(m, seed)
	return m
}

func momentsOf(t *testing.T, x Matrix) *Moments {
	t.Helper()
	a := NewAccumulator(x.Cols)
	if err := a.Add(x); err != nil {
		t.Fatal(err)
	}
	m, err := a.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// differing counts the elements of got that are not want to a relative tol.
func differing(t *testing.T, got []float32, want []float64, tol float64) (n int) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d values, want %d", len(got), len(want))
	}
	for i, v := range got {
		if !(math.Abs(float64(v)-want[i]) <= tol*math.Abs(want[i])) {
			n++
		}
	}
	return n
}

// Scales and values of torchao, to the last bit but for one rounding of a
// product in float32.
func TestMicroscalingPublished(t *testing.T) {
	w := drawn(6, 128, 7)
	for i := range w.Rows {
		for j := range w.Cols {
			w.Row(i)[j] *= float32(math.Exp2(float64(3 - i)))
		}
	}
	clear(w.Row(1)[32:64])
	w.Row(2)[5] = 61
	golden := readPublished(t).Microscaling
	for name, m := range map[string]RTN{
		"mxfp4 floor": {Format{Bits: 4, Group: 32, Kind: MXFP4}, Scale{Rule: AbsMax}},
		"mxfp4 rceil": {Format{Bits: 4, Group: 32, Kind: MXFP4}, Scale{Rule: Ceil}},
		"nvfp4":       {Format{Bits: 4, Group: 16, Kind: NVFP4}, Scale{Rule: AbsMax}},
	} {
		q, want := quantize(t, m, Problem{Name: "golden", Weights: w}), golden[name]
		if len(want.Scales) != len(q.Base.ScaleBytes) {
			t.Fatalf("%s: %d scales, want %d", name, len(q.Base.ScaleBytes), len(want.Scales))
		}
		for i, b := range q.Base.ScaleBytes {
			got := float64(b)
			if m.Format.Kind == NVFP4 {
				if got = fromE4M3(b); b == 0 && want.Scales[i] <= 0x1p-6 {
					continue // of a zero block, where torchao keeps the smallest normal scale
				}
			}
			if got != want.Scales[i] {
				t.Errorf("%s: scale %d is %g, want %g", name, i, got, want.Scales[i])
			}
		}
		if n := differing(t, q.Dequantize().Data, want.Values, 2e-7); n > 0 {
			t.Errorf("%s: %d values differ", name, n)
		}
	}
}

// Scales of the authors' smooth_ln_fcs, and a row of what it makes of weights.
func TestSmoothQuantPublished(t *testing.T) {
	x := drawn(96, 48, 11)
	for i := range x.Rows {
		for j := 5; j < 48; j += 11 {
			x.Row(i)[j] *= 32
		}
	}
	ws := []Matrix{drawn(32, 48, 12), drawn(16, 48, 13)}
	top := make([]float32, 48)
	for _, w := range ws {
		for i := range w.Data {
			w.Data[i] /= 8
		}
		RaiseColumnMax(top, w)
	}
	m := momentsOf(t, x)
	cases := readPublished(t).SmoothQuant
	if len(cases) != 5 {
		t.Fatalf("%d cases, want 5", len(cases))
	}
	for _, c := range cases {
		s := SmoothScales(m.AbsMax, top, c.Alpha)
		row := make([]float32, 48)
		for j, v := range ws[1].Row(3) {
			row[j] = v * s[j]
		}
		if n := differing(t, s, c.Scales, 1e-6); n > 0 {
			t.Errorf("alpha %g: %d scales differ", c.Alpha, n)
		}
		if n := differing(t, row, c.Weight, 1e-6); n > 0 {
			t.Errorf("alpha %g: %d weights differ", c.Alpha, n)
		}
	}
}

// correlated repeats the problem of that name in published.py.
func correlated(t *testing.T) Problem {
	t.Helper()
	x := drawn(768, 256, 2)
	for i := range x.Rows {
		row := x.Row(i)
		for j := 255; j > 0; j-- {
			row[j] += row[j-1] / 2
		}
		for j := 5; j < 256; j += 37 {
			row[j] *= 4
		}
	}
	return Problem{Name: "golden", Weights: drawn(16, 256, 1), Moments: momentsOf(t, x)}
}

// AutoGPTQ, which has the authors' loop: the same weights but where a rounding
// falls the other way and moves all that follow it.
func TestGPTQPublished(t *testing.T) {
	p := correlated(t)
	cases := readPublished(t).GPTQ
	if len(cases) != 4 {
		t.Fatalf("%d cases, want 4", len(cases))
	}
	for _, c := range cases {
		m := GPTQ{Format: Format{Bits: 4, Affine: true, Group: c.Group}, Scale: Scale{Rule: AbsMax}, Damping: .01, ActOrder: c.ActOrder, DynamicGroups: c.Dynamic}
		w := quantize(t, m, p).Dequantize()
		name := fmt.Sprintf("g%d act=%v dynamic=%v", c.Group, c.ActOrder, c.Dynamic)
		near(t, name, objective(p, w), c.Objective, 2e-3)
		n := differing(t, w.Row(3), c.Row, 1e-6)
		t.Logf("%s: %d of 256 weights differ", name, n)
		if n > 8 {
			t.Errorf("%s: %d of 256 weights differ", name, n)
		}
	}
}

// AutoAWQ's losses of the 20 candidates, the scales of the best, its rounding
// and, for symmetric grids, its clipping. (Affine grids are clipped in another
// way, see SearchClip.) Scales are half precision here.
func TestAWQPublished(t *testing.T) {
	x := drawn(512, 128, 2)
	for i := range x.Rows {
		for j := 5; j < 128; j += 37 {
			x.Row(i)[j] *= 8
		}
	}
	p := Problem{Name: "golden", Weights: drawn(64, 128, 1), Moments: momentsOf(t, x)}
	cases := readPublished(t).AWQ
	if len(cases) != 2 {
		t.Fatalf("%d cases, want 2", len(cases))
	}
	for _, c := range cases {
		f := Format{Bits: 4, Affine: c.Affine, Group: 32}
		rtn := RTN{f, Scale{Rule: AbsMax}}
		if len(c.Losses) != 20 {
			t.Fatalf("%d losses, want 20", len(c.Losses))
		}
		best := 0
		for i, want := range c.Losses {
			q, err := quantizeScaled(p, rtn, awqScales(p.Moments, float64(i)/20))
			if err != nil {
				t.Fatal(err)
			}
			// Theirs is a mean over tokens and outputs, H twice a mean over tokens.
			near(t, fmt.Sprintf("%s: loss %d", f, i), objective(p, q.Dequantize())/2/64, want, 5e-3)
			if want < c.Losses[best] {
				best = i
			}
		}
		var scales []float32
		for _, s := range quantize(t, AWQ{rtn, f}, p).ChannelScales {
			scales = append(scales, fromF16(s))
		}
		if n := differing(t, scales, c.Scales, 1e-3); n > 0 || best == 0 {
			t.Errorf("%s: %d scales of the best of 20 differ, it is number %d", f, n, best)
		}
		if n := differing(t, quantize(t, rtn, p).Dequantize().Row(3), c.Row, 1e-3); n > 1 {
			t.Errorf("%s: %d of 128 rounded weights differ", f, n)
		}
		if len(c.Clip) != 64*4 {
			t.Fatalf("%s: %d thresholds, want 256", f, len(c.Clip))
		}
		if c.Affine {
			continue
		}
		clipped, differ := quantize(t, RTN{f, Scale{Rule: SearchClip}}, p).Base, 0
		for i, want := range c.Clip {
			if got := 7 * float64(fromF16(clipped.Scales[i])); !(math.Abs(got-want) <= 1e-3*want) {
				differ++
			}
		}
		if differ > 4 { // two candidates of nearly the same loss
			t.Errorf("%s: %d of 256 groups are clipped elsewhere", f, differ)
		}
	}
}

// bitsandbytes' rows of LLM.int8(): the same codes but at ties, which scales in
// half precision move.
func TestInt8Published(t *testing.T) {
	golden := readPublished(t).Int8
	w := drawn(4, 64, 21)
	q := quantize(t, RTN{Format{Bits: 8}, Scale{Rule: AbsMax}}, Problem{Name: "golden", Weights: w}).Base
	differ := 0
	for i, want := range golden.Codes {
		if got := float64(q.Codes[i]) - 128; got != want {
			differ++
		}
	}
	if differ > 2 || len(golden.Codes) != 4*64 {
		t.Errorf("%d of %d codes differ", differ, len(golden.Codes))
	}
	for i, want := range golden.Largest {
		near(t, "largest weight", 127*float64(fromF16(q.Scales[i])), want, 5e-4)
	}
}

// The tables that any4's code ends with from evenly spaced centres, weighing as
// its published runs do, the scales and offsets of its groups, and its values.
// Half precision moves a weight by up to 0.01 of a step.
func TestAny4Published(t *testing.T) {
	golden := readPublished(t).Any4
	w := drawn(4, 256, 31)
	for i := range w.Rows {
		for j := 128; j < 256; j++ {
			w.Row(i)[j] *= 8
		}
	}
	f := fitter{format: Format{Bits: 4, Affine: true, Group: 128, Kind: Any4}, scale: Scale{Rule: AbsMax}}
	p := Problem{Name: "golden", Weights: w, Moments: &Moments{K: 256, Mean: drawn(1, 256, 32).Data}}
	weight, power, err := f.any4Weights(p, 256)
	if err != nil {
		t.Fatal(err)
	}
	differ := 0
	for i := range w.Rows {
		var grids []grid
		for g := range 2 {
			gr, err := f.any4(w.Row(i)[g*128:(g+1)*128], nil)
			if err != nil {
				t.Fatal(err)
			}
			near(t, "scale", gr.scale, golden.Scales[i*2+g], 5e-4)
			if d := gr.offset - golden.Zeros[i*2+g]; !(math.Abs(d) < .01*gr.scale) {
				t.Errorf("offset %g, want %g, of scale %g", gr.offset, golden.Zeros[i*2+g], gr.scale)
			}
			grids = append(grids, gr)
		}
		points := sortedPoints(any4Points(w.Row(i), w.Cols/len(grids), grids, weight, power, nil))
		lo, hi := points[0].value, points[len(points)-1].value
		centers := make([]float64, 16)
		for c := range centers {
			centers[c] = lo + (hi-lo)*float64(c)/15
		}
		for l := newLloyd(points); l.step(centers); {
		}
		for c, got := range centers {
			if want := golden.Tables[i*16+c] - 8; !(math.Abs(got-want) < .02) {
				t.Errorf("row %d: centre %d is %g, want %g", i, c, got, want)
			}
		}
		l := newLevels(centers)
		for j := range 256 {
			gr := grids[j/128]
			gr.levels = l
			if d := gr.value(gr.code(float64(w.Row(i)[j]))) - golden.Values[i*256+j]; !(math.Abs(d) < .04*gr.scale) {
				differ++
			}
		}
	}
	if differ > 8 { // halfway between two centres
		t.Errorf("%d of 1024 values differ", differ)
	}
}

// SpQR's two-level grid, and which weights its leave-one-out rule takes out of
// the fit of their group. Second-level numbers are half precision here.
func TestSpQRPublished(t *testing.T) {
	golden := readPublished(t).SpQR
	p := correlated(t)
	p.Weights.Row(2)[7], p.Weights.Row(5)[40] = 9, -7
	for bits, want := range map[int][]float64{3: golden.Bilevel3, 4: golden.Bilevel4} {
		f := Format{Bits: bits, Affine: true, Group: 16, Kind: Bilevel}
		q := quantize(t, RTN{f, Scale{Rule: AbsMax}}, p)
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
	m := NewGPTQ(Format{Bits: 4, Affine: true, Group: 16, Kind: Bilevel})
	m.ActOrder = false
	s, err := m.start(p)
	if err != nil {
		t.Fatal(err)
	}
	lambda := s.lambda()
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
