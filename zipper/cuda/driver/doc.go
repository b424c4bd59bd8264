// Package driver calls the CUDA driver: devices, memory, modules, streams and
// events through gorgonia.org/cu, and a few functions that it lacks. It has code
// only when built with the tag cuda, on Linux, with cgo and a cuda.h:
//
//	eval "$(scripts/cuda-env)" && go build -tags cuda ./experiments
//
// A program built so starts on a machine without a driver, too: nothing is
// linked with libcuda, which is loaded when Open first needs it (see shim.c).
//
// All calls for a device run on one goroutine that never leaves its thread,
// since a CUDA context belongs to a thread: Device.Do hands it a function. The
// function gets a Context, whose methods make the calls directly; it is valid
// until the function returns.
//
// Every error of the driver is an *Error with the call and CUDA's name.
package driver
