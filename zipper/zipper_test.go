package zipper

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/quant"
	scales "github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/mosaic"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// tokens are the M of tests: around the widths of the kernels, 1, 4 and 8.
var tokens = []int{1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 16, 17}

// activationFormats are those that have kernels.
var activationFormats = []quant.Activations{quant.A8, quant.A4, quant.A16}

// forLayouts calls f for all matrices that run with activations a, in all
// variants, and fails if there are few. With -short it takes every fifth matrix.
func forLayouts(t *testing.T, a quant.Activations, scale func(*rand.Rand) uint16, f func(i int, l layout, q *quant.Quantized, v Variant)) {
	t.Helper()
	n, few, step := 0, 40, 1
	if testing.Short() {
		few, step = 6, 5
	}
	for i, l := range layouts() {
		if i%step != 0 {
			continue
		}
		q := l.random(uint64(i), scale)
		if Takes(q.Form(), Zipped, a) != nil {
			continue
		}
		n++
		for _, v := range variantsOf(q) {
			f(i, l, q, v)
		}
	}
	if n < few {
		t.Fatalf("%d matrices for %s", n, a)
	}
}

// TestRoundTrip reads streams back into the bytes that they were made of.
func TestRoundTrip(t *testing.T) {
	for _, a := range activationFormats {
		forLayouts(t, a, anyScale, func(i int, l layout, q *quant.Quantized, v Variant) {
			got, want := prepackFor(t, q, v, a).Unpack(), executed(q, v)
			if !reflect.DeepEqual(got.Base, want.Base) {
				t.Errorf("%s %s %s: base changed", l, v, a)
			}
			if !reflect.DeepEqual(got.Outliers, want.Outliers) {
				t.Errorf("%s %s %s: outliers changed", l, v, a)
			}
			if want.Residual != nil && want.Residual.Blocks() == 0 {
				// A slice of nothing may be nil or empty.
				if r := got.Residual; r.Blocks() != 0 || !reflect.DeepEqual(r.RowPtr, want.Residual.RowPtr) {
					t.Errorf("%s %s: an empty residual came back with %d blocks", l, v, r.Blocks())
				}
			} else if !reflect.DeepEqual(got.Residual, want.Residual) {
				t.Errorf("%s %s %s: residual changed", l, v, a)
			}
		})
	}
}

// A residual whose steps are tied to the base's scales is executed with the
// scales of rows that this makes: by every kernel as by the reference, whose own
// loops meet the weights as stored but for the rounding of steps.
func TestBaseScales(t *testing.T) {
	l := layout{n: 37, k: 256, group: 64, r: 4, c: 16, density: .4}
	q := l.random(5, anyScale)
	for i := range q.Base.Scales {
		q.Base.Scales[i] = uint16(0x2c00 + 7*i) // from 1/16 on
	}
	q.Residual.BaseScales, q.Residual.Scales = true, []uint16{0x2c44} // about 1/15
	r, err := q.Residual.RowScaled(q.Base)
	if err != nil {
		t.Fatal(err)
	}
	rows := &quant.Quantized{Base: q.Base, Residual: r}
	stored := q.Dequantize()
	for i, w := range dequantize(rows) {
		if d := w - float64(stored.Data[i]); !(math.Abs(d) <= 7*math.Exp2(-11)*float64(1./15)) {
			t.Fatalf("weight %d is %g, stored as %g", i, w, stored.Data[i])
		}
	}
	for _, a := range activationFormats {
		for _, v := range []Variant{Zipped, Separate} {
			w := prepackFor(t, q, v, a)
			if got := w.Unpack(); !reflect.DeepEqual(got.Residual, r) {
				t.Errorf("%s %s: the residual does not unpack to the form with scales of rows", v, a)
			}
			if !reflect.DeepEqual(w, prepackFor(t, rows, v, a)) {
				t.Errorf("%s %s: the stream differs from that of the form with scales of rows", v, a)
			}
		}
	}
	for _, cols := range []int{24, 128, 6} { // blocks of several groups are cut
		l.c = cols
		q := l.random(5, anyScale)
		q.Residual.BaseScales, q.Residual.Scales = true, []uint16{0x2c44}
		r, err := q.Residual.RowScaled(q.Base)
		if err != nil {
			t.Fatal(err)
		}
		rows, stored := dequantize(&quant.Quantized{Base: q.Base, Residual: r}), q.Dequantize()
		for i, w := range rows {
			if d := w - float64(stored.Data[i]); !(math.Abs(d) <= 7*math.Exp2(-11)*float64(1./15)) {
				t.Fatalf("4x%d: weight %d is %g, stored as %g", cols, i, w, stored.Data[i])
			}
		}
		w := prepackFor(t, q, Zipped, quant.A8)
		if got := w.Unpack(); !reflect.DeepEqual(got.Residual, r) {
			t.Errorf("4x%d: the residual does not unpack to the form with scales of rows", cols)
		}
	}
}

