package gemm

import (
	"encoding/binary"
	"math"
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
