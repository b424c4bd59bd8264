package zipper

import (
	"math"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/quant"
)

// tokens are the M of tests: around the widths of the kernels, 1, 4 and 8.
var tokens = []int{1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 16, 17}

// TestRoundTrip reads streams back into the bytes that they were made of.
func TestRoundTrip(t *testing.T) {
	for i, l := range layouts() {
		q := l.random(uint64(i), anyScale)
		for _, v := range []Variant{Zipped, Dense4, Separate} {
			got := prepack(t, q, v).Unpack()
			want := *q
			if v == Dense4 {
				want.Residual = nil
			}
			if !reflect.DeepEqual(got.Base, want.Base) {
				t.Errorf("%s %s: base changed", l, v)
			}
			if want.Residual != nil && want.Residual.Blocks() == 0 {
				// A slice of nothing may be nil or empty.
				if r := got.Residual; r.Blocks() != 0 || !reflect.DeepEqual(r.RowPtr, want.Residual.RowPtr) {
					t.Errorf("%s %s: an empty residual came back with %d blocks", l, v, r.Blocks())
				}
			} else if !reflect.DeepEqual(got.Residual, want.Residual) {
				t.Errorf("%s %s: residual changed", l, v)
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
	forKernels(t, func(t *testing.T) {
		for i, l := range layouts() {
			q := l.random(uint64(i), power)
			x := integers(uint64(i), tokens[i%len(tokens)], l.k)
			for _, v := range []Variant{Zipped, Separate, Dense4} {
				ref := *q
				if v == Dense4 {
					ref.Residual = nil
				}
				want, _ := Reference(&ref, x)
				y := multiply(t, prepack(t, q, v), x)
				for m := range y.Rows {
					for n, got := range y.Row(m) {
						if float64(got) != want[m*l.n+n] {
							t.Fatalf("%s %s M=%d: element (%d,%d): got %v, want %v", l, v, x.Rows, m, n, got, want[m*l.n+n])
						}
					}
				}
			}
		}
	})
}

// rounding bounds the error of a product, in units of 2^-24 of the sum of its
// absolute values: what is added per row is one number for every group and every
// block, which is scaled (one rounding) and added (one for each addition that
// follows); two more for the scale of the token and for Separate's addition to Y.
// Integers up to 2^24 convert without rounding, larger ones with one more.
func rounding(q *quant.Quantized) float64 {
	g := newGrid(q.Base.Format, q.Base.K)
	terms := g.groups()
	if r := q.Residual; r != nil {
		_, cols := r.Grid()
		terms += cols
	}
	return float64(terms + 6)
}

// TestReference holds random numbers to the bound of float32 sums.
func TestReference(t *testing.T) {
	forKernels(t, func(t *testing.T) {
		for i, l := range layouts() {
			q := l.random(uint64(i), anyScale)
			x := normal(uint64(i), tokens[i%len(tokens)], l.k)
			want, _ := Reference(q, x)
			size := absolute(q, x)
			for _, v := range []Variant{Zipped, Separate} {
				near(t, l.String()+" "+v.String(), multiply(t, prepack(t, q, v), x), want, size, rounding(q))
			}
		}
	})
}

// absolute is Σ|x|(|base|+|residual|): what is rounded are the sums of the two.
func absolute(q *quant.Quantized, x gemm.Matrix) []float64 {
	_, size := Reference(&quant.Quantized{Base: q.Base}, x)
	if q.Residual != nil {
		zero := *q.Base
		zero.Scales = make([]uint16, len(q.Base.Scales))
		_, more := Reference(&quant.Quantized{Base: &zero, Residual: q.Residual}, x)
		for i, v := range more {
			size[i] += v
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
// kernels: quantized matrices of quant itself, activations rounded by quant.A8,
// and a float32 product of K terms.
func TestFakeQuantized(t *testing.T) {
	forKernels(t, func(t *testing.T) {
		for _, c := range []struct{ r, c int }{{16, 64}, {1, 128}, {4, 16}} {
			p := quant.Problem{Name: "layer", Weights: normal(7, 96, 512).Clone(), Seed: 1}
			m := quant.NewMosaic(quant.RTN{Format: quant.Int4(128), Scale: quant.Scale{Rule: quant.AbsMax}}, c.r, c.c, 0.1)
			m.Criterion = quant.Error
			q, err := m.Quantize(p)
			if err != nil {
				t.Fatal(err)
			}
			for _, rows := range tokens {
				x := normal(9, rows, 512)
				fake := x.Clone()
				quant.A8.Apply(fake)
				y := gemm.NewMatrix(rows, 96)
				gemm.MulNT(y, fake, q)
				want := make([]float64, 0, rows*96)
				for _, v := range y.Data {
					want = append(want, float64(v))
				}
				near(t, "zipper", multiply(t, prepack(t, q, Zipped), x), want, absolute(q, x), 512+2+rounding(q))
			}
		}
	})
}

// TestKernelsAgree demands the same bits of all kernels.
func TestKernelsAgree(t *testing.T) {
	for i, l := range layouts() {
		q := l.random(uint64(i), anyScale)
		x := normal(uint64(i), tokens[i%len(tokens)], l.k)
		sameBits(t, l, prepack(t, q, Zipped), x)
		sameBits(t, l, prepack(t, q, Separate), x)
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

// FuzzKernels lets kernels disagree on shapes, activations and seeds.
func FuzzKernels(f *testing.F) {
	f.Add(uint64(1), uint8(1), uint8(17), uint16(256), uint8(4), uint8(4), uint8(2), uint8(128), false)
	f.Add(uint64(2), uint8(9), uint8(40), uint16(99), uint8(0), uint8(0), uint8(4), uint8(255), true)
	f.Fuzz(func(t *testing.T, seed uint64, m, n uint8, k uint16, group, r, c, density uint8, rowScales bool) {
		l := layout{n: 1 + int(n)%48, k: 1 + int(k)%600, r: 1 + int(r)%33, c: 8 * (1 + int(c)%20), density: float64(density) / 255, rowScales: rowScales}
		if group > 0 {
			l.group = int(group)
			l.k = l.group * (1 + l.k/l.group)
		}
		q := l.random(seed, anyScale)
		x := normal(seed, 1+int(m)%17, l.k)
		w := prepack(t, q, Zipped)
		sameBits(t, l, w, x)
		if !reflect.DeepEqual(w.Unpack().Base, q.Base) {
			t.Errorf("%s: base changed", l)
		}
	})
}

// TestOneTokenAtATime demands that a token's bits do not depend on the others,
// nor on the number of goroutines.
func TestOneTokenAtATime(t *testing.T) {
	forKernels(t, func(t *testing.T) {
		l := layout{n: 500, k: 2048, group: 128, r: 16, c: 16, density: 0.2}
		w, x := prepack(t, l.random(1, anyScale), Separate), normal(1, 28, l.k)
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
			a := w.quantizeActivations(k, x)
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
	forKernels(t, func(t *testing.T) {
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
		"base format int5 g32":           func(q *quant.Quantized) { q.Base.Format.Bits = 5 },
		"base format int4 affine g32":    func(q *quant.Quantized) { q.Base.Format.Affine = true },
		"K=64 not divisible by group 48": func(q *quant.Quantized) { q.Base.Format.Group = 48 },
		"residual bits=3":                func(q *quant.Quantized) { q.Residual.Bits = 3 },
		"residual block 16x12":           func(q *quant.Quantized) { q.Residual.BlockCols = 12 },
		"residual of 16x32 on a base":    func(q *quant.Quantized) { q.Residual.K = 32 },
		"0 outliers":                     func(q *quant.Quantized) { q.Outliers = &quant.Outliers{} },
		"weights of 16x2097152":          func(q *quant.Quantized) { q.Base.K = 1 << 21 },
	} {
		q := base()
		change(q)
		if _, err := Prepack(q, Zipped); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
	if _, err := Prepack(base(), Variant(7)); err == nil || !strings.Contains(err.Error(), "unknown variant 7") {
		t.Errorf("variant 7: got %v", err)
	}
	wide := layout{n: 1, k: 1 << 16, r: 1, c: 8, density: 0.01}.random(1, power)
	if _, err := Prepack(wide, Zipped); err == nil || !strings.Contains(err.Error(), "K=65536 with int4 per-channel") {
		t.Errorf("a tile beyond the reach of heads: got %v", err)
	}
}
