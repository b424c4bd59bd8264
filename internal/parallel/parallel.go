package parallel

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// For calls f(i) for i = 0..n-1 on GOMAXPROCS goroutines and returns the
// error of the smallest i that failed, so that results and errors do not depend
// on scheduling.
func For(n int, f func(i int) error) error {
	workers := min(n, runtime.GOMAXPROCS(0))
	var next atomic.Int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	first, err := n, error(nil)
	for range workers {
		wg.Go(func() {
			for {
				i := int(next.Add(1) - 1)
				if i >= n {
					return
				}
				if e := f(i); e != nil {
					mu.Lock()
					if i < first {
						first, err = i, e
					}
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return err
}