// Residuals of 2 and 3 bits are executed with codes of 4 bits that stand for the
// same values.
func TestNarrowResiduals(t *testing.T) {
	l := layout{n: 37, k: 128, group: 64, r: 1, c: 8, density: .4}
	for bits := 2; bits < 4; bits++ {
		q := l.random(6, anyScale)
		draw, r := rand.New(rand.NewPCG(uint64(bits), 1)), q.Residual
		r.Bits, r.Codes = bits, make([]byte, r.Blocks()*bits) // 8 codes a block
		for i := range r.Codes {
			r.Codes[i] = byte(draw.Uint32())
		}
		stored := q.Dequantize()
		for i, w := range dequantize(q) {
			if float32(w) != stored.Data[i] {
				t.Fatalf("%d bits: weight %d is %g, stored as %g", bits, i, w, stored.Data[i])
			}
		}
		for _, v := range []Variant{Zipped, Separate} {
			if got := prepackFor(t, q, v, quant.A8).Unpack().Residual; !reflect.DeepEqual(got, r.Widened(4)) {
				t.Errorf("%d bits, %s: the residual does not unpack to its form of 4 bits", bits, v)
			}
		}
	}
}

// TestBytes compares the size of the stream with the sizes that the package's
// documentation states.
func TestBytes(t *testing.T) {
	l := layout{n: 64, k: 1024, group: 128, r: 16, c: 64, density: 1}
	q := l.random(1, anyScale)
	dense := 64 * 1024 * (0.5 + 2.0/128)
	if got := prepack(t, q, Dense4).Bytes(); got != int64(dense) {
		t.Errorf("dense4: %d bytes, want %g", got, dense)
	}
	blocks := 64 * 1024 / (16 * 64)
	panels, tiles := 4, 4*8
	want := int(dense) + blocks*(2+2+16*64/2) + 4*tiles
	if got := int(prepack(t, q, Zipped).Bytes()); got < want || got >= want+panels*64 {
		t.Errorf("zipper: %d bytes, want %d and the padding of %d panels", got, want, panels)
	}
	want = int(dense) + blocks*(2+2+16*64/2) + 4*panels
	if got := int(prepack(t, q, Separate).Bytes()); got < want || got >= want+panels*64 {
		t.Errorf("separate: %d bytes, want %d and the padding of %d panels", got, want, panels)
	}
}

// TestExact multiplies whole numbers with scales that are powers of two:
// nothing is rounded, so every kernel must give the reference itself.
func TestExact(t *testing.T) {
	for _, a := range activationFormats {
		t.Run(a.String(), func(t *testing.T) {
			forKernels(t, schemeOf(a), func(t *testing.T) {
				forLayouts(t, a, power, func(i int, l layout, q *quant.Quantized, v Variant) {
					x := integers(uint64(i), tokens[i%len(tokens)], l.k, a)
					want := reference(t, q, i, v, x, a)
					y := multiply(t, prepackFor(t, q, v, a), x)
					for m := range y.Rows {
						for n, got := range y.Row(m) {
							if float64(got) != want[m*l.n+n] {
								t.Fatalf("%s %s M=%d: element (%d,%d): got %v, want %v", l, v, x.Rows, m, n, got, want[m*l.n+n])
							}
						}
					}
				})
			})
		})
	}
}

