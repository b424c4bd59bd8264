package codebook

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
)

// sorted starts k-means as scripts/golden/vptq.py does: with vectors that are evenly
// spaced in their lexicographic order.
func sorted(p *points, entries int) *book {
	var all [][]float64
	for i := range p.rows {
		for j := range p.cols {
			var x []float64
			for _, v := range p.at(i, j) {
				x = append(x, float64(v))
			}
			all = append(all, x)
		}
	}
	slices.SortFunc(all, slices.Compare)
	b := &book{v: p.v}
	for c := range entries {
		b.values = append(b.values, all[c*len(all)/entries]...)
	}
	return b
}

// TestPublished: the weights are those of the authors' vptq.py and quantizer.py, with
// k-means from the same start: one codebook or some, a second one, and both orders of
// columns.
func TestPublished(t *testing.T) {
	data, err := os.ReadFile("../testdata/vptq.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Cases []struct {
			Vector, First, Second, Columns int
			Perm                           bool
			Values                         []float64
			Objective                      float64
		}
	}
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.Cases) != 5 {
		t.Fatalf("%d cases", len(golden.Cases))
	}
	p := quanttest.Correlated(t)
	for _, c := range golden.Cases {
		q := VPTQ{Bits: (c.First + c.Second) / c.Vector, Vector: c.Vector, Second: c.Second, Columns: c.Columns,
			Damping: .01, ActOrder: c.Perm}
		e, err := q.begin(p)
		if err != nil {
			t.Fatal(err)
		}
		e.start = sorted
		base, err := e.quantize()
		if err != nil {
			t.Fatal(err)
		}
		hat := base.Dequantize()
		differ := quanttest.Differing(t, hat.Data[:len(c.Values)], c.Values, 1e-5)
		got := quanttest.Objective(p, hat)
		t.Logf("%+v: %d of %d values differ; objective %g, %g", q, differ, len(c.Values), got, c.Objective)
		if differ > 0 || !(math.Abs(got-c.Objective) < 1e-4*c.Objective) {
			t.Errorf("%+v: %d of %d values differ; objective %g, want %g", q, differ, len(c.Values), got, c.Objective)
		}
	}
}

// TestNearest: the nearest entry is that of a search through all, the first of equals.
func TestNearest(t *testing.T) {
	draw := rand.New(rand.NewPCG(3, 4))
	for v := 1; v <= quant.MaxVector; v++ {
		b := &book{v: v}
		for range 64 * v {
			b.values = append(b.values, math.Round(4*draw.NormFloat64())/4)
		}
		b.sort()
		for try := range 300 {
			x, scale := make([]float64, v), make([]float64, v)
			for r := range x {
				x[r], scale[r] = math.Round(8*draw.NormFloat64())/8, []float64{1, .5, 0}[(try+r)%3]
			}
			want, least := -1, math.Inf(1)
			for c := range b.len() {
				if d := b.distance(c, x, scale, math.Inf(1)); d < least {
					want, least = c, d
				}
			}
			if got, d := b.nearest(x, scale, draw.IntN(64)); d != least || got != want && !slices.Equal(b.entry(got), b.entry(want)) {
				t.Fatalf("v=%d: entry %d at %g, want %d at %g", v, got, d, want, least)
			}
		}
	}
}

