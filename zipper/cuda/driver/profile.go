//go:build cuda && linux && cgo

package driver

// #include "shim.h"
import "C"

// StartProfiler lets a profiler look that was told not to begin at once (ncu
// --profile-from-start off).
func (c *Context) StartProfiler() error {
	return result(int(C.cuProfilerStart()), "cuProfilerStart", "")
}

// StopProfiler ends what StartProfiler began.
func (c *Context) StopProfiler() error {
	return result(int(C.cuProfilerStop()), "cuProfilerStop", "")
}