// answers remembers what is the same for all kernels: of a test, the result
// for a matrix, a variant and activations.
var answers = map[string][]float64{}

func remember(t *testing.T, what string, i int, v Variant, a quant.Activations, f func() []float64) []float64 {
	name, _, _ := strings.Cut(t.Name(), "/")
	key := fmt.Sprint(name, what, i, v, a)
	if _, ok := answers[key]; !ok {
		answers[key] = f()
	}
	return answers[key]
}

// reference returns what variant v of matrix i gives.
func reference(t *testing.T, q *quant.Quantized, i int, v Variant, x gemm.Matrix, a quant.Activations) []float64 {
	return remember(t, "y", i, v, a, func() []float64 {
		y, _ := Reference(executed(q, v), x, a)
		return y
	})
}

// rounding bounds the error of a product, in units of 2^-24 of the sum of its
// absolute values: what is added per row is one number for every group and every
// block, which is scaled (one rounding, two with a scale of the activations) and
// added (one for each addition that follows); two more for the scale of the token
// and for the addition to Y of a second pass. Integers up to 2^24 convert without
// rounding, larger ones with one more. Outliers are one term each. With float
// activations every product is a term, and so it is with outliers, whose
// activations are rounded once more.
func rounding(q *quant.Quantized, a quant.Activations) float64 {
	if needsFloat(q.Base.Format) {
		a = quant.A16
	}
	g := newGrid(q.Base.Format, q.Base.K, a)
	terms := g.groups()
	if q.Base.Format.Affine {
		terms += 3 * g.groups()
	}
	if r := q.Residual; r != nil {
		cols := r.BlockCols
		if a.Group > 0 {
			cols = gcd(cols, a.Group)
		}
		terms += ceilDiv(r.K, cols)
	}
	if q.Outliers != nil || a == quant.A16 {
		terms += q.Base.K
	}
	if q.Outliers != nil && q.Base.Format.Affine { // differences are two terms
		terms += 2 * q.Base.K
	}
	return float64(terms + 7)
}

// TestReference holds random numbers to the bound of float32 sums.
func TestReference(t *testing.T) {
	for _, a := range activationFormats {
		t.Run(a.String(), func(t *testing.T) {
			forKernels(t, schemeOf(a), func(t *testing.T) {
				forLayouts(t, a, anyScale, func(i int, l layout, q *quant.Quantized, v Variant) {
					x := normal(uint64(i), tokens[i%len(tokens)], l.k)
					q = executed(q, v)
					want := reference(t, q, i, v, x, a)
					size := remember(t, "size", i, v, a, func() []float64 { return absolute(q, x, a) })
					near(t, l.String()+" "+string(v), multiply(t, prepackFor(t, q, v, a), x), want, size, rounding(q, a))
				})
			})
		})
	}
}

// absolute is Σ|x|(|base|+|residual|): what is rounded are the sums of the two.
func absolute(q *quant.Quantized, x gemm.Matrix, a quant.Activations) []float64 {
	_, size := Reference(&quant.Quantized{Base: q.Base, Outliers: q.Outliers}, x, a)
	if q.Residual != nil {
		r, err := q.Residual.RowScaled(q.Base)
		if err != nil {
			panic(err)
		}
		zero := layout{n: q.Base.N, k: q.Base.K}.random(0, func(*rand.Rand) uint16 { return 0 })
		_, more := Reference(&quant.Quantized{Base: zero.Base, Residual: r}, x, a)
		for i, v := range more {
			size[i] += v
		}
	}
	if q.Base.Format.Affine {
		rounded := x.Clone()
		a.Apply(rounded)
		for n := range q.Base.N {
			for k := range q.Base.K {
				s := spread(q.Base, n, k)
				for m := range x.Rows {
					size[m*q.Base.N+n] += s * math.Abs(float64(rounded.Row(m)[k]))
				}
			}
		}
	}
	return size
}

