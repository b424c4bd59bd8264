package parallel

import (
	"fmt"
	"sync/atomic"
	"testing"
)

// Every index is called once, whatever the number of goroutines, by a worker whose
// number is below theirs.
func TestWorkers(t *testing.T) {
	for _, p := range []int{0, 1, 2, 3, 7, 100} {
		for _, n := range []int{0, 1, 2, 5, 64, 1000} {
			calls := make([]atomic.Int32, n)
			var high atomic.Int32
			Workers(p, n, func(worker, i int) {
				calls[i].Add(1)
				if worker < 0 || worker >= max(1, min(p, n)) {
					high.Add(1)
				}
			})
			for i := range calls {
				if c := calls[i].Load(); c != 1 {
					t.Fatalf("%d goroutines, %d tasks: task %d ran %d times", p, n, i, c)
				}
			}
			if high.Load() > 0 {
				t.Errorf("%d goroutines, %d tasks: a worker's number is out of range", p, n)
			}
		}
	}
}

// The error is that of the smallest index, and the other calls are made.
func TestFor(t *testing.T) {
	for range 50 {
		var calls atomic.Int32
		err := For(100, func(i int) error {
			calls.Add(1)
			if i%10 == 7 {
				return fmt.Errorf("%d", i)
			}
			return nil
		})
		if err == nil || err.Error() != "7" || calls.Load() != 100 {
			t.Fatalf("error %v after %d calls", err, calls.Load())
		}
	}
	if err := For(10, func(int) error { return nil }); err != nil {
		t.Error(err)
	}
}
