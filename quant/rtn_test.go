package quant

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

func TestF16RoundTripAndTies(t *testing.T) {
	for h := range 1 << 16 {
		v := fromF16(uint16(h))
		if v != v {
			continue
		}
		if back := toF16(v); back != uint16(h) {
			t.Fatalf("%#x is %g, encoded %#x", h, v, back)
		}
		if h < 0x7bff { // between neighbours, ties go to the even one
			next := fromF16(uint16(h + 1))
			mid := (v + next) / 2
			if got := toF16(mid); got != uint16(h+h&1) {
				t.Fatalf("midpoint after %#x encoded %#x", h, got)
			}
			if got := toF16(math.Nextafter32(mid, next)); got != uint16(h+1) {
				t.Fatalf("above the midpoint after %#x encoded %#x", h, got)
			}
		}
	}
}

func TestRTNCodes(t *testing.T) {
	p := problem(t, 7, 96, 11)
	copy(p.Weights.Row(1)[:32], make([]float32, 32)) // a zero group
	for j := range 32 {
		p.Weights.Row(2)[j] = 3 // a constant one
		p.Weights.Row(3)[j] *= 1e-7
	}
	p.Weights.Row(4)[5] = 1e5 // one huge outlier
	q := quantize(t, RTN{Int4(32), Scale{Rule: AbsMax}}, p).Base
	for i := range 7 {
		for g := range 3 {
			var m float64
			for _, w := range p.Weights.Row(i)[g*32 : g*32+32] {
				m = math.Max(m, math.Abs(float64(w)))
			}
			bits := toF16(float32(m / 7))
			if q.Scales[i*3+g] != bits {
				t.Fatalf("scale [%d,%d] %#x, want %#x", i, g, q.Scales[i*3+g], bits)
			}
			for j := g * 32; j < g*32+32; j++ {
				want := 8
				if s := float64(fromF16(bits)); s > 0 {
					want = 8 + int(math.Max(-7, math.Min(7, math.RoundToEven(float64(p.Weights.Row(i)[j])/s))))
				}
				got := int(q.Codes[(i*96+j)/2] >> (j % 2 * 4) & 15)
				if got != want {
					t.Fatalf("code [%d,%d] %d, want %d", i, j, got, want)
				}
			}
		}
	}
	if b := q.BitsPerWeight(); b != 4.5 {
		t.Errorf("g32 stores %g bits per weight, want 4.5", b)
	}
}