// near demands |got-want| <= units·2^-24·size.
func near(t *testing.T, what string, got gemm.Matrix, want, size []float64, units float64) {
	t.Helper()
	for m := range got.Rows {
		for n, v := range got.Row(m) {
			at := m*got.Cols + n
			if tol := units * 0x1p-24 * size[at]; !(math.Abs(float64(v)-want[at]) <= tol) {
				t.Fatalf("%s: element (%d,%d) of %dx%d: got %v, want %v ± %.3g", what, m, n, got.Rows, got.Cols, v, want[at], tol)
			}
		}
	}
}

// TestFakeQuantized compares with what the harness computes without packed
// kernels: quantized matrices of quant itself, activations rounded by quant, and a
// float32 product of K terms.
func TestFakeQuantized(t *testing.T) {
	if testing.Short() {
		t.Skip("checks numbers of kernels that TestExact runs as well")
	}
	p := quant.Problem{Name: "layer", Weights: normal(7, 96, 512).Clone(), Seed: 1}
	base := solve.RTN{Format: quant.Int4(128), Scale: scales.Scale{Rule: scales.AbsMax}}
	for _, a := range activationFormats {
		t.Run(a.String(), func(t *testing.T) {
			forKernels(t, schemeOf(a), func(t *testing.T) {
				for _, c := range []struct{ r, c int }{{16, 64}, {1, 128}, {4, 16}} {
					blocks := mosaic.Blocks{BlockRows: c.r, BlockCols: c.c, Density: 0.1, Bits: 4}
					m := mosaic.Mosaic{Base: base, Blocks: blocks, Criterion: mosaic.CriterionError}
					q, err := m.Quantize(p)
					if err != nil {
						t.Fatal(err)
					}
					for _, rows := range tokens {
						x := normal(9, rows, 512)
						fake := x.Clone()
						a.Apply(fake)
						y := gemm.NewMatrix(rows, 96)
						gemm.MulNT(y, fake, q)
						want := make([]float64, 0, rows*96)
						for _, v := range y.Data {
							want = append(want, float64(v))
						}
						near(t, "zipper", multiply(t, prepackFor(t, q, Zipped, a), x), want, absolute(q, x, a), 512+2+rounding(q, a))
					}
				}
			})
		})
	}
}

// TestBF16 compares 16-bit weights with a product in float64: exactly for whole
// numbers, else within the bound of K float32 additions.
func TestBF16(t *testing.T) {
	forKernels(t, schemeBF16, func(t *testing.T) {
		for i, s := range [][2]int{{1, 1}, {3, 7}, {16, 8}, {17, 129}, {48, 1000}, {90, 640}} {
			n, k := s[0], s[1]
			few := tokens[i:][:6]
			if testing.Short() {
				few = few[:2]
			}
			for _, m := range few {
				for _, whole := range []bool{true, false} {
					w, x := normal(uint64(i), n, k).Clone(), normal(uint64(i+m), m, k)
					if whole {
						w, x = integers(uint64(i), n, k, quant.A8), integers(uint64(i+m), m, k, quant.A8)
					}
					p, err := PrepackBF16(w)
					if err != nil {
						t.Fatal(err)
					}
					want, size := make([]float64, m*n), make([]float64, m*n)
					for a := range m {
						for b := range n {
							for c, v := range w.Row(b) {
								stored := float64(half.FromBF16(half.ToBF16(v)))
								if d := math.Abs(stored - float64(v)); d > 0x1p-8*math.Abs(float64(v)) {
									t.Fatalf("%v is stored as %v", v, stored)
								}
								want[a*n+b] += stored * float64(x.Row(a)[c])
								size[a*n+b] += math.Abs(stored * float64(x.Row(a)[c]))
							}
						}
					}
					units := float64(k)
					if whole {
						units = 0
					}
					near(t, "bf16", multiply(t, p, x), want, size, units)
				}
			}
		}
	})
}

