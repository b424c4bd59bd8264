package gemm

import "fmt"

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

func checkVectors(name string, x, y []float32) {
	if len(x) != len(y) {
		panic(fmt.Sprintf("gemm: %s: lengths %d and %d differ", name, len(x), len(y)))
	}
}
