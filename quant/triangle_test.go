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
