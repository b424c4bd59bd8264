//go:build cuda && linux && cgo

package driver

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"

	"gorgonia.org/cu"
)

// Device is a GPU with its worker. It is safe for concurrent use: functions
// given to Do run one after the other.
type Device struct {
	jobs chan job
	done chan error // the worker's last word
}

type job struct {
	run    func(*Context) error
	result chan<- outcome
}

type outcome struct {
	err   error
	panic any
}

// Count returns the number of CUDA devices. Without a driver that is an error
// which says why.
func Count() (int, error) {
	if err := start(); err != nil {
		return 0, err
	}
	n, err := cu.NumDevices()
	return n, check(err, "cuDeviceGetCount", "")
}

// Open starts a worker on a device, counted from 0, and retains its primary
// context. Without a driver or such a device it is an error that says why.
func Open(ordinal int) (*Device, error) {
	n, err := Count()
	if err != nil {
		return nil, err
	}
	if ordinal < 0 || ordinal >= n {
		return nil, fmt.Errorf("CUDA device %d of %d", ordinal, n)
	}
	d := &Device{jobs: make(chan job), done: make(chan error, 1)}
	started := make(chan error)
	go d.work(ordinal, started)
	if err := <-started; err != nil {
		return nil, err
	}
	return d, nil
}

func (d *Device) work(ordinal int, started chan<- error) {
	runtime.LockOSThread() // for good: the thread ends with the goroutine
	dev, err := cu.GetDevice(ordinal)
	if err := check(err, "cuDeviceGet", "device %d", ordinal); err != nil {
		started <- err
		return
	}
	ctx, err := dev.RetainPrimaryCtx()
	if err := check(err, "cuDevicePrimaryCtxRetain", "device %d", ordinal); err != nil {
		started <- err
		return
	}
	release := func() error {
		return check(dev.ReleasePrimaryCtx(), "cuDevicePrimaryCtxRelease", "device %d", ordinal)
	}
	if err := check(cu.SetCurrentContext(ctx), "cuCtxSetCurrent", "device %d", ordinal); err != nil {
		started <- errors.Join(err, release())
		return
	}
	c := &Context{device: dev, live: map[string]int{}}
	started <- nil
	defer func() { d.done <- errors.Join(c.leaks(), release()) }()
	d.serve(c)
}

// serve runs jobs until there are no more. A job that calls runtime.Goexit leaves
// nothing but deferred calls to run: serve goes on in one.
func (d *Device) serve(c *Context) {
	var at *job
	defer func() {
		if at != nil {
			at.result <- outcome{panic: goexit}
			d.serve(c)
		}
	}()
	for j := range d.jobs {
		at = &j
		o := protect(c, j.run)
		at = nil
		j.result <- o
	}
}

// goexit is the panic of Do when its function called runtime.Goexit.
const goexit = "driver: a function given to Do ended its goroutine (runtime.Goexit, or t.Skip or t.Fatal of a test)"

// protect runs f, so that a panic reaches the goroutine that called Do.
func protect(c *Context, f func(*Context) error) (o outcome) {
	defer func() {
		if p := recover(); p != nil {
			o.panic = p
		}
	}()
	return outcome{err: f(c)}
}

// Do runs f on the device's thread and returns its error. f must not call
// runtime.Goexit, as t.Skip and t.Fatal do: Do would panic.
func (d *Device) Do(f func(*Context) error) error {
	result := make(chan outcome, 1)
	d.jobs <- job{f, result}
	o := <-result
	if o.panic != nil {
		panic(o.panic)
	}
	return o.err
}

// Close ends the worker and releases the context. It reports what was never
// freed. Do must not be called after it.
func (d *Device) Close() error {
	close(d.jobs)
	return <-d.done
}

// Context makes calls on its device. Its methods belong inside Device.Do.
type Context struct {
	device cu.Device
	live   map[string]int // objects made and not yet destroyed
}

func (c *Context) leaks() error {
	var list []string
	for _, kind := range slices.Sorted(maps.Keys(c.live)) {
		if n := c.live[kind]; n != 0 {
			list = append(list, fmt.Sprintf("%d %s", n, kind))
		}
	}
	if list == nil {
		return nil
	}
	return fmt.Errorf("CUDA objects never freed: %s", strings.Join(list, ", "))
}

// Synchronize waits for all work of the context, and reports its failure.
func (c *Context) Synchronize() error { return check(cu.Synchronize(), "cuCtxSynchronize", "") }