func TestErrorsNameLayerAndValue(t *testing.T) {
	rtn := RTN{Int4(32), Scale{Rule: AbsMax}}
	nan := problem(t, 2, 32, 1)
	nan.Weights.Row(1)[3] = float32(math.NaN())
	huge := problem(t, 2, 32, 1)
	huge.Weights.Row(1)[3] = 1e6
	narrow := problem(t, 2, 32, 1)
	narrow.Weights = gemm.NewMatrix(2, 64)
	none := problem(t, 2, 32, 1)
	none.Moments = nil
	empty := none
	empty.Weights = Matrix{}
	for _, c := range []struct {
		m    Quantizer
		p    Problem
		want string
	}{
		{rtn, nan, "layer: weight [1,3] is NaN"},
		{rtn, huge, "layer: row 1, group 0: scale 142857"},
		{rtn, narrow, "layer: moments of K=32 for weights of K=64"},
		{rtn, empty, "layer: empty weight matrix [0,0]"},
		{RTN{Format{Bits: 4, Group: 32, Kind: MXFP4}, Scale{Rule: AbsMax}}, problem(t, 2, 40, 1), "layer: K=40 not divisible by group 32"},
		{RTN{Int4(32), Scale{Rule: SearchHessian}}, none, "layer: needs second moments"},
		{RTN{Int4(32), Scale{}}, none, "unknown scale rule"},
		{NewGPTQ(Int4(32)), none, "layer: needs second moments"},
		{NewMosaic(rtn, 4, 4, 1.5), problem(t, 2, 32, 1), "layer: residual density 1.5"},
		{NewMosaic(NewSpQR(Int4(32), .1), 4, 4, .5), problem(t, 2, 32, 1), "plain dense base"},
		{NewSpQR(Int4(32), math.NaN()), problem(t, 2, 32, 1), "layer: outlier share NaN"},
	} {
		if _, err := c.m.Quantize(c.p); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// Moments of two batches, by their definitions.
func TestMoments(t *testing.T) {
	x := Matrix{Rows: 3, Cols: 2, Stride: 2, Data: []float32{1, -2, -3, 4, 5, -9}}
	a := NewAccumulator(2)
	for _, part := range []Matrix{x.View(0, 1, 0, 2), x.View(1, 3, 0, 2)} {
		if err := a.Add(part); err != nil {
			t.Fatal(err)
		}
	}
	m, err := a.Finish()
	if err != nil {
		t.Fatal(err)
	}
	third := func(sum float64) float64 { return float64(float32(sum / 3)) }
	for i, want := range []float64{2 * third(35), 2 * third(-59), 2 * third(-59), 2 * third(101)} {
		near(t, "second moment", m.H[i], want, 1e-7)
	}
	for j := range 2 {
		near(t, "mean", float64(m.Mean[j]), third([]float64{3, -7}[j]), 1e-7)
		near(t, "mean of magnitudes", float64(m.MeanAbs[j]), third([]float64{9, 15}[j]), 1e-7)
	}
	if m.Tokens != 3 || !slices.Equal(m.AbsMax, []float32{5, 9}) {
		t.Errorf("%d tokens, maxima %v", m.Tokens, m.AbsMax)
	}
}

func TestMomentsThatNeverRan(t *testing.T) {
	if _, err := NewAccumulator(4).Finish(); err == nil {
		t.Error("no tokens: no error")
	}
	a := NewAccumulator(4)
	if err := a.Add(gemm.NewMatrix(8, 4)); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Finish(); err == nil || !strings.Contains(err.Error(), "norm whose weights are all 0") {
		t.Errorf("constant h: %v", err)
	}
	x := gemm.NewMatrix(1, 4)
	x.Data[2] = float32(math.Inf(1))
	if err := NewAccumulator(4).Add(x); err == nil || !strings.Contains(err.Error(), "token 0, channel 2") {
		t.Errorf("infinite activation: %v", err)
	}
}

// randomMoments are those of 4k tokens of k channels.
func randomMoments(t testing.TB, k int) *Moments {
	t.Helper()
	draw := rand.New(rand.NewPCG(2, uint64(k)))
	x := gemm.NewMatrix(4*k, k)
	for i := range x.Data {
		x.Data[i] = float32(draw.NormFloat64())
	}
	a := NewAccumulator(k)
	if err := a.Add(x); err != nil {
		t.Fatal(err)
	}
	m, err := a.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func encoded(t testing.TB, m *Moments) []byte {
	var buf bytes.Buffer
	if err := m.Encode(&buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func decodeMoments(data []byte) (*Moments, error) {
	return DecodeMoments(bytes.NewReader(data), int64(len(data)))
}

func TestMomentsBinary(t *testing.T) {
	m := randomMoments(t, 12)
	data := encoded(t, m)
	back, err := decodeMoments(data)
	if err != nil {
		t.Fatal(err)
	}
	for i := range m.H {
		if m.H[i] != back.H[i] {
			t.Fatalf("H[%d] differs", i)
		}
	}
	if !slices.Equal(m.AbsMax, back.AbsMax) || !slices.Equal(m.Mean, back.Mean) || !slices.Equal(m.MeanAbs, back.MeanAbs) || m.Tokens != back.Tokens {
		t.Error("maxima, means or tokens differ")
	}
	for n := range data {
		if _, err := decodeMoments(data[:n]); err == nil {
			t.Fatalf("truncation to %d bytes is not noticed", n)
		}
		if _, err := DecodeMoments(bytes.NewReader(data[:n]), int64(len(data))); err == nil {
			t.Fatalf("end after %d bytes is not noticed", n)
		}
	}
}

func FuzzMoments(f *testing.F) {
	f.Add(encoded(f, randomMoments(f, 3)))
	f.Add(encoded(f, randomMoments(f, 1)))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodeMoments(data)
		if err != nil {
			return
		}
		// What is accepted is whole, and what Finish would have let through.
		if err := m.check(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(encoded(t, m), data) {
			t.Fatal("encoded again, the moments differ")
		}
	})
}

// A scale below half precision's normal range is stored as a multiple of 2^-24,
// and weights follow the scale that is stored; below half of that there is none.
func TestSubnormalScales(t *testing.T) {
	for _, c := range []struct{ largest, scale float32 }{
		{7 * 0x1p-14, 0x1p-14},          // smallest normal
		{7 * 0x1p-15, 0x1p-15},          // subnormal, exact
		{7 * 0x1.8p-23, 0x1.8p-23},      // three units
		{7 * 0x1.2p-24, 0x1p-24},        // rounds down to the smallest
		{7 * 0x1p-25, 0}, {0x1p-140, 0}, // tie to even, far below
	} {
		p := problem(t, 1, 16, 5)
		p.Moments = nil
		for j := range p.Weights.Data {
			p.Weights.Data[j] = c.largest * float32(j-8) / 8
		}
		q := quantize(t, RTN{Int4(16), Scale{Rule: AbsMax}}, p)
		if got := fromF16(q.Base.Scales[0]); got != c.scale {
			t.Errorf("weights up to %g: scale %g, want %g", c.largest, got, c.scale)
		}
		// Clipping by a scale rounded down may cost more than half a step.
		for j, v := range q.Dequantize().Data {
			w := p.Weights.Data[j]
			bound := max(c.scale/2, c.largest-7*c.scale)
			if d := w - v; !(d <= bound && d >= -bound) || c.scale == 0 && v != 0 {
				t.Errorf("weights up to %g: %g became %g", c.largest, w, v)
			}
		}
	}
}

func TestDistortion(t *testing.T) {
	p := problem(t, 11, 150, 3)
	q := quantize(t, NewGPTQ(Int4(0)), p)
	lost, total := Distortion(p.Weights, q, p.Moments)
	near(t, "tr(EHEᵀ)", lost, objective(p, q.Dequantize()), 1e-4)
	near(t, "tr(WHWᵀ)", total, objective(p, gemm.NewMatrix(11, 150)), 1e-4)
}

func TestActivations(t *testing.T) {
	x := Matrix{Rows: 1, Cols: 5, Stride: 5, Data: []float32{7, -3.4, 0.5, 14, 1}}
	Activations{Bits: 4, Group: 3}.Apply(x)
	for j, want := range []float32{7, -3, 0, 14, 0} {
		if x.Data[j] != want {
			t.Errorf("a4: x[%d]=%g, want %g", j, x.Data[j], want)
		}
	}
	x.Data[1] = float32(math.Inf(1))
	A8.Apply(x)
	for j, v := range x.Data {
		if v == v {
			t.Errorf("a8 of an infinite token: x[%d]=%g, want NaN", j, v)
		}
	}
	if _, err := ParseActivations("a5"); err == nil {
		t.Error("a5 is accepted")
	}
}
