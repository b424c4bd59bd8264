package llm

import (
	"math"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
)

// Constants of exp: ln 2 in two parts (the first has 9 significant bits, so n
// times it is exact), and 1.5·2²³, whose addition rounds a float32 of magnitude
// below 2²² to an integer held in the low mantissa bits.
const (
	log2e       = 1.44269504088896341
	ln2Hi       = 0.693359375
	ln2Lo       = -2.12194440e-4
	rounder     = 12582912
	rounderBits = 0x4b400000
	// Between these the result is neither 0 nor infinite, and 2^n is a product
	// of two float32.
	expMin = -104
	expMax = 89
)

// exp returns e^x in float32 arithmetic, within 2 ulp where the result is a
// normal number: range reduction by ln 2 and the degree-5 minimax polynomial of
// Cephes expf (Moshier). exp(-Inf) = 0, exp(+Inf) = +Inf, exp(NaN) = NaN.
func exp(x float32) float32 {
	if x < expMin {
		x = expMin
	}
	if x > expMax {
		x = expMax
	}
	t := float32(x*log2e) + rounder
	n := t - rounder
	r := x - float32(n*ln2Hi)
	r -= float32(n * ln2Lo)
	p := float32(1.9875691500e-4*r) + 1.3981999507e-3
	p = float32(p*r) + 8.3334519073e-3
	p = float32(p*r) + 4.1665795894e-2
	p = float32(p*r) + 1.6666665459e-1
	p = float32(p*r) + 5.0000001201e-1
	p = float32(float32(p*r)*r) + r + 1
	// n runs from -150 to 128, beyond the exponents of float32: two factors.
	k := int32(math.Float32bits(t) - rounderBits)
	half := k >> 1
	return p * math.Float32frombits(uint32(half+127)<<23) * math.Float32frombits(uint32(k-half+127)<<23)
}

// softmax replaces s by exp(s - max s) and returns the sum, by which the caller
// divides what it makes of s: that is shorter than s. With a NaN or +Inf in s,
// or -Inf alone, the sum is NaN.
func softmax(s []float32) float32 { return active.expShift(s, gemm.Largest(s)) }

// Exp replaces x by exp(x-shift), within 2 ulp, and returns the sum.
func Exp(x []float32, shift float32) float32 { return active.expShift(x, shift) }

// Exp64 sets dst[i] = exp(x[i]-shift) in float64, for vocabularies of logits: x
// [V] must hold nothing above shift. It has the bits of math.Exp where that is
// assembly with FMA too, and its error, below 1 ulp, elsewhere.
func Exp64(dst []float64, x []float32, shift float64) { active.exp64(dst[:len(x)], x, shift) }

// swiGLU sets gate = silu(gate)·up, silu(g) = g/(1+e^-g).
func swiGLU(gate, up []float32) { active.swiGLU(gate, up[:len(gate)]) }

// elementwise is an implementation of the functions that need many
// exponentials: exp above in Go, or the same steps in assembly.
type elementwise struct {
	name  string
	lanes int
	// The assembly, for multiples of the lanes; nil in generic.
	expShiftN func(n int, x *float32, shift float32, sums *float32)
	swiGLUN   func(n int, gate *float32, up *float32)
	exp64N    func(n int, dst *float64, x *float32, shift float64)
}

var (
	generic = &elementwise{name: "generic", lanes: 1}
	active  = fastest()
)

// fastest goes by the kernel that gemm chose.
func fastest() *elementwise {
	for _, e := range variants() {
		if e.name == gemm.Kernel() {
			return e
		}
	}
	return generic
}

// expShift sets x = exp(x-shift) and returns the sum.
func (e *elementwise) expShift(x []float32, shift float32) float32 {
	var sum float32
	n := 0
	if e.expShiftN != nil {
		if n = len(x) / e.lanes * e.lanes; n > 0 {
			var sums [16]float32
			e.expShiftN(n, &x[0], shift, &sums[0])
			for _, s := range sums[:e.lanes] {
				sum += s
			}
		}
	}
	for i, v := range x[n:] {
		v = exp(v - shift)
		x[n+i] = v
		sum += v
	}
	return sum
}

func (e *elementwise) swiGLU(gate, up []float32) {
	n := 0
	if e.swiGLUN != nil {
		if n = len(gate) / e.lanes * e.lanes; n > 0 {
			e.swiGLUN(n, &gate[0], &up[0])
		}
	}
	for i, g := range gate[n:] {
		gate[n+i] = g / (1 + exp(-g)) * up[n+i]
	}
}

func (e *elementwise) exp64(dst []float64, x []float32, shift float64) {
	n := 0
	if e.exp64N != nil {
		if n = len(x) / e.lanes * e.lanes; n > 0 {
			e.exp64N(n, &dst[0], &x[0], shift)
		}
	}
	for i, v := range x[n:] {
		dst[n+i] = math.Exp(float64(v) - shift)
	}
}

// rmsNorm sets dst = x/sqrt(mean(x²)+eps)·w (Zhang and Sennrich 2019,
// arXiv:1910.07467). dst may alias x.
func rmsNorm(dst, x, w []float32, eps float32) {
	dst, w = dst[:len(x)], w[:len(x)]
	scale := float32(1 / math.Sqrt(float64(gemm.Dot(x, x)/float32(len(x))+eps)))
	for i, v := range x {
		dst[i] = w[i] * (v * scale)
	}
}

// finite reports whether no element of x is NaN or ±Inf.
func finite(x []float32) bool {
	m := gemm.MaxAbs(x)
	return m == m
}

// parallelRows runs f over row ranges that cover m, in parallel where there is
// enough work to pay for a goroutine.
func parallelRows(m gemm.Matrix, f func(i0, i1 int)) {
	const elements = 1 << 14 // per range: some 10 µs of work
	rows := max(1, elements/max(1, m.Cols))
	parallel.Each((m.Rows+rows-1)/rows, func(c int) {
		f(c*rows, min((c+1)*rows, m.Rows))
	})
}
