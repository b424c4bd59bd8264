package gemm

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"testing"
)

// awkward sizes lie around every width in use: 4, 6, 8, 14, 16, 32, 128, 256.
var awkward = []int{1, 2, 3, 5, 7, 8, 13, 14, 15, 16, 17, 31, 33, 63, 65, 127, 129, 255, 257, 385, 769}

// shapes returns m, n, k in which every awkward size takes every place beside
// others that change.
func shapes() [][3]int {
	var s [][3]int
	for i, a := range awkward {
		b, c := awkward[(i*5+3)%16], awkward[(i*7+1)%16]
		s = append(s, [3]int{a, b, c}, [3]int{b, a, c}, [3]int{b, c, a})
	}
	return append(s, [3]int{33, 65, 0}, [3]int{3, 5, 0}, [3]int{37, 33, 1000})
}

// TestMulNTExact multiplies small whole numbers: nothing is rounded, so every
// kernel must give the bits of the reference.
func TestMulNTExact(t *testing.T) {
	forKernels(t, func(t *testing.T) {
		for i, s := range shapes() {
			m, n, k, pad := s[0], s[1], s[2], i%3
			x, w := integerMatrix(1, m, k, pad), integerMatrix(2, n, k, 2*pad)
			y, check := guarded(t, m, n, pad)
			MulNT(y, x, w)
			check()
			want, size := reference(false, true, 1, x, w, 0, y)
			compare(t, y, want, size, 0)
		}
	})
}

// TestMulNTSource reads W through Load, as a model's bfloat16 weights are.
func TestMulNTSource(t *testing.T) {
	forKernels(t, func(t *testing.T) {
		for _, s := range shapes() {
			m, n, k := s[0], s[1], s[2]
			x, w := integerMatrix(1, m, k, 1), newHalves(n, k)
			y, check := guarded(t, m, n, 3)
			MulNT(y, x, w)
			check()
			want, size := reference(false, true, 1, x, w.matrix(), 0, y)
			compare(t, y, want, size, 0)
		}
	})
}

// TestGemmExact goes through transposes, alpha and beta; powers of two and
// whole numbers keep it exact. With beta = 0 the old content, NaN, is ignored.
func TestGemmExact(t *testing.T) {
	forKernels(t, func(t *testing.T) {
		for i, s := range shapes() {
			m, n, k := s[0], s[1], s[2]
			for c := range 4 {
				transA, transB := c&1 != 0, c&2 != 0
				alpha, beta := []float32{1, -1, 0.5, 2}[(i+c)%4], []float32{0, 1, -2}[(i+c)%3]
				a, b := integerMatrix(1, m, k, i%3), integerMatrix(2, k, n, i%2)
				if transA {
					a = integerMatrix(1, k, m, i%3)
				}
				if transB {
					b = integerMatrix(2, n, k, i%2)
				}
				out, check := guarded(t, m, n, i%4)
				if beta != 0 {
					old := integerMatrix(3, m, n, 0)
					for r := range m {
						copy(out.Row(r), old.Row(r))
					}
				}
				want, size := reference(transA, transB, float64(alpha), a, b, float64(beta), out)
				Gemm(transA, transB, alpha, a, b, beta, out)
				check()
				compare(t, out, want, size, 0)
			}
		}
	})
}

// TestGemmRounding holds random floats to the bound for k products plus alpha,
// beta and the final addition.
func TestGemmRounding(t *testing.T) {
	forKernels(t, func(t *testing.T) {
		for _, s := range shapes() {
			m, n, k := s[0], s[1], s[2]
			a, b, c := randomMatrix(1, m, k, 0), randomMatrix(2, k, n, 0), randomMatrix(3, m, n, 0)
			want, size := reference(false, false, 0.7, a, b, 1.3, c)
			// alpha and beta are rounded to float32 too.
			Gemm(false, false, 0.7, a, b, 1.3, c)
			compare(t, c, want, size, k+8)
		}
	})
}

// TestTiles runs every tile, the small ones of the edges too, on a product that
// is exactly as large as the tile, and inside one that is a little larger.
func TestTiles(t *testing.T) {
	for _, k := range kernels() {
		t.Run(k.name, func(t *testing.T) {
			use(t, k)
			for i, tile := range k.tiles {
				calls := 0
				only := *k
				only.tiles = slices.Clone(k.tiles)
				only.tiles[i].mul = func(kc int, a, b, next, c *float32, ldc int, alpha float32, add bool) {
					calls++
					tile.mul(kc, a, b, next, c, ldc, alpha, add)
				}
				for _, r := range []int{tile.rows, tile.rows - 1, tile.rows + k.rows} {
					for _, n := range []int{tile.cols, tile.cols - 1, tile.cols + k.cols} {
						x, w := integerMatrix(1, r, 2*k.kc+3, 0), integerMatrix(2, n, 2*k.kc+3, 0)
						y, check := guarded(t, r, n, 1)
						only.multiply(1, rowsOf(x), rowsOf(w), 0, y)
						check()
						want, size := reference(false, true, 1, x, w, 0, y)
						compare(t, y, want, size, 0)
					}
				}
				if calls == 0 {
					t.Errorf("tile %dx%d did not run", tile.rows, tile.cols)
				}
			}
		})
	}
}

// TestViews multiplies the middle of larger matrices.
func TestViews(t *testing.T) {
	forKernels(t, func(t *testing.T) {
		x, w := integerMatrix(1, 50, 90, 0), integerMatrix(2, 70, 100, 0)
		y, check := guarded(t, 40, 60, 5)
		xv, wv := x.View(3, 43, 11, 81), w.View(5, 65, 7, 77)
		MulNT(y, xv, wv)
		check()
		want, size := reference(false, true, 1, xv, wv, 0, y)
		compare(t, y, want, size, 0)
	})
}

