package zipper

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// serialBytes is the size of a stream, times tokens, below which a second core
// costs more than it gains.
const serialBytes = 64 << 10

func workers() int { return runtime.GOMAXPROCS(0) }

// parallel runs f(0) ... f(n-1) on at most p goroutines, the caller's included.
// Tasks are handed out in order, each to whoever is free: the machine may be
// busy with other things, and equal shares would wait for the slowest. A panic of
// a task stops the handing out and is the caller's.
//
// The other goroutines are helpers that live as long as the program. They are
// asked, never waited for: one that has not begun when the tasks run out is let
// off, so that a slow wake-up costs no more than it takes to ask.
func parallel(p, n int, f func(task int)) {
	p = min(p, n)
	if p <= 1 {
		for i := range n {
			f(i)
		}
		return
	}
	j := &job{f: f, n: int64(n)}
	asked := helpersFor(p - 1)
	for i, h := range asked {
		if !h.ask(j) {
			asked[i] = nil // helps somebody else
		}
	}
	func() {
		defer j.finish(asked)
		j.work()
	}()
	if v := j.failure.Load(); v != nil {
		panic(*v)
	}
}

// job is a call of parallel.
type job struct {
	f       func(task int)
	n       int64
	next    atomic.Int64
	helped  atomic.Int32 // helpers that are done
	done    sync.WaitGroup
	failure atomic.Pointer[string]
}

func (j *job) work() {
	for i := j.next.Add(1) - 1; i < j.n; i = j.next.Add(1) - 1 {
		j.f(int(i))
	}
}

// finish ends the handing out, lets helpers off and waits for those at work.
func (j *job) finish(asked []*helper) {
	j.next.Store(j.n)
	at := int32(0)
	for _, h := range asked {
		switch {
		case h == nil:
		case h.job.CompareAndSwap(j, nil):
			j.done.Done()
		default:
			at++
		}
	}
	for i := 0; i < spins && j.helped.Load() < at; i++ {
		pause(i)
	}
	j.done.Wait()
}

// help is work in a helper.
func (j *job) help() {
	defer func() {
		if v := recover(); v != nil {
			s := fmt.Sprintf("%v, in a helper:\n%s", v, debug.Stack())
			j.failure.CompareAndSwap(nil, &s)
			j.next.Store(j.n)
		}
	}()
	j.work()
}

// A helper is a goroutine that takes one job after another.
type helper struct {
	job    atomic.Pointer[job] // nil, asked for, or busy
	asleep atomic.Bool
	wake   chan struct{}
}

var busy = new(job)

// spins is how often a helper looks for a job before it sleeps, some 20 µs: the
// layers of a model follow each other faster than a sleeper wakes.
const spins = 4000

// pause lets others run now and then.
func pause(i int) {
	if i%256 == 255 {
		runtime.Gosched()
	}
}

// ask offers j to h and reports whether h was free.
func (h *helper) ask(j *job) bool {
	j.done.Add(1)
	if !h.job.CompareAndSwap(nil, j) {
		j.done.Done()
		return false
	}
	if h.asleep.CompareAndSwap(true, false) {
		h.wake <- struct{}{} // room for one; only who ends the sleep sends
	}
	return true
}

func (h *helper) run() {
	for i := 0; ; i++ {
		if j := h.job.Load(); j != nil && h.job.CompareAndSwap(j, busy) {
			j.help()
			h.job.Store(nil)
			j.helped.Add(1)
			j.done.Done()
			i = 0
			continue
		}
		if i < spins {
			pause(i)
			continue
		}
		h.asleep.Store(true)
		// A job that came before this was visible had nobody to wake.
		if h.job.Load() == nil || !h.asleep.CompareAndSwap(true, false) {
			<-h.wake
		}
		i = 0
	}
}

var helpers struct {
	sync.Mutex
	all []*helper
}

// helpersFor returns n helpers, started if there are fewer.
func helpersFor(n int) []*helper {
	helpers.Lock()
	defer helpers.Unlock()
	for len(helpers.all) < n {
		h := &helper{wake: make(chan struct{}, 1)}
		helpers.all = append(helpers.all, h)
		go h.run()
	}
	return append([]*helper(nil), helpers.all[:n]...)
}
