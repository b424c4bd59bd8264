package rotation

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// golden is what scripts/golden/rotations.py wrote.
type golden struct {
	Hadamard []struct {
		N int       `json:"n"`
		Y []float64 `json:"y"`
	} `json:"hadamard"`
}

func readGolden(t *testing.T) (g golden) {
	t.Helper()
	data, err := os.ReadFile("testdata/rotations.json")
	if err == nil {
		err = json.Unmarshal(data, &g)
	}
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// integers are those of the generator's function of that name.
func integers(count int, seed uint64) []float32 {
	out := make([]float32, count)
	for i := range out {
		seed = 6364136223846793005*seed + 1442695040888963407
		out[i] = float32(int(seed>>56) - 128)
	}
	return out
}

// TestGoldenHadamard: scipy's Hadamard matrices, and Paley's written in Python.
func TestGoldenHadamard(t *testing.T) {
	cases := readGolden(t).Hadamard
	if len(cases) != 5 {
		t.Fatalf("%d cases", len(cases))
	}
	for _, c := range cases {
		x := gemm.Matrix{Rows: 1, Cols: c.N, Stride: c.N, Data: integers(c.N, uint64(c.N))}
		NewHadamard(c.N, 1).Inputs(x)
		for i, v := range x.Data {
			if d := math.Abs(float64(v) - c.Y[i]); !(d < 1e-3) {
				t.Fatalf("%d channels: channel %d is %g, want %g", c.N, i, v, c.Y[i])
			}
		}
	}
}
