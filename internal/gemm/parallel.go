package gemm

import "runtime"

// serialWork is the number of multiply-adds below which starting goroutines
// costs more than it gains (some 30 µs of one core with AVX-512).
const serialWork = 4 << 20

// workers returns how many goroutines work multiply-adds are worth.
func workers(work int) int {
	if work < serialWork {
		return 1
	}
	return runtime.GOMAXPROCS(0)
}
