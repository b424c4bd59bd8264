package zipper

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/mosaicquant/mosaicquant/quant"
)

var trellisCodes = []quant.TrellisCode{quant.Mul1, quant.OneMAD, quant.ThreeInst}

// randomTrellis draws the codes and scales of a matrix [n,k].
func randomTrellis(t testing.TB, seed uint64, n, k int, of trellis) *quant.Quantized {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, uint64(n*k)))
	codes, scales := make([]uint8, n*k), make([]uint16, n)
	for i := range codes {
		codes[i] = uint8(rng.IntN(1 << of.bits))
	}
	for i := range scales {
		scales[i] = anyScale(rng)
	}
	p, err := quant.NewTrellis(n, k, of.bits, of.length, of.code, codes, scales)
	if err != nil {
		t.Fatal(err)
	}
	return &quant.Quantized{Base: p}
}

// forTrellises calls f for every code and width, with short and long states.
func forTrellises(f func(of trellis)) {
	for _, code := range trellisCodes {
		for bits := 2; bits <= 4; bits++ {
			for _, length := range []int{bits + 1, 8, 12, 15, 16} {
				f(trellis{bits, length, code})
			}
		}
	}
}

// TestTrellisLevels: levels times their unit are the values of quant, state by state.
func TestTrellisLevels(t *testing.T) {
	for _, code := range trellisCodes {
		of := trellis{4, quant.MaxTrellis, code}
		levels := of.levels()
		for s, want := range quant.TrellisValues(code, quant.MaxTrellis) {
			if got := levels[s] * of.unit(); !(math.Abs(float64(got-want)) <= 0x1p-23*math.Abs(float64(want))) {
				t.Fatalf("%s: state %d is %v, want %v", code, s, got, want)
			}
		}
	}
}

// TestDecode: every kernel decodes every state to the same bits, which the package quant
// says as well, wherever in a tile it is.
func TestDecode(t *testing.T) {
	forTrellises(func(of trellis) {
		const n, k = 16, 33 * trellisTile
		q := randomTrellis(t, uint64(of.length), n, k, of)
		w := prepackFor(t, q, Dense4, quant.A16)
		want := make([]float32, n*k)
		decodeGeneric(want, w.main.data, k/trellisTile, &of)
		hat := q.Dequantize()
		for r := range n {
			scale := float64(q.Base.Scales[r]>>10) - 25 // exponent of the scale, which is not subnormal
			scale = math.Exp2(scale) * (1024 + float64(q.Base.Scales[r]&1023))
			for c, v := range hat.Row(r) {
				if got := float64(want[c*panelRows+r]) * float64(of.unit()) * scale; !(math.Abs(got-float64(v)) <= 0x1p-22*math.Abs(float64(v))) {
					t.Fatalf("%+v: weight (%d,%d) is %v, want %v", of, r, c, got, v)
				}
			}
		}
		for _, kernel := range kernels() {
			got := make([]float32, n*k)
			kernel.decode(got, w.main.data, k/trellisTile, &of)
			for i, v := range want {
				if got[i] != v {
					t.Fatalf("%s %+v: level %d is %v, want %v", kernel.name, of, i, got[i], v)
				}
			}
		}
	})
}

// TestTrellisRoundTrip: streams come back, as many bytes as are stored.
func TestTrellisRoundTrip(t *testing.T) {
	forTrellises(func(of trellis) {
		q := randomTrellis(t, 1, 48, 208, of)
		for _, a := range activationFormats {
			w := prepackFor(t, q, Zipped, a)
			if !reflect.DeepEqual(w.Unpack(), q) {
				t.Errorf("%+v %s: the base changed", of, a)
			}
			stored := int64(48*208*of.bits/8 + 2*48)
			if got := w.Bytes(); got < stored || got >= stored+3*cacheLine {
				t.Errorf("%+v: %d bytes, stored are %d", of, got, stored)
			}
		}
	})
}

