//go:build unix

package zipper

import (
	"runtime"
	"syscall"
	"time"
)

// clock returns seconds of processor time where there is one processor, else of the
// wall clock.
func clock() float64 {
	if runtime.GOMAXPROCS(0) > 1 {
		return float64(time.Now().UnixNano()) / 1e9
	}
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