// TestYardsticks: normal weights are coded with the signal-to-noise ratios of Lloyd and
// Max for single weights, and for pairs with that of the hexagonal lattice at high
// rates (Zador's formula), 21.04 dB at 4 bits.
func TestYardsticks(t *testing.T) {
	draw := rand.New(rand.NewPCG(5, 6))
	const n, k = 64, 512
	w := gemm.NewMatrix(n, k)
	var energy float64
	for i := range w.Data {
		w.Data[i] = float32(draw.NormFloat64())
		energy += float64(w.Data[i]) * float64(w.Data[i])
	}
	m := &quant.Moments{K: k, H: make([]float64, k*k), Tokens: 4 * k}
	for j := range k {
		m.H[j*k+j] = 1
	}
	for _, c := range []struct {
		bits, vector, second int
		want, tol            float64
	}{
		{2, 1, 0, 9.30, .1}, {3, 1, 0, 14.62, .1}, {4, 1, 0, 20.22, .1}, {4, 2, 0, 21.04, .6},
	} {
		q := VPTQ{Bits: c.bits, Vector: c.vector, Second: c.second, RowScales: c.vector > 1, Damping: .01}
		out, err := q.Quantize(quant.Problem{Name: "w", Weights: w, Moments: m})
		if err != nil {
			t.Fatal(err)
		}
		lost, _ := quant.WeightError(w, out)
		snr := 10 * math.Log10(energy/lost)
		t.Logf("%+v: %.2f dB", q, snr)
		if !(math.Abs(snr-c.want) < c.tol) {
			t.Errorf("%+v: %.2f dB, want %g", q, snr, c.want)
		}
	}
}

// TestStored: what is stored decodes to what was chosen, whatever part is read, and comes
// back from its binary form; the ledger is the bits of codes, the vectors of all codebooks,
// scales of rows and four bytes; and codebooks of another size are no matrix.
func TestStored(t *testing.T) {
	p := quanttest.Problem(t, 24, 100, 3)
	clear(p.Weights.Row(5))
	for _, c := range []struct {
		q      VPTQ
		values int // of codebooks
	}{
		{VPTQ{Bits: 4, Vector: 2}, 2 << 8},
		{VPTQ{Bits: 4, Vector: 4, Second: 8, RowScales: true, ActOrder: true}, 2 * 4 << 8},
		{VPTQ{Bits: 3, Vector: 3, Columns: 48, RowScales: true}, 3 * 3 << 9},
		{VPTQ{Bits: 2, Vector: 8, Second: 12, ActOrder: true}, 8 * (1<<4 + 1<<12)},
		{VPTQ{Bits: 4, Vector: 1, Columns: 1}, 100 * 16},
		{VPTQ{Bits: 3, Vector: 6, Second: 12, Columns: 50}, 2 * 6 * (1<<6 + 1<<12)},
	} {
		c.q.Damping = .01
		out, err := c.q.Quantize(p)
		if err != nil {
			t.Fatal(err)
		}
		want := 24*quant.PackedLen(100, c.q.Bits) + 2*c.values + 4
		if c.q.RowScales {
			want += 2 * 24
		}
		if got := out.Ledger().Total(); got != int64(want) {
			t.Errorf("%+v: %d bytes, want %d", c.q, got, want)
		}
		whole := out.Dequantize()
		for n0 := range 24 {
			part := gemm.NewMatrix(min(7, 24-n0), 21)
			out.Load(part, n0, 3*n0)
			if !quanttest.Equal(part, whole.View(n0, n0+part.Rows, 3*n0, 3*n0+21)) {
				t.Fatalf("%+v: the part at %d differs", c.q, n0)
			}
		}
		data, _ := out.MarshalBinary()
		var back quant.Quantized
		if err := back.UnmarshalBinary(data); err != nil {
			t.Fatal(err)
		}
		if !quanttest.Equal(back.Dequantize(), whole) || back.Ledger().Total() != int64(want) {
			t.Errorf("%+v: read back, weights are others", c.q)
		}
		for _, damage := range []func(p *quant.Packed){
			func(p *quant.Packed) { p.Tables = p.Tables[:len(p.Tables)-1] },
			func(p *quant.Packed) { p.Tables = p.Tables[:1] },
			func(p *quant.Packed) { p.Tables[0] = 7 },
			func(p *quant.Packed) { p.Tables[1] = 13 },
			func(p *quant.Packed) { p.Scales = make([]uint16, 3) },
		} {
			bad := *out.Base
			bad.Tables = slices.Clone(bad.Tables)
			damage(&bad)
			data, _ := (&quant.Quantized{Base: &bad}).MarshalBinary()
			if err := back.UnmarshalBinary(data); err == nil {
				t.Errorf("%+v: a damaged matrix is read", c.q)
			}
		}
	}
}

