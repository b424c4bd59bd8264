package gemm

import (
	"fmt"
	"math"
)

// Dot returns Σ x[i]·y[i], summed in float32 in an order that depends on the
// kernel. x and y must have the same length.
func Dot(x, y []float32) float32 {
	checkVectors("Dot", x, y)
	k := active
	n := len(x) / k.lanes * k.lanes
	var s float32
	if n > 0 {
		s = k.dot(n, &x[0], &y[0])
	}
	for i := n; i < len(x); i++ {
		s += x[i] * y[i]
	}
	return s
}

// Axpy adds alpha·x to y. x and y must have the same length.
func Axpy(alpha float32, x, y []float32) {
	checkVectors("Axpy", x, y)
	k := active
	n := len(x) / k.lanes * k.lanes
	if n > 0 {
		k.axpy(n, alpha, &x[0], &y[0])
	}
	for i := n; i < len(x); i++ {
		y[i] += alpha * x[i]
	}
}

// Largest returns the maximum of x but for NaN; -Inf without any other.
func Largest(x []float32) float32 {
	k := active
	m := float32(math.Inf(-1))
	n := len(x) / k.lanes * k.lanes
	if n > 0 {
		m = k.largest(n, &x[0])
	}
	if n < len(x) {
		m = max(m, largestGeneric(len(x)-n, &x[n]))
	}
	return m
}

// MaxAbs returns max |x[i]|, 0 without any, or NaN where an x[i] is NaN or infinite.
func MaxAbs(x []float32) float32 {
	k := active
	var m float32
	n := len(x) / k.lanes * k.lanes
	if n > 0 {
		m = k.maxAbs(n, &x[0])
	}
	if n < len(x) {
		m = max(m, maxAbsGeneric(len(x)-n, &x[n]))
	}
	return m
}

// RoundTo rounds x to a grid: x[i] = scale·clamp(round(x[i]/scale), ±top), halves
// to even. x must be finite, scale positive. The result does not depend on the
// kernel.
func RoundTo(x []float32, scale, top float32) {
	k := active
	n := len(x) / k.lanes * k.lanes
	if n > 0 {
		k.roundTo(n, &x[0], scale, top)
	}
	if n < len(x) {
		roundToGeneric(len(x)-n, &x[n], scale, top)
	}
}

func checkVectors(name string, x, y []float32) {
	if len(x) != len(y) {
		panic(fmt.Sprintf("gemm: %s: lengths %d and %d differ", name, len(x), len(y)))
	}
}
