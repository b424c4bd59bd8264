package grid

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/mosaicquant/mosaicquant/quant"
)

// TestSearchLeavesNothingOut compares the search for a scale with one that tries all.
func TestSearchLeavesNothingOut(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for k := range fits {
		kind := quant.Kind(k)
		f := Fitter{Format: quant.Format{Kind: kind, Bits: 4, Group: 16}}
		if n := kind.FixedGroup(); n > 0 {
			f.Format.Group = n
		}
		for _, rule := range []Scale{{Rule: SearchHessian}, {Rule: SearchMSE, Norm: 2}, {Rule: SearchMSE, Norm: 2.4}} {
			f.Scale = rule
			if fitOf(kind).group != nil || f.Format.Validate() != nil || rule.of(f.Format) != nil {
				continue
			}
			t.Run(fmt.Sprint(f.Format, " ", rule), func(t *testing.T) {
				for range 150 {
					w, h, skip := randomGroup(r, f.Format.Group)
					f := f.ForMatrix(quant.Matrix{Rows: 1, Cols: len(w), Data: w, Stride: len(w)}, skip)
					got, err := f.Fit(w, h, quant.Matrix{}, skip)
					if err != nil {
						t.Fatal(err)
					}
					if want := f.exhaustive(w, h, skip); got != want {
						t.Fatalf("%v of %v, skipping %v: %+v, want %+v", rule, w, skip, got, want)
					}
				}
			})
		}
	}
}

func randomGroup(r *rand.Rand, n int) (w []float32, h []float64, skip []bool) {
	w, h = make([]float32, n), make([]float64, n)
	if r.IntN(3) == 0 {
		skip = make([]bool, n)
	}
	for i := range w {
		w[i], h[i] = float32(r.NormFloat64()), math.Exp(2*r.NormFloat64())
		if r.IntN(n) == 0 {
			w[i] *= 8
		}
		if r.IntN(n) == 0 {
			h[i] = 0
		}
		if skip != nil {
			skip[i] = r.IntN(4) == 0
		}
	}
	if r.IntN(4) == 0 { // of one sign, but for what is skipped
		for i := range w {
			if skip == nil || !skip[i] {
				w[i] = float32(math.Abs(float64(w[i])))
			} else {
				w[i] *= 20
			}
		}
	}
	return w, h, skip
}

// exhaustive is Fit without any short cut.
func (f Fitter) exhaustive(w []float32, h []float64, skip []bool) Grid {
	var lo, hi float64
	for i, x := range w {
		if skip == nil || !skip[i] {
			lo, hi = min(lo, float64(x)), max(hi, float64(x))
		}
	}
	best, _ := f.grid(lo, hi)
	if best.Scale == 0 {
		return best
	}
	least := math.Inf(1)
	for i := fitOf(f.Format.Kind).first; i < 80; i++ {
		g, _ := f.grid(lo*(1-float64(i)*.01), hi*(1-float64(i)*.01))
		if e := f.loss(&g, w, h, quant.Matrix{}, skip, math.Inf(1)); e < least {
			least, best = e, g
		}
	}
	return best
}
