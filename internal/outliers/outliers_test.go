package outliers

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

func gaussian(rows, cols int, seed uint64) gemm.Matrix {
	m, rng := gemm.NewMatrix(rows, cols), rand.New(rand.NewPCG(seed, 0))
	for i := range m.Data {
		m.Data[i] = float32(rng.NormFloat64())
	}
	return m
}

func stats(t *testing.T, w gemm.Source) Stats {
	t.Helper()
	s, err := Of(w)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func near(t *testing.T, what string, got, want, tol float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tol) {
		t.Errorf("%s: %v, want %v ± %v", what, got, want, tol)
	}
}

// TestGaussian has the textbook values, with five standard errors: that of a
// kurtosis is √(24/n).
func TestGaussian(t *testing.T) {
	s := stats(t, gaussian(400, 500, 1))
	n := 400 * 500.0
	near(t, "mean", s.Mean, 0, 5/math.Sqrt(n))
	near(t, "rms", s.RMS, 1, 5/math.Sqrt(2*n))
	near(t, "kurtosis", s.Kurtosis, 0, 5*math.Sqrt(24/n))
	if s.Far != 0 || s.MaxOverRMS < 4 || s.MaxOverRMS > 6 || s.ColRMS > 1.2 || s.RowPeak > 2 {
		t.Errorf("%+v", s)
	}
}

// TestPlanted plants a channel, a row and single elements, and finds exactly
// these.
func TestPlanted(t *testing.T) {
	w := gaussian(256, 384, 2)
	plain := stats(t, w)
	for i := range w.Rows {
		w.Row(i)[77] *= 40
	}
	s := stats(t, w)
	if s.Top[0].Index != 77 || s.Top[0].Ratio != s.ColRMS {
		t.Errorf("largest channel %+v", s.Top)
	}
	near(t, "channel ratio", s.ColRMS, 40, 6)
	if s.Top[1].Ratio > 1.3 || s.ColPeak < 25 || s.RowPeak > 5 || s.Kurtosis < 100 {
		t.Errorf("a channel: %+v", s)
	}

	w = gaussian(256, 384, 2)
	for j, v := range w.Row(9) {
		w.Row(9)[j] = 40 * v
	}
	if s := stats(t, w); s.RowPeak < 25 || s.ColRMS > 5 || s.Kurtosis < 100 {
		t.Errorf("a row: %+v", s)
	}

	w = gaussian(256, 384, 2)
	for i := range 12 {
		w.Row(20 * i)[30*i] = 30
	}
	s = stats(t, w)
	near(t, "far", s.Far, 12.0/(256*384), 0)
	near(t, "max over rms", s.MaxOverRMS, 30/s.RMS, 1e-12)
	if plain.Far != 0 || s.Kurtosis < plain.Kurtosis+50 {
		t.Errorf("kurtosis %v, without outliers %v", s.Kurtosis, plain.Kurtosis)
	}
}

// TestNaive compares with sums about the true mean, where the mean is far
// from zero, and with any cut of the rows.
func TestNaive(t *testing.T) {
	w := gaussian(67, 33, 3)
	for i := range w.Data {
		w.Data[i] = 1000 + w.Data[i]*w.Data[i]*w.Data[i]
	}
	n, mean := float64(len(w.Data)), 0.0
	for _, v := range w.Data {
		mean += float64(v) / n
	}
	var m2, m4, far float64
	for _, v := range w.Data {
		d := float64(v) - mean
		m2, m4 = m2+d*d/n, m4+d*d*d*d/n
	}
	for _, v := range w.Data {
		if math.Abs(float64(v)-mean) > 6*math.Sqrt(m2) {
			far++
		}
	}
	for _, step := range []int{1, 2, 16, 67} {
		c := NewCollector(33)
		for range 2 {
			for i := 0; i < 67; i += step {
				c.Add(w.View(i, min(67, i+step), 0, 33))
			}
			if !c.second {
				c.Turn()
			}
		}
		s, err := c.Stats()
		if err != nil {
			t.Fatal(err)
		}
		near(t, "mean", s.Mean, mean, 1e-9)
		near(t, "kurtosis", s.Kurtosis, m4/(m2*m2)-3, 1e-6)
		near(t, "far", s.Far, far/n, 0)
		if far == 0 || s.Rows != 67 || s.Cols != 33 {
			t.Errorf("%v far, %+v", far, s)
		}
	}
}

// TestUndefined: what has no value is NaN or an error, not a number.
func TestUndefined(t *testing.T) {
	s := stats(t, gemm.NewMatrix(4, 5))
	for _, v := range []float64{s.Kurtosis, s.MaxOverRMS, s.RowPeak, s.ColPeak, s.ColRMS, s.Top[0].Ratio} {
		if !math.IsNaN(v) {
			t.Errorf("zeros: %+v", s)
		}
	}
	one := gemm.NewMatrix(3, 4)
	one.Row(1)[2] = 1
	if s := stats(t, one); !math.IsNaN(s.RowPeak) || !math.IsNaN(s.ColRMS) || s.Top[0].Index != 2 || !(s.Kurtosis > 0) {
		t.Errorf("one element: %+v", s)
	}
	one.Row(2)[3] = float32(math.NaN())
	if _, err := Of(one); err == nil || !strings.Contains(err.Error(), "[2,3]") {
		t.Errorf("NaN: %v", err)
	}
	if _, err := NewCollector(3).Stats(); err == nil {
		t.Error("nothing was added and no error")
	}
	c := NewCollector(4)
	c.Add(gemm.NewMatrix(2, 4))
	c.Turn()
	c.Add(gemm.NewMatrix(1, 4))
	if _, err := c.Stats(); err == nil {
		t.Error("half a second pass and no error")
	}
}