// TestRefused: sizes that do not exist are errors.
func TestRefused(t *testing.T) {
	p := quanttest.Problem(t, 18, 96, 3)
	for _, q := range []VPTQ{{Bits: 4, Vector: 4}, {Bits: 4, Vector: 2, Second: 8}, {Bits: 3, Vector: 5, Second: 4},
		{Bits: 4, Vector: 9}, {Bits: 4}, {Bits: 5, Vector: 2}, {Bits: 4, Vector: 2, Columns: -1}} {
		q.Damping = .01
		if _, err := q.Quantize(p); err == nil {
			t.Errorf("%+v passes", q)
		}
	}
}

// TestBetter: GPTQ's loop loses less than rounding without it; a codebook for fewer columns
// and one more codebook of more bits lose less; rows of very different size want scales.
func TestBetter(t *testing.T) {
	p := quanttest.Problem(t, 48, 192, 6)
	loss := func(p quant.Problem, q VPTQ) float64 {
		q.Damping = .01
		return quanttest.Objective(p, quanttest.Quantize(t, q, p).Dequantize())
	}
	blind := p
	blind.Moments = &quant.Moments{K: 192, H: make([]float64, 192*192), Tokens: 768}
	for j := range 192 {
		blind.Moments.H[j*192+j] = p.Moments.H[j*192+j]
	}
	plain := quanttest.Quantize(t, VPTQ{Bits: 4, Vector: 2, Damping: .01}, blind)
	one := loss(p, VPTQ{Bits: 4, Vector: 2, ActOrder: true})
	if without := quanttest.Objective(p, plain.Dequantize()); !(one < .8*without) {
		t.Errorf("objective %g, %g without the loop", one, without)
	}
	if more := loss(p, VPTQ{Bits: 4, Vector: 2, ActOrder: true, Columns: 32}); !(more < one) {
		t.Errorf("objective %g with a codebook for 32 columns, %g with one", more, one)
	}
	coarse := loss(p, VPTQ{Bits: 2, Vector: 4, ActOrder: true})
	if fine := loss(p, VPTQ{Bits: 4, Vector: 4, Second: 8, ActOrder: true}); !(fine < .2*coarse) {
		t.Errorf("objective %g with a second codebook, %g without", fine, coarse)
	}
	rows := p
	rows.Weights = p.Weights.Clone()
	for i := range rows.Weights.Rows {
		for j := range rows.Weights.Row(i) {
			rows.Weights.Row(i)[j] *= float32(math.Exp2(float64(i%8) - 4))
		}
	}
	with := VPTQ{Bits: 4, Vector: 2, ActOrder: true, RowScales: true}
	if a, b := loss(rows, with), loss(rows, VPTQ{Bits: 4, Vector: 2, ActOrder: true}); !(a < .7*b) {
		t.Errorf("objective %g with scales of rows, %g without", a, b)
	}
}

// TestProcessors: the result does not depend on the number of processors, and the seed
// decides where k-means begins.
func TestProcessors(t *testing.T) {
	p := quanttest.Problem(t, 36, 96, 5)
	q := VPTQ{Bits: 4, Vector: 2, Second: 4, RowScales: true, Damping: .01, ActOrder: true}
	stored := func(processors int, p quant.Problem) []byte {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
		data, err := quanttest.Quantize(t, q, p).MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	one := stored(1, p)
	if !slices.Equal(one, stored(7, p)) {
		t.Error("seven processors find others than one")
	}
	p.Seed++
	if slices.Equal(one, stored(1, p)) {
		t.Error("another seed begins at the same vectors")
	}
}
