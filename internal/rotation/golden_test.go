package rotation

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// golden is what scripts/golden/rotations.py wrote.
type golden struct {
	Hadamard []struct {
		N int       `json:"n"`
		Y []float64 `json:"y"`
	} `json:"hadamard"`
	DuQuant struct {
		Q, Spread, Channel, Token []float64
		Zigzag                    []int
	} `json:"duquant"`
	Principal struct{ Share float64 }
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

// TestGoldenDuQuant: DuQuant's permutation and rotations, read anew in numpy.
func TestGoldenDuQuant(t *testing.T) {
	const n, k, tokens = 8, 32, 12
	g := readGolden(t).DuQuant
	x := gemm.Matrix{Rows: tokens, Cols: k, Stride: k, Data: integers(tokens*k, 2)}
	for i := range tokens {
		x.Row(i)[5] *= 30
		x.Row(i)[20] *= 10
	}
	if got := Zigzag(columnMax(x), n); !slices.Equal(got, g.Zigzag) {
		t.Errorf("permutation %v, want %v", got, g.Zigzag)
	}
	spread := Spread(n, mat.NewDense(n-1, n-1, g.Q))
	same := func(what string, got *mat.Dense, want []float64) {
		if d := mat.Norm(sub(got, mat.NewDense(n, n, want)), 2); !(d < 1e-5) {
			t.Errorf("%s: off by %g", what, d)
		}
	}
	same("spread", spread, g.Spread)
	same("rotation by channels", Greedy(x, spread, 20, false), g.Channel)
	same("rotation by tokens", Greedy(x, spread, 20, true), g.Token)
	if slices.Equal(g.Channel, g.Token) {
		t.Error("channels and tokens are not told apart")
	}
}

func sub(a, b *mat.Dense) *mat.Dense {
	var d mat.Dense
	d.Sub(a, b)
	return &d
}

// TestGoldenPrincipal: the share of energy in the top subspace is that of numpy's eigh.
func TestGoldenPrincipal(t *testing.T) {
	const n, top, tokens = 12, 3, 40
	x := gemm.Matrix{Rows: tokens, Cols: n, Stride: n, Data: integers(tokens*n, 3)}
	for i := range tokens {
		for j := range n {
			x.Row(i)[j] *= float32(1 + j*j)
		}
	}
	h := make([]float64, n*n)
	gemm.Syrk(h, x)
	for i := range n {
		for j := range i {
			h[i*n+j] = h[j*n+i]
		}
	}
	r, err := Principal(h, n, top, 1)
	if err != nil {
		t.Fatal(err)
	}
	NewDense(r).Inputs(x)
	var in, all float64
	for i := range tokens {
		for j, v := range x.Row(i) {
			all += float64(v) * float64(v)
			if j >= n-top {
				in += float64(v) * float64(v)
			}
		}
	}
	if want := readGolden(t).Principal.Share; !(math.Abs(in/all-want) < 1e-5) {
		t.Errorf("share %g, want %g", in/all, want)
	}
}
