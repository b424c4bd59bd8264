package parallel

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Workers calls f(worker, i) for i = 0..n-1 on at most p goroutines, the caller's
// included, and waits for all. Indices are handed out in order, each to a goroutine
// that is free: the machine may be busy with other things, and equal parts would wait
// for the slowest one. worker, below p, numbers the goroutine, for scratch space.
func Workers(p, n int, f func(worker, i int)) {
	p = min(p, n)
	if p <= 1 {
		for i := range n {
			f(0, i)
		}
		return
	}
	var next atomic.Int64
	work := func(worker int) {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			f(worker, i)
		}
	}
	var wg sync.WaitGroup
	for w := 1; w < p; w++ {
		wg.Go(func() { work(w) })
	}
	work(0)
	wg.Wait()
}

// Each calls f(i) for i = 0..n-1 on GOMAXPROCS goroutines.
func Each(n int, f func(i int)) {
	Workers(runtime.GOMAXPROCS(0), n, func(_, i int) { f(i) })
}

// For calls f(i) for i = 0..n-1 on GOMAXPROCS goroutines and returns the
// error of the smallest i that failed, so that results and errors do not depend
// on scheduling.
func For(n int, f func(i int) error) error {
	var mu sync.Mutex
	first, err := n, error(nil)
	Each(n, func(i int) {
		if e := f(i); e != nil {
			mu.Lock()
			if i < first {
				first, err = i, e
			}
			mu.Unlock()
		}
	})
	return err
}