// TestOutliersBeside demands that codes in the places of outliers do not count.
func TestOutliersBeside(t *testing.T) {
	l := layout{n: 33, k: 256, group: 32, outliers: 0.1}
	q := l.random(1, power)
	x := integers(1, 3, l.k, quant.A8)
	want := multiply(t, prepack(t, q, Outlier16), x)
	for n := range l.n {
		for i := q.Outliers.RowPtr.At(n); i < q.Outliers.RowPtr.At(n+1); i++ {
			k := q.Outliers.Cols.At(i)
			q.Base.Codes[n*l.k/2+k/2] ^= 7 << (k % 2 * 4)
		}
	}
	got := multiply(t, prepack(t, q, Outlier16), x)
	for m := range got.Rows {
		for n, v := range got.Row(m) {
			if v != want.Row(m)[n] {
				t.Fatalf("element (%d,%d): %v, with codes of zero %v", m, n, v, want.Row(m)[n])
			}
		}
	}
}

// TestKernelsAgree demands the same bits of all kernels.
func TestKernelsAgree(t *testing.T) {
	for _, a := range []quant.Activations{quant.A8, quant.A4} {
		forLayouts(t, a, anyScale, func(i int, l layout, q *quant.Quantized, v Variant) {
			if v == Outlier16 {
				return // sums of outliers are float32, in any order
			}
			sameBits(t, l, prepackFor(t, q, v, a), normal(uint64(i), tokens[i%len(tokens)], l.k))
		})
	}
}

func sameBits(t *testing.T, l layout, w *Weights, x gemm.Matrix) {
	t.Helper()
	old := active
	defer func() { active = old }()
	active = generic
	want := multiply(t, w, x)
	for _, k := range kernels() {
		active = k
		got := multiply(t, w, x)
		for m := range got.Rows {
			for n, v := range got.Row(m) {
				if u := want.Row(m)[n]; math.Float32bits(u) != math.Float32bits(v) {
					t.Fatalf("%s %s M=%d: element (%d,%d): %s gives %v, generic %v", l, w.variant, x.Rows, m, n, k.name, v, u)
				}
			}
		}
	}
}

// FuzzKernels lets kernels disagree on formats, shapes, activations and seeds.
func FuzzKernels(f *testing.F) {
	f.Add(uint64(1), uint8(0), uint8(1), uint8(17), uint16(256), uint8(4), uint8(4), uint8(2), uint8(128), false)
	f.Add(uint64(2), uint8(0), uint8(9), uint8(40), uint16(99), uint8(0), uint8(0), uint8(4), uint8(255), true)
	for i := range baseFormats(f, 16) {
		f.Add(uint64(i), uint8(i), uint8(i), uint8(19), uint16(333), uint8(16*i), uint8(i), uint8(i), uint8(30), i%2 == 0)
	}
	f.Fuzz(func(t *testing.T, seed uint64, format, m, n uint8, k uint16, group, r, c, density uint8, rowScales bool) {
		l := layout{n: 1 + int(n)%48, k: 1 + int(k)%600, group: int(group), r: 1 + int(r)%33, c: 1 + int(c)%160,
			density: float64(density) / 255, rowScales: rowScales}
		formats := baseFormats(t, l.group)
		base := formats[int(format)%len(formats)]
		if base.Fits(l.k) != nil {
			l.k = base.Group * ceilDiv(l.k, base.Group)
		}
		q := l.random(seed, anyScale)
		q.Base = randomBase(rand.New(rand.NewPCG(seed, 9)), base, l.n, l.k)
		x := normal(seed, 1+int(m)%17, l.k)
		for _, a := range activationFormats {
			w, err := PrepackFor(q, Zipped, a)
			if err != nil && a == quant.A4 {
				continue // groups that it cannot cut
			}
			if err != nil {
				t.Fatal(err)
			}
			if w.scheme.float() {
				want, _ := Reference(q, x, a)
				size := absolute(q, x, a)
				for _, k := range kernels() {
					use(t, k)
					near(t, fmt.Sprint(base, l, k.name), multiply(t, w, x), want, size, rounding(q, a))
				}
			} else {
				sameBits(t, l, w, x)
			}
			if !reflect.DeepEqual(w.Unpack().Base, q.Base) {
				t.Errorf("%s %s %s: base changed", base, l, a)
			}
		}
	})
}

