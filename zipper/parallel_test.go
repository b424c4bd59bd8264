package zipper

import (
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// TestParallel demands that every task runs once, in calls from several
// goroutines and in calls inside tasks.
func TestParallel(t *testing.T) {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for n := range 40 {
				for p := range 5 {
					counts := make([]atomic.Int32, n*3)
					parallel(p, n, func(i int) {
						parallel(2, 3, func(k int) { counts[3*i+k].Add(1) })
					})
					for i := range counts {
						if c := counts[i].Load(); c != 1 {
							t.Errorf("p=%d n=%d: task %d ran %d times", p, n, i, c)
							return
						}
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestHelpersShare waits in one task for another: only a second goroutine can
// end it, awake or woken up.
func TestHelpersShare(t *testing.T) {
	for _, rest := range []time.Duration{0, 20 * time.Millisecond} {
		time.Sleep(rest)
		met := make(chan bool)
		parallel(2, 2, func(i int) {
			if i == 0 {
				met <- true
			} else {
				<-met
			}
		})
	}
}

// TestPanic demands that a task's panic reaches the caller from wherever it
// ran, and that helpers outlive it.
func TestPanic(t *testing.T) {
	for _, inHelper := range []bool{false, true} {
		caller := goroutine()
		func() {
			defer func() {
				v, _ := recover().(string)
				if !strings.HasPrefix(v, "broken") || strings.Contains(v, "in a helper") != inHelper {
					t.Errorf("panic in helper %t: recovered %q", inHelper, v)
				}
			}()
			met := make(chan bool)
			parallel(2, 2, func(i int) {
				// Both are at work before one of them breaks.
				if i == 0 {
					met <- true
				} else {
					<-met
				}
				if (goroutine() != caller) == inHelper {
					panic("broken")
				}
			})
		}()
		TestHelpersShare(t)
	}
}

// goroutine returns the first line of the stack, which names the goroutine.
func goroutine() string {
	b := make([]byte, 64)
	s, _, _ := strings.Cut(string(b[:runtime.Stack(b, false)]), "[")
	return s
}

// TestNoGoroutines demands that products start no goroutines.
func TestNoGoroutines(t *testing.T) {
	l := layout{n: 2048, k: 256, group: 128}
	w, x, y := prepack(t, l.random(1, power), Dense4), normal(1, 1, l.k), gemm.NewMatrix(1, l.n)
	w.MulNT(y, x)
	before := runtime.NumGoroutine()
	for range 100 {
		w.MulNT(y, x)
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines before 100 products, %d after", before, after)
	}
}
