package parallel

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
)

// Every index is done once, and no worker does two at a time.
func TestWorkers(t *testing.T) {
	for _, p := range []int{0, 1, 2, 7, 100} {
		for _, n := range []int{0, 1, 2, 33} {
			done := make([]atomic.Int32, n)
			busy := make([]atomic.Int32, max(1, p))
			Workers(p, n, func(worker, i int) {
				if busy[worker].Add(1) != 1 {
					t.Errorf("%d of %d: worker %d does two at a time", p, n, worker)
				}
				done[i].Add(1)
				runtime.Gosched()
				busy[worker].Add(-1)
			})
			for i := range done {
				if c := done[i].Load(); c != 1 {
					t.Errorf("%d of %d: index %d was done %d times", p, n, i, c)
				}
			}
		}
	}
}

// The error is that of the smallest index, however the work is divided.
func TestFor(t *testing.T) {
	for range 20 {
		err := For(50, func(i int) error {
			if i == 7 || i == 31 {
				return fmt.Errorf("index %d", i)
			}
			return nil
		})
		if err == nil || err.Error() != "index 7" {
			t.Fatal(err)
		}
	}
	if err := For(50, func(int) error { return nil }); err != nil {
		t.Error(err)
	}
}
