package zipper

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// serialBytes is the size of a stream, times tokens, below which starting
// goroutines costs more than it gains.
const serialBytes = 256 << 10

func workers() int { return runtime.GOMAXPROCS(0) }

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