// TestOneTokenAtATime demands that a token's bits do not depend on the others,
// nor on the number of goroutines.
func TestOneTokenAtATime(t *testing.T) {
	forKernels(t, schemeA8, func(t *testing.T) {
		l := layout{n: 300, k: 1024, group: 128, r: 16, c: 16, density: 0.2}
		w, x := prepack(t, l.random(1, anyScale), Separate), normal(1, manyTokens+4, l.k)
		all := multiply(t, w, x)
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
		for m := range x.Rows {
			one := multiply(t, w, x.View(m, m+1, 0, l.k))
			for n, v := range one.Row(0) {
				if v != all.Row(m)[n] {
					t.Fatalf("token %d alone: output %d is %v, with others %v", m, n, v, all.Row(m)[n])
				}
			}
		}
	})
}

// TestConcurrent multiplies by one matrix from many goroutines; the race
// detector watches.
func TestConcurrent(t *testing.T) {
	l := layout{n: 300, k: 2048, group: 64, r: 4, c: 16, density: 0.2}
	w, x := prepack(t, l.random(1, anyScale), Zipped), normal(1, 6, l.k)
	want := multiply(t, w, x)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			y := gemm.NewMatrix(6, 300)
			w.MulNT(y, x)
			for m := range y.Rows {
				for n, v := range y.Row(m) {
					if v != want.Row(m)[n] {
						t.Errorf("element (%d,%d): %v, alone %v", m, n, v, want.Row(m)[n])
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestActivations demands that codes times scale are the numbers of quant.A8.
func TestActivations(t *testing.T) {
	for _, k := range kernels() {
		for _, cols := range []int{1, 7, 16, 17, 100, 1025} {
			x := normal(uint64(cols), 4, cols).Clone()
			clear(x.Row(1))
			for i := range x.Row(2) {
				x.Row(2)[i] *= 1e-44 // its scale is subnormal
			}
			x.Row(3)[cols/2] = float32(math.Inf(-1))
			w := prepack(t, layout{n: 1, k: cols}.random(1, power), Zipped)
			a := w.newActivations(k, x)
			quant.A8.Apply(x)
			for m := range x.Rows {
				for i, want := range x.Row(m) {
					got := float32(int8(a.data[m*a.ld+i])) * a.scales[m]
					if got != want && !(got != got && want != want) {
						t.Errorf("%s K=%d: x[%d,%d] = %v, want %v", k.name, cols, m, i, got, want)
					}
				}
			}
		}
	}
}

// TestNotFinite demands NaN in the whole output of a broken token, and only there.
func TestNotFinite(t *testing.T) {
	forKernels(t, schemeA8, func(t *testing.T) {
		l := layout{n: 20, k: 256, group: 32, r: 1, c: 32, density: 0.5}
		w := prepack(t, l.random(1, anyScale), Zipped)
		for _, rows := range []int{1, 4, 8} {
			for _, bad := range []float64{math.NaN(), math.Inf(1)} {
				x := normal(1, rows, l.k)
				x.Row(rows / 2)[37] = float32(bad)
				for m, y := 0, multiply(t, w, x); m < rows; m++ {
					for n, v := range y.Row(m) {
						if (v != v) != (m == rows/2) {
							t.Fatalf("x[%d,37]=%v: y[%d,%d] = %v", rows/2, bad, m, n, v)
						}
					}
				}
			}
		}
	})
}

// TestSum sums lengths and alignments around those of the kernels.
func TestSum(t *testing.T) {
	all := make([]byte, 3*taskBytes)
	for i := range all {
		all[i] = byte(i * 7)
	}
	for _, k := range kernels() {
		use(t, k)
		for _, p := range [][]byte{nil, all[:1], all[3:255], all[1:600], all, all[5 : 2*taskBytes+99]} {
			if got, want := Sum(p), sumGeneric(p); got != want {
				t.Errorf("%s: %d bytes: sum %d, want %d", k.name, len(p), got, want)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	base := func() *quant.Quantized {
		return layout{n: 16, k: 64, group: 32, r: 16, c: 16, density: 1}.random(1, power)
	}
	for want, change := range map[string]func(q *quant.Quantized){
		"residual bits=5":              func(q *quant.Quantized) { q.Residual.Bits = 5 },
		"residual of 16x32 on a base":  func(q *quant.Quantized) { q.Residual.K = 32 },
		"base format fireq4 g32":       func(q *quant.Quantized) { q.Base.Format = quant.Format{Bits: 4, Kind: quant.FireQ4, Group: 32} },
		"if4 g16 without the scale":    func(q *quant.Quantized) { q.Base.Format = quant.Format{Bits: 4, Kind: quant.IF4, Group: 16} },
		"3 channels of 16x80 apart":    func(q *quant.Quantized) { q.Columns = &quant.Columns{N: 16, K: 80, Count: 3} },
		"a branch of 8x64 on a base":   func(q *quant.Quantized) { q.LowRank = &quant.LowRank{Rank: 2, N: 8, K: 64} },
		"60 channel scales":            func(q *quant.Quantized) { q.ChannelScales = make([]uint16, 60) },
		"variant zipper has no kernel": func(q *quant.Quantized) { q.Outliers = &quant.Outliers{N: 16, K: 64} },
		"weights of 16x2097152":        func(q *quant.Quantized) { q.Base.K, q.Residual = 1<<21, nil },
	} {
		q := base()
		change(q)
		if _, err := PrepackFor(q, Zipped, quant.A8); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
	outliers := func(n, k int) *quant.Outliers { return &quant.Outliers{N: n, K: k} }
	for _, c := range []struct {
		want   string
		v      Variant
		a      quant.Activations
		change func(q *quant.Quantized)
	}{
		{"no variant dense5", Variant("dense5"), quant.A8, func(*quant.Quantized) {}},
		{"no variant w16a16 of quantized weights", W16A16, quant.A16, func(*quant.Quantized) {}},
		{"no outliers for variant outlier16", Outlier16, quant.A8, func(q *quant.Quantized) { q.Residual = nil }},
		{"outlier16 with a block residual", Outlier16, quant.A8, func(q *quant.Quantized) { q.Outliers = outliers(16, 64) }},
		{"outliers of 8x64 on a base of 16x64", Outlier16, quant.A8, func(q *quant.Quantized) { q.Residual, q.Outliers = nil, outliers(8, 64) }},
		{"activations a6 have no kernel", Zipped, quant.Activations{Bits: 6}, func(*quant.Quantized) {}},
		{"groups of 192 weights with activations a4 g128", Zipped, quant.A4, func(q *quant.Quantized) { q.Base.Format.Group, q.Base.K, q.Residual = 192, 384, nil }},
	} {
		q := base()
		c.change(q)
		if _, err := PrepackFor(q, c.v, c.a); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want an error with %q, got %v", c.want, err)
		}
	}
	if _, err := PrepackBF16(gemm.NewMatrix(0, 8)); err == nil || !strings.Contains(err.Error(), "weights of 0x8") {
		t.Errorf("no rows: got %v", err)
	}
	wide := layout{n: 1, k: 1 << 16, r: 1, c: 8, density: 0.01}.random(1, power)
	if _, err := PrepackFor(wide, Zipped, quant.A8); err == nil || !strings.Contains(err.Error(), "K=65536 with int4 per-channel") {
		t.Errorf("a tile beyond the reach of heads: got %v", err)
	}
}
