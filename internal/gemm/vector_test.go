package gemm

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestDecode goes through all 65536 values of both formats. bfloat16 is checked
// by its definition, half floats by arithmetic: (-1)^s·2^(e-15)·(1+f/1024).
func TestDecode(t *testing.T) {
	src := make([]byte, 2<<16)
	for i := range 1 << 16 {
		binary.LittleEndian.PutUint16(src[2*i:], uint16(i))
	}
	dst := make([]float32, 1<<16)
	forKernels(t, func(t *testing.T) {
		DecodeBF16(dst, src)
		for i, v := range dst {
			if got := math.Float32bits(v); got != uint32(i)<<16 {
				t.Fatalf("bfloat16 %#04x: got %#08x", i, got)
			}
		}
		DecodeF16(dst, src)
		for i, v := range dst {
			sign, e, f := 1-2*float64(i>>15), i>>10&31, float64(i&1023)
			want := sign * math.Ldexp(1+f/1024, e-15)
			switch {
			case e == 0:
				want = sign * math.Ldexp(f/1024, -14)
			case e == 31 && f == 0:
				want = math.Inf(int(sign))
			case e == 31:
				if v == v || math.Signbit(float64(v)) != (sign < 0) {
					t.Fatalf("half float %#04x: got %v", i, v)
				}
				continue
			}
			if float64(v) != want || math.Signbit(float64(v)) != (sign < 0) {
				t.Fatalf("half float %#04x: got %v, want %v", i, v, want)
			}
		}
	})
}

// TestDecodeLengths: every length, unaligned source, sentinels behind.
func TestDecodeLengths(t *testing.T) {
	forKernels(t, func(t *testing.T) {
		for n := range 70 {
			src, dst := make([]byte, 2*n+1), make([]float32, n+16)
			for i := range n {
				binary.LittleEndian.PutUint16(src[1+2*i:], 0x3c00) // 1 as half float, 2^-7 as bfloat16
			}
			for one, decode := range map[float32]func([]float32, []byte){1: DecodeF16, 0x1p-7: DecodeBF16} {
				for i := range dst {
					dst[i] = sentinel
				}
				decode(dst[:n], src[1:])
				for i, v := range dst {
					if i < n && v != one || i >= n && v != sentinel {
						t.Fatalf("n=%d: element %d is %v, want %v", n, i, v, one)
					}
				}
			}
		}
	})
}

func TestDotAxpy(t *testing.T) {
	forKernels(t, func(t *testing.T) {
		for n := range 300 {
			x, y := integerMatrix(1, 1, n, 0).Data, integerMatrix(2, 1, n+16, 0).Data
			var want float32
			for i, v := range x {
				want += v * y[i]
			}
			if got := Dot(x, y[:n]); got != want {
				t.Fatalf("Dot of %d: got %v, want %v", n, got, want)
			}
			before := append([]float32(nil), y...)
			Axpy(-0.5, x, y[:n])
			for i, v := range y {
				w := before[i]
				if i < n {
					w += -0.5 * x[i]
				}
				if v != w {
					t.Fatalf("Axpy of %d: element %d is %v, want %v", n, i, v, w)
				}
			}
		}
	})
}

// Largest passes NaN over, MaxAbs reports NaN and infinities, wherever they stand.
func TestLargestMaxAbs(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	forKernels(t, func(t *testing.T) {
		if got := Largest(nil); got != -inf {
			t.Errorf("Largest of nothing is %v", got)
		}
		if got := MaxAbs(nil); got != 0 {
			t.Errorf("MaxAbs of nothing is %v", got)
		}
		for n := 1; n < 150; n++ {
			x := randomMatrix(uint64(n), 1, n, 0).Data
			want, wantAbs := x[0], float32(0)
			for _, v := range x {
				want, wantAbs = max(want, v), max(wantAbs, v, -v)
			}
			if got := Largest(x); got != want {
				t.Fatalf("Largest of %d: got %v, want %v", n, got, want)
			}
			if got := MaxAbs(x); got != wantAbs {
				t.Fatalf("MaxAbs of %d: got %v, want %v", n, got, wantAbs)
			}
			for i := range x {
				for _, bad := range []float32{nan, inf, -inf} {
					y := slices.Clone(x)
					y[i] = bad
					if got := MaxAbs(y); got == got {
						t.Fatalf("MaxAbs of %d with %v at %d: got %v, want NaN", n, bad, i, got)
					}
					want := float32(-inf)
					for _, v := range y {
						if v > want {
							want = v
						}
					}
					if got := Largest(y); got != want {
						t.Fatalf("Largest of %d with %v at %d: got %v, want %v", n, bad, i, got, want)
					}
				}
			}
		}
	})
}

// RoundTo gives the bits of its definition on every kernel: signed zeros, halves,
// values beyond the top and subnormal scales among them.
func TestRoundTo(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	forKernels(t, func(t *testing.T) {
		for n := range 100 {
			for _, top := range []float32{1, 7, 127} {
				for _, scale := range []float32{1, 0.3, 1e-40, 1e30} {
					x := make([]float32, n+16)
					for i := range x {
						x[i] = float32(rng.IntN(64)-32) / 4 * scale
						if rng.IntN(3) == 0 {
							x[i] = (rng.Float32() - 0.5) * 3 * top * scale
						}
					}
					before := slices.Clone(x)
					RoundTo(x[:n], scale, top)
					for i, v := range x {
						want := before[i]
						if i < n {
							q := float32(math.RoundToEven(float64(want / scale)))
							want = max(-top, min(top, q)) * scale
						}
						if math.Float32bits(v) != math.Float32bits(want) {
							t.Fatalf("n=%d top=%v scale=%v: element %d of %v is %v, want %v", n, top, scale, i, before[i], v, want)
						}
					}
				}
			}
		}
	})
}