// TestTrellisReference compares products with float64, for numbers of tokens and columns
// on both sides of what is decoded together.
func TestTrellisReference(t *testing.T) {
	for _, kernel := range kernels() {
		use(t, kernel)
		i := 0
		forTrellises(func(of trellis) {
			i++
			n, k := 16*(1+i%5), trellisTile*(1+i*7%40)
			q := randomTrellis(t, uint64(i), n, k, of)
			a, m := activationFormats[i%3], []int{1, 2, 5, 8, 9, 16, 21, 70}[i%8]
			x := normal(uint64(i), m, k)
			want, size := Reference(q, x, a)
			near(t, fmt.Sprintf("%s %+v %s", kernel.name, of, a), multiply(t, prepackFor(t, q, Dense4, a), x), want, size,
				rounding(q, a))
		})
	}
}

// TestTrellisOutliers: outliers replace weights, and come back.
func TestTrellisOutliers(t *testing.T) {
	of := trellis{3, 12, quant.Mul1}
	q := randomTrellis(t, 3, 32, 96, of)
	q.Outliers = layout{n: 32, k: 96, outliers: .05}.random(1, anyScale).Outliers
	w, x := prepackFor(t, q, Outlier16, quant.A8), normal(1, 3, 96)
	if !reflect.DeepEqual(w.Unpack(), q) {
		t.Error("the matrix changed")
	}
	want, _ := Reference(q, x, quant.A8)
	near(t, "outliers", multiply(t, w, x), want, absolute(q, x, quant.A8), 3*rounding(q, quant.A8))
}

// TestTrellisRefused: what is no trellis is an error that says so.
func TestTrellisRefused(t *testing.T) {
	for want, change := range map[string]func(q *quant.Quantized){
		"zipper: 0 tables and 16 scales of 16 rows of trellis codes": func(q *quant.Quantized) { q.Base.Tables = nil },
		"zipper: trellis codes of 16x40, want tiles of 16x16":        func(q *quant.Quantized) { q.Base.K = 40 },
		"zipper: trellis code 7 with states of 12 bits has no kernel": func(q *quant.Quantized) {
			q.Base.Tables = []uint16{12, 7}
		},
		"zipper: trellis code 0 with states of 17 bits has no kernel": func(q *quant.Quantized) {
			q.Base.Tables = []uint16{17, 0}
		},
		"zipper: base format trellis of 4 bits with a block residual: it has no kernel": func(q *quant.Quantized) {
			q.Residual = layout{n: 16, k: 48, r: 1, c: 8, density: 1}.random(1, power).Residual
		},
	} {
		q := randomTrellis(t, 1, 16, 48, trellis{4, 12, quant.Mul1})
		change(q)
		if _, err := PrepackFor(q, Zipped, quant.A8); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// FuzzTrellis lets kernels disagree on codes, shapes, activations and seeds.
func FuzzTrellis(f *testing.F) {
	for i := range 9 {
		f.Add(uint64(i), uint8(i), uint8(i), uint8(3*i), uint8(i), uint8(7*i))
	}
	f.Fuzz(func(t *testing.T, seed uint64, kind, length, m, n, k uint8) {
		of := trellis{bits: 2 + int(kind)%3, code: trellisCodes[kind/3%3]}
		of.length = of.bits + 1 + int(length)%(quant.MaxTrellis-of.bits)
		q := randomTrellis(t, seed, trellisTile*(1+int(n)%5), trellisTile*(1+int(k)%50), of)
		a := activationFormats[int(kind/9)%3]
		x := normal(seed, 1+int(m)%40, q.Base.K)
		want, size := Reference(q, x, a)
		w := prepackFor(t, q, Zipped, a)
		for _, k := range kernels() {
			use(t, k)
			near(t, fmt.Sprintf("%s %+v %s", k.name, of, a), multiply(t, w, x), want, size, rounding(q, a))
		}
		if !reflect.DeepEqual(w.Unpack(), q) {
			t.Errorf("%+v: the base changed", of)
		}
	})
}
