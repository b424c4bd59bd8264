package quant

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// activationInputs are those of scripts/golden/activations.py.
func activationInputs() Matrix {
	const tokens, k = 3, 64
	x := gemm.NewMatrix(tokens, k)
	seed := uint64(5)
	for i := range x.Data {
		seed = 6364136223846793005*seed + 1442695040888963407
		x.Data[i] = float32(int(seed>>56)-128) / 64
	}
	for j := range k {
		x.Row(1)[j] = float32(math.Abs(float64(x.Row(1)[j])))
	}
	for t := range tokens {
		x.Row(t)[7] *= 30
	}
	clear(x.Row(2)[32:48])
	return x
}

// TestGoldenActivations: formats of inputs are those of QuaRot's formulas and of
// ml_dtypes' numbers.
func TestGoldenActivations(t *testing.T) {
	data, err := os.ReadFile("testdata/activations.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden map[string][][]float64
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	formats := []Activations{
		{Bits: 4, Affine: true}, {Bits: 4, Group: 16, Affine: true, Clip: 0.9}, {Bits: 8, Group: 16}, {Bits: 4, Clip: 0.75},
	}
	for _, name := range []string{"fp8", "mxfp8", "mxfp4", "nvfp4"} {
		a, err := ParseActivations(name)
		if err != nil {
			t.Fatal(err)
		}
		formats = append(formats, a)
	}
	x := activationInputs()
	largest := make([]float32, x.Cols)
	for i := range x.Rows {
		for j, v := range x.Row(i) {
			largest[j] = max(largest[j], v, -v)
		}
	}
	formats = append(formats, Activations{Bits: 4, Group: 16}.WithWide(largest, 0.27)) // a quarter, in whole groups
	for _, a := range []Activations{{Bits: 8}, {Bits: 4, Group: 16}} {
		formats = append(formats, a.WithStatic(largest).WithSearched(x))
	}
	if len(golden) != len(formats) {
		t.Fatalf("%d formats in the golden file", len(golden))
	}
	for _, a := range formats {
		if err := a.Validate(); err != nil {
			t.Error(err)
		}
		x := activationInputs()
		a.Apply(x)
		name := a.String()
		if a.Channels != nil {
			name += " wide"
		}
		if a.Static != nil {
			name += " searched"
		}
		want := golden[name]
		if len(want) != x.Rows {
			t.Fatalf("%s: %d tokens in the golden file", a, len(want))
		}
		for i := range x.Rows {
			for j, v := range x.Row(i) {
				if d := math.Abs(float64(v) - want[i][j]); !(d <= 1e-6*math.Abs(want[i][j])) {
					t.Fatalf("%s: token %d, channel %d is %g, want %g", a, i, j, v, want[i][j])
				}
			}
		}
		x = activationInputs()
		x.Row(0)[3] = float32(math.Inf(1))
		a.Apply(x)
		if v := x.Row(0)[3]; v == v && a.Channels == nil || x.Row(1)[3] != x.Row(1)[3] {
			t.Errorf("%s: an infinite value gives %g", a, v)
		}
	}
}

// TestStaticActivations: scales found beforehand saturate what is larger, are those
// of inputs over channel scales where there are any, and equal those found at run
// time where the largest values are the same.
func TestStaticActivations(t *testing.T) {
	x := activationInputs()
	token := Matrix{Rows: 1, Cols: x.Cols, Stride: x.Cols, Data: slices.Clone(x.Row(0))}
	absMax := make([]float32, x.Cols)
	for j, v := range token.Data {
		absMax[j] = max(v, -v)
	}
	for a, scales := range map[Activations]int{{Bits: 8}: 1, {Bits: 4, Group: 16}: 4} {
		dynamic, static := token.Clone(), token.Clone()
		a.Apply(dynamic)
		s := a.WithStatic(absMax)
		s.Apply(static)
		if !slices.Equal(dynamic.Data, static.Data) || s.Static.Scales() != scales {
			t.Errorf("%s: %d scales, and the tokens differ", s, s.Static.Scales())
		}
		large := token.Clone()
		for j := range large.Data {
			large.Data[j] *= 10
		}
		s.Apply(large)
		if top := gemm.MaxAbs(absMax); !(gemm.MaxAbs(large.Data) <= top*1.0001) {
			t.Errorf("%s: %g beyond %g", s, gemm.MaxAbs(large.Data), top)
		}
	}
	scale := make([]float32, x.Cols)
	for j := range scale {
		scale[j] = 1 + float32(j%3)
	}
	over := Activations{Bits: 8}.WithStatic(absMax).over(scale)
	for j, v := range over.Static.channels {
		if v != absMax[j]/scale[j] {
			t.Fatalf("channel %d: %g", j, v)
		}
	}
	for _, bad := range []Activations{
		{Bits: 8, Float: FP8, Clip: 0.9}, {Bits: 4, Float: FP8}, {Bits: 4, Affine: true, Static: &Static{}},
		{Bits: 4, Clip: 1.5}, {Affine: true},
	} {
		if bad.Validate() == nil {
			t.Errorf("%s passes", bad)
		}
	}
}
