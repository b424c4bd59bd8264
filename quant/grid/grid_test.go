package grid

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
)

// The code of a number is that of the level nearest to it, for every grid that a
// matrix can lead to; levels are codes of themselves.
func TestNearestLevel(t *testing.T) {
	p := quanttest.Problem(t, 4, 96, 3)
	for _, f := range quanttest.Kinds() {
		grids, err := FitAll(p, p.Weights, Fitter{Format: f, Scale: Scale{Rule: AbsMax}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		draw := rand.New(rand.NewPCG(1, 2))
		for range 2000 {
			g := &grids[draw.IntN(len(grids))]
			w := draw.NormFloat64() * 2
			got := g.Code(w)
			for u := g.Lo; u <= g.Hi; u++ {
				if math.Abs(w-g.Value(uint8(u))) < math.Abs(w-g.Value(got))-1e-12 {
					t.Fatalf("%s: %g has code %d (%g), but %d is %g", f, w, got, g.Value(got), u, g.Value(uint8(u)))
				}
			}
			if v := g.Value(got); g.Value(g.Code(v)) != v {
				t.Fatalf("%s: level %g is coded as another", f, v)
			}
		}
	}
}

// What the loops take a code for is what is decoded.
func TestGridsEqualDecoding(t *testing.T) {
	p := quanttest.Problem(t, 18, 96, 8)
	for _, f := range quanttest.Kinds() {
		grids, err := FitAll(p, p.Weights, Fitter{Format: f, Scale: Scale{Rule: AbsMax}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		size, groups := f.Groups(96)
		codes := make([]uint8, 18*96)
		draw := rand.New(rand.NewPCG(3, 3))
		for i := range codes {
			g := &grids[i/96*groups+i%96/size]
			codes[i] = uint8(g.Lo + draw.IntN(g.Hi-g.Lo+1))
		}
		w := gemm.NewMatrix(18, 96)
		Pack(18, 96, f, codes, grids).Load(w, 0, 0)
		for i, v := range w.Data {
			g := &grids[i/96*groups+i%96/size]
			if want := g.Value(codes[i]); !(math.Abs(float64(v)-want) <= 1e-6*(math.Abs(want)+math.Abs(g.Offset))) {
				t.Fatalf("%s: code %d is decoded as %g, was taken for %g", f, codes[i], v, want)
			}
		}
	}
}

// A scale is stored as the nearest number that its kind can store.
func TestStorableScales(t *testing.T) {
	draw := rand.New(rand.NewPCG(6, 6))
	for _, g := range []Grid{{kind: quant.Integer}, {kind: quant.NF4}, {kind: quant.MXFP4}, {kind: quant.NVFP4, tensor: 3e-3}} {
		decode := func(bits int) float64 {
			switch g.kind {
			case quant.MXFP4:
				return half.FromE8M0(uint8(bits))
			case quant.NVFP4:
				return g.nvScale(uint8(bits))
			}
			return float64(half.FromF16(uint16(bits)))
		}
		for range 500 {
			s := math.Exp(4*draw.Float64() - 4)
			bits, got := g.Storable(s)
			if decode(int(bits)) != got {
				t.Fatalf("kind %d: bits %#x are %g, not %g", g.kind, bits, decode(int(bits)), got)
			}
			for _, other := range []float64{decode(int(bits) - 1), decode(int(bits) + 1)} {
				if math.Abs(other-s) < math.Abs(got-s)*(1-1e-6) {
					t.Errorf("kind %d: %g is stored as %g, but %g is nearer", g.kind, s, got, other)
				}
			}
		}
	}
}

// The tensor scale of NVFP4 is that of the weights that count.
func TestTensorScaleOfWeightsThatCount(t *testing.T) {
	p := quanttest.Problem(t, 4, 32, 15)
	p.Weights.Row(2)[5] = -50
	skip := make([]bool, 4*32)
	skip[2*32+5] = true
	f := Fitter{Format: quant.Format{Bits: 4, Group: 16, Kind: quant.NVFP4}, Scale: Scale{Rule: AbsMax}}
	with := f.ForMatrix(p.Weights, nil).tensor
	without := f.ForMatrix(p.Weights, skip).tensor
	p.Weights.Row(2)[5] = 0
	if want := f.ForMatrix(p.Weights, nil).tensor; without != want || with != 50./(6*448) {
		t.Errorf("tensor scale %g without an outlier of 50, want %g; %g with it", without, want, with)
	}
}
