package gemm

import (
	"math"
	"unsafe"
)

// The generic kernel is the reference for the assembly: it states what each
// function computes and runs everywhere. Packing
// makes its reads sequential, and a 4x4 tile uses every element four times:
// together several times as fast as three plain loops.
var generic = &kernel{
	name:  "generic",
	tiles: []tile{{4, 4, tileGeneric}}, rows: 4, cols: 4, aStride: 4, kc: 256, fetch: 1, chunk: 32,
	transpose: transposeGeneric, block: 4,
	dot1: dot4x1Generic, dotWide: dot4x1Generic, wide: 1, fewRows: 8,
	lanes: 1, dot: dotGeneric, axpy: axpyGeneric, accumulate: accumulateGeneric,
	decodeBF16: decodeBF16Generic, decodeF16: decodeF16Generic,
	largest: largestGeneric, maxAbs: maxAbsGeneric, roundTo: roundToGeneric,
}

// tileGeneric sets c[i*ldc+j] = alpha·Σ_p a[p*4+i]·b[p*4+j], or adds to it.
func tileGeneric(kc int, a, b, _, c *float32, ldc int, alpha float32, add bool) {
	// Pointers to arrays of known length spare the inner loop its bounds checks.
	pa := unsafe.Slice((*[4]float32)(unsafe.Pointer(a)), kc)
	pb := unsafe.Slice((*[4]float32)(unsafe.Pointer(b)), kc)
	pc := unsafe.Slice(c, 3*ldc+4)
	for i := 0; i < 4; i += 2 {
		for h, row := range twoRows(pa, pb, i) {
			for j, s := range row {
				if add {
					pc[(i+h)*ldc+j] += alpha * s
				} else {
					pc[(i+h)*ldc+j] = alpha * s
				}
			}
		}
	}
}

// twoRows returns rows i and i+1 of the tile, i being 0 or 2: eight sums fit
// into registers, sixteen would not.
func twoRows(a, b [][4]float32, i int) [2][4]float32 {
	var s00, s01, s02, s03, s10, s11, s12, s13 float32
	b = b[:len(a)]
	for p := range a {
		x, y := &a[p], &b[p]
		x0, x1 := x[i&2], x[i&2+1]
		y0, y1, y2, y3 := y[0], y[1], y[2], y[3]
		s00 += x0 * y0
		s01 += x0 * y1
		s02 += x0 * y2
		s03 += x0 * y3
		s10 += x1 * y0
		s11 += x1 * y1
		s12 += x1 * y2
		s13 += x1 * y3
	}
	return [2][4]float32{{s00, s01, s02, s03}, {s10, s11, s12, s13}}
}

// transposeGeneric writes src[r*srcStride+p] to dst[p*dstStride+r] for
// 0 <= r < 4, 0 <= p < 4*blocks.
func transposeGeneric(dst *float32, dstStride int, src *float32, srcStride, blocks int) {
	if blocks == 0 {
		return
	}
	n := 4 * blocks
	d, s := unsafe.Slice(dst, (n-1)*dstStride+4), unsafe.Slice(src, 3*srcStride+n)
	for p := range n {
		q := d[p*dstStride : p*dstStride+4]
		q[0], q[1], q[2], q[3] = s[p], s[srcStride+p], s[2*srcStride+p], s[3*srcStride+p]
	}
}

// dot4x1Generic sets out[j] = Σ_p x[p]·w[j*ldw+p] for 0 <= j < 4.
func dot4x1Generic(k int, w *float32, ldw int, x *float32, _ int, out *float32) {
	pw, px, o := unsafe.Slice(w, 3*ldw+k), unsafe.Slice(x, k), unsafe.Slice(out, 4)
	w0, w1, w2, w3 := pw[:k], pw[ldw:ldw+k], pw[2*ldw:2*ldw+k], pw[3*ldw:3*ldw+k]
	var s0, s1, s2, s3 float32
	for p, v := range px {
		s0 += v * w0[p]
		s1 += v * w1[p]
		s2 += v * w2[p]
		s3 += v * w3[p]
	}
	o[0], o[1], o[2], o[3] = s0, s1, s2, s3
}

// dotGeneric returns Σ x[i]·y[i].
func dotGeneric(n int, x, y *float32) float32 {
	px, py := unsafe.Slice(x, n), unsafe.Slice(y, n)
	var s float32
	for i, v := range px {
		s += v * py[i]
	}
	return s
}

// axpyGeneric sets y[i] += alpha·x[i].
func axpyGeneric(n int, alpha float32, x, y *float32) {
	px, py := unsafe.Slice(x, n), unsafe.Slice(y, n)
	for i, v := range px {
		py[i] += alpha * v
	}
}

// accumulateGeneric sets dst[i] += src[i].
func accumulateGeneric(n int, dst *float64, src *float32) {
	d, s := unsafe.Slice(dst, n), unsafe.Slice(src, n)
	for i, v := range s {
		d[i] += float64(v)
	}
}

// largestGeneric returns the maximum of x but for NaN, -Inf without one; four of
// them are tracked to hide the latency of a comparison.
func largestGeneric(n int, x *float32) float32 {
	v := unsafe.Slice(x, n)
	a := float32(math.Inf(-1))
	b, c, d := a, a, a
	for ; len(v) >= 4; v = v[4:] {
		if v[0] > a {
			a = v[0]
		}
		if v[1] > b {
			b = v[1]
		}
		if v[2] > c {
			c = v[2]
		}
		if v[3] > d {
			d = v[3]
		}
	}
	for _, w := range v {
		if w > a {
			a = w
		}
	}
	return max(a, b, c, d)
}

// maxAbsGeneric returns max |x[i]|, or NaN where an x[i] is not finite: v-v is 0
// for a finite v and NaN otherwise.
func maxAbsGeneric(n int, x *float32) float32 {
	var m, faults float32
	for _, v := range unsafe.Slice(x, n) {
		faults += v - v
		if v = max(v, -v); v > m {
			m = v
		}
	}
	return m + faults
}

// roundToGeneric sets x[i] = scale·clamp(round(x[i]/scale), ±top), halves to even.
func roundToGeneric(n int, x *float32, scale, top float32) {
	v := unsafe.Slice(x, n)
	for i, w := range v {
		q := float32(math.RoundToEven(float64(w / scale)))
		v[i] = max(-top, min(top, q)) * scale
	}
}
