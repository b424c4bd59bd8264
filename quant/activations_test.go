package quant

import (
	"math"
	"testing"
)

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