// TestNaN: a NaN reaches its own row and column and nothing else, although
// edges are padded.
func TestNaN(t *testing.T) {
	forKernels(t, func(t *testing.T) {
		for _, m := range []int{3, 37} {
			x, w := integerMatrix(1, m, 45, 0), integerMatrix(2, 39, 45, 0)
			x.Row(m - 1)[44] = nan32
			w.Row(38)[0] = nan32
			y := NewMatrix(m, 39)
			MulNT(y, x, w)
			for i := range m {
				for j, v := range y.Row(i) {
					if got, want := math.IsNaN(float64(v)), i == m-1 || j == 38; got != want {
						t.Fatalf("y[%d,%d] = %v", i, j, v)
					}
				}
			}
		}
	})
}

// TestDeterminism: sizes large enough to run in parallel, bits equal for any
// number of goroutines.
func TestDeterminism(t *testing.T) {
	forKernels(t, func(t *testing.T) {
		for _, s := range [][3]int{{5, 1500, 700}, {200, 301, 403}, {900, 65, 150}} {
			m, n, k := s[0], s[1], s[2]
			if m*n*k < serialWork {
				t.Fatalf("%v is too small to run in parallel", s)
			}
			x, w := randomMatrix(1, m, k, 0), randomMatrix(2, n, k, 0)
			var first []float32
			var firstH []float64
			for _, procs := range []int{1, 2, 3, 7} {
				old := runtime.GOMAXPROCS(procs)
				y, h := NewMatrix(m, n), make([]float64, k*k)
				MulNT(y, x, w)
				Syrk(h, x)
				runtime.GOMAXPROCS(old)
				if first == nil {
					first, firstH = y.Data, h
				}
				if !slices.Equal(first, y.Data) || !slices.Equal(firstH, h) {
					t.Fatalf("%v: GOMAXPROCS=%d changes the result", s, procs)
				}
			}
		}
	})
}

// TestManyRows crosses the boundary at which a is packed in several goes.
func TestManyRows(t *testing.T) {
	m, n, k := 600, 40, packedFloats/minRows+100
	if testing.Short() {
		t.Skip("needs a product of 400 million multiply-adds")
	}
	x, w := integerMatrix(1, m, k, 0), integerMatrix(2, n, k, 0)
	y := NewMatrix(m, n)
	MulNT(y, x, w)
	want, size := reference(false, true, 1, x, w, 0, y)
	compare(t, y, want, size, 0)
}

func TestPanics(t *testing.T) {
	m := NewMatrix
	short := Matrix{Rows: 3, Cols: 3, Stride: 3, Data: make([]float32, 8)}
	for want, f := range map[string]func(){
		"gemm: MulNT: y [2,3] = x [2,5] · w [3,4]ᵀ":                                      func() { MulNT(m(2, 3), m(2, 5), m(3, 4)) },
		"gemm: MulNT: y [2,4] = x [2,4] · w [3,4]ᵀ":                                      func() { MulNT(m(2, 4), m(2, 4), m(3, 4)) },
		"gemm: MulNT: w: 3x3 with stride 3 needs 9 floats, got 8":                        func() { MulNT(m(2, 3), m(2, 3), short) },
		"gemm: Gemm: a: 2x3 with stride 2":                                               func() { Gemm(false, false, 1, Matrix{2, 3, 2, make([]float32, 9)}, m(3, 3), 0, m(2, 3)) },
		"gemm: Gemm: c [2,2] = a [3,2] (transposed: true) · b [4,2] (transposed: false)": func() { Gemm(true, false, 1, m(3, 2), m(4, 2), 0, m(2, 2)) },
		"gemm: Syrk: x [2,3] needs h of 9 floats, got 8":                                 func() { Syrk(make([]float64, 8), m(2, 3)) },
		"gemm: DecodeBF16: 2 values need 4 bytes, got 3":                                 func() { DecodeBF16(make([]float32, 2), make([]byte, 3)) },
		"gemm: Dot: lengths 2 and 3 differ":                                              func() { Dot(make([]float32, 2), make([]float32, 3)) },
	} {
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}()
			f()
		}()
	}
}

// FuzzKernels gives the same bytes to all kernels; whole numbers make them agree
// to the bit.
func FuzzKernels(f *testing.F) {
	f.Add(uint16(3), uint16(5), uint16(7), []byte{1, 2, 3})
	f.Add(uint16(17), uint16(33), uint16(65), []byte{255, 0, 128, 9})
	f.Fuzz(func(t *testing.T, m16, n16, k16 uint16, data []byte) {
		m, n, k := 1+int(m16%70), 1+int(n16%70), int(k16%800)
		if len(data) == 0 {
			return
		}
		at := 0
		value := func() float32 { at++; return float32(int8(data[at%len(data)])) }
		x, w := fill(m, k, 1, value), fill(n, k, 2, value)
		var first Matrix
		for _, kernel := range kernels() {
			use(t, kernel)
			y, check := guarded(t, m, n, 1)
			MulNT(y, x, w)
			z := NewMatrix(m, n)
			Gemm(false, true, 1, x, w, 0, z)
			check()
			if first.Data == nil {
				first = z
			}
			for i := range m {
				if !slices.Equal(y.Row(i), first.Row(i)) || !slices.Equal(z.Row(i), first.Row(i)) {
					t.Fatalf("%s: row %d of %dx%dx%d differs", kernel.name, i, m, n, k)
				}
			}
		}
	})
}
