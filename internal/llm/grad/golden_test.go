package grad

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/rotation"
	"github.com/mosaicquant/mosaicquant/quant"
)

// integers are those of the generator's function of that name.
func integers(count int, seed uint64) []float64 {
	out := make([]float64, count)
	for i := range out {
		seed = 6364136223846793005*seed + 1442695040888963407
		out[i] = float64(int(seed>>56) - 128)
	}
	return out
}

// reflected is the product of two reflections, the generator's rotation.
func reflected(n int, seed uint64) gemm.Matrix {
	r := repeated(table{{1}}, n)
	for s := seed; s < seed+2; s++ {
		u := table{integers(n, s)}
		square := u.times(u, true)[0][0]
		ru := r.times(u.transpose(), false)
		for i := range n {
			for j := range n {
				r[i][j] -= 2 * ru[i][0] * u[0][j] / square
			}
		}
	}
	m := gemm.NewMatrix(n, n)
	for i := range n {
		for j, v := range r[i] {
			m.Row(i)[j] = float32(v)
		}
	}
	return m
}

// TestGolden: loss and gradient are those of torch's autograd through transformers'
// graph, with inputs rounded to 4 bits, see scripts/golden/spinquant.py.
func TestGolden(t *testing.T) {
	text, err := os.ReadFile("testdata/spinquant.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Cases []struct {
			Model     string
			Sequences [][]int32
			Loss      float64
			Gradient  [][2][]float64
		}
	}
	if err := json.Unmarshal(text, &golden); err != nil || len(golden.Cases) != len(models) {
		t.Fatalf("%d cases, %v", len(golden.Cases), err)
	}
	for _, want := range golden.Cases {
		m := open(t, want.Model)
		c := m.Config()
		n := newNet(t, m, rotation.NewHadamard(c.MLPSize, 0), Rounding(quant.Activations{Bits: 4, Affine: true}))
		r := Rotations{reflected(c.HiddenSize, 11)}
		for l := range c.Layers {
			r = append(r, reflected(c.HeadDim, 21+2*uint64(l)))
		}
		loss, g, err := n.Gradient(t.Context(), r, want.Sequences)
		if err != nil {
			t.Fatal(err)
		}
		if !(math.Abs(loss-want.Loss) < 1e-5*want.Loss) {
			t.Errorf("%s: loss %.8g, want %.8g", want.Model, loss, want.Loss)
		}
		for i, k := range g {
			for col, w := range want.Gradient[i] {
				u := integers(k.Rows, 41+uint64(col))
				var off, size float64
				for a := range k.Rows {
					got := 0.0
					for b, v := range k.Row(a) {
						got += float64(v) * u[b]
					}
					off, size = max(off, math.Abs(got-w[a])), max(size, math.Abs(w[a]))
				}
				if !(off < 2e-5*size) {
					t.Errorf("%s: rotation %d: gradient differs by %.2g of the largest", want.Model, i, off/size)
				}
			}
		}
	}
}
