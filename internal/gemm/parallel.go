package gemm

import (
	"runtime"
	"sync"
	"sync/atomic"
)

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

// parallel runs f(0) ... f(n-1) on at most p goroutines, the caller's included.
// Tasks are handed out in order, each to whoever is free: the machine may be
// busy with other things, and equal shares would wait for the slowest.
func parallel(p, n int, f func(task int)) {
	p = min(p, n)
	if p <= 1 {
		for i := range n {
			f(i)
		}
		return
	}
	var next atomic.Int64
	work := func() {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			f(i)
		}
	}
	var wg sync.WaitGroup
	for range p - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
}
