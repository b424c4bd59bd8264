//go:build cuda && linux && cgo

package driver

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"gorgonia.org/cu"
)

// These tests run on the fake driver (../fake) as on a real one; those of its
// strictness and of its faults run on the fake one alone. scripts/cuda-check
// builds it and puts it where the loader finds it.

// image has no code: the fake driver only wants to see that it is PTX.
const image = ".version 7.0\n.target sm_80\n.address_size 64\n"

func open(t *testing.T) *Device {
	t.Helper()
	d, err := Open(0)
	if err != nil {
		t.Skipf("needs a CUDA device: %v", err)
	}
	return d
}

// do runs f on the device and closes it, both without error.
func do(t *testing.T, f func(c *Context) error) {
	t.Helper()
	d := open(t)
	if err := errors.Join(d.Do(f), d.Close()); err != nil {
		t.Error(err)
	}
}

// needFake skips outside of Device.Do: t.Skip ends its goroutine, which must not
// be the device's worker.
func needFake(t *testing.T) {
	t.Helper()
	fake := false
	do(t, func(c *Context) error {
		i, err := c.Info()
		fake = err == nil && i.Emulated
		return nil
	})
	if !fake {
		t.Skip("needs the fake driver")
	}
}

// roundTrip sends bytes to the device, through a kernel where there is one, and
// back, on two streams, and frees all that it made.
func roundTrip(c *Context) (err error) {
	const n = 5 << 10
	var buffers [2]Buffer
	var in, out Pinned
	var streams [2]*Stream
	var events [3]*Event
	var m *Module
	var g *Graph
	defer func() {
		for i := range buffers {
			err = errors.Join(err, c.Free(&buffers[i]), c.FreeStream(streams[i]))
		}
		for _, e := range events {
			err = errors.Join(err, c.FreeEvent(e))
		}
		err = errors.Join(err, c.FreePinned(&in), c.FreePinned(&out), c.FreeGraph(g), c.Unload(m))
	}()
	for i := range buffers {
		if buffers[i], err = c.Alloc(n); err != nil {
			return err
		}
		if streams[i], err = c.NewStream(); err != nil {
			return err
		}
	}
	for i := range events {
		if events[i], err = c.NewEvent(); err != nil {
			return err
		}
	}
	if in, err = c.AllocPinned(n); err != nil {
		return err
	}
	if out, err = c.AllocPinned(n); err != nil {
		return err
	}
	for i := range in.Bytes {
		in.Bytes[i] = byte(i * 7)
	}
	if err = events[0].Record(streams[0]); err != nil {
		return err
	}
	if err = streams[0].Upload(buffers[0], 0, in); err != nil {
		return err
	}
	info, err := c.Info()
	if err != nil {
		return err
	}
	work := func() error { return streams[0].Copy(buffers[1], buffers[0], n) }
	if info.Emulated {
		if m, err = c.Load([]byte(image)); err != nil {
			return err
		}
		k, err := m.Kernel("copy16")
		if err != nil {
			return err
		}
		if err = k.AllowShared(100 << 10); err != nil {
			return err
		}
		work = func() error {
			return k.Launch(streams[0], Dim{2, 1, 1}, Dim{256, 1, 1}, 60<<10, buffers[1].Address(), buffers[0].Address(), n/16)
		}
	}
	if g, err = c.Capture(streams[0], work); err != nil {
		return err
	}
	if err = g.Launch(streams[0]); err != nil {
		return err
	}
	if err = events[1].Record(streams[0]); err != nil {
		return err
	}
	if err = streams[1].Wait(events[1]); err != nil {
		return err
	}
	if err = streams[1].Download(out, buffers[1], 0); err != nil {
		return err
	}
	if info.Emulated && bytes.Equal(in.Bytes, out.Bytes) {
		return errors.New("the copy was done before anything waited for it")
	}
	if err = events[2].Record(streams[1]); err != nil {
		return err
	}
	if err = events[2].Synchronize(); err != nil {
		return err
	}
	if !bytes.Equal(in.Bytes, out.Bytes) {
		return errors.New("other bytes came back")
	}
	if s, err := events[2].Since(events[0]); err != nil || s < 0 {
		return fmt.Errorf("%g s: %w", s, err)
	}
	free, total, err := c.MemoryInfo()
	if err == nil && !(0 < free && free < total) {
		err = fmt.Errorf("%d of %d bytes free", free, total)
	}
	if err == nil {
		err = c.Synchronize()
	}
	return err
}

func TestRoundTrip(t *testing.T) { do(t, roundTrip) }

// TestFaults lets every call of roundTrip fail once. Each time there must be an
// error with the call and CUDA's name, nothing may be left, and the next run
// must pass.
func TestFaults(t *testing.T) {
	needFake(t)
	run := func() error {
		d, err := Open(0)
		if err != nil {
			return err
		}
		return errors.Join(d.Do(roundTrip), d.Close())
	}
	before := FakeCalls()
	if err := run(); err != nil {
		t.Fatal(err)
	}
	calls := FakeCalls() - before
	if calls < 40 {
		t.Fatalf("only %d calls were counted", calls)
	}
	names, optional := map[string]bool{}, 0
	for i := range calls {
		t.Setenv("FAKE_CUDA_FAIL", fmt.Sprintf("%d:719", FakeCalls()+i+1))
		err := run()
		os.Unsetenv("FAKE_CUDA_FAIL")
		var e *Error
		switch {
		case err == nil:
			// What only describes a device is optional: its failure is an empty field.
			optional++
		case !errors.As(err, &e) || e.Code != 719 || e.Name != "CUDA_ERROR_LAUNCH_FAILED" || !strings.HasPrefix(e.Call, "cu"):
			t.Errorf("call %d: %v", i+1, err)
		default:
			if names[e.Call] = true; strings.Contains(err.Error(), "never freed") {
				t.Errorf("call %d: %v", i+1, err)
			}
		}
		if left := FakeObjects(); left != "" {
			t.Errorf("call %d (%v): left %s", i+1, err, left)
		}
		if err := run(); err != nil {
			t.Errorf("after the failure of call %d: %v", i+1, err)
		}
	}
	if len(names) < 25 || optional == 0 || optional > 5 {
		t.Errorf("these calls failed: %v; %d were not missed", names, optional)
	}
}

// TestLateFault: a kernel that fails when it runs is reported by what waits.
func TestLateFault(t *testing.T) {
	needFake(t)
	d := open(t)
	err := d.Do(func(c *Context) error {
		s, err := c.NewStream()
		if err != nil {
			return err
		}
		m, err := c.Load([]byte(image))
		if err != nil {
			return err
		}
		k, err := m.Kernel("copy16")
		if err != nil {
			return err
		}
		b, err := c.Alloc(256)
		if err != nil {
			return err
		}
		t.Setenv("FAKE_CUDA_LATE", fmt.Sprint(FakeCalls()+1))
		if err := k.Launch(s, Dim{1, 1, 1}, Dim{256, 1, 1}, 0, b.Address(), b.Address(), 16); err != nil {
			t.Errorf("the launch itself: %v", err)
		}
		err = s.Synchronize()
		return errors.Join(err, c.Free(&b), c.FreeStream(s), c.Unload(m))
	})
	if err == nil || !strings.HasPrefix(err.Error(), "cuStreamSynchronize: CUDA_ERROR_ILLEGAL_ADDRESS (700)") {
		t.Errorf("error %v", err)
	}
	if err := d.Close(); err == nil {
		t.Error("a broken context closes without error")
	}
	do(t, roundTrip)
}

// TestCapture: what is captured does not run, runs as often as its graph is launched, and must not wait.
func TestCapture(t *testing.T) {
	do(t, func(c *Context) (err error) {
		s, err := c.NewStream()
		if err != nil {
			return err
		}
		b, err := c.Alloc(64)
		if err != nil {
			return err
		}
		var g *Graph
		defer func() { err = errors.Join(err, c.FreeGraph(g), c.Free(&b), c.FreeStream(s)) }()
		if err := s.Fill(b, 0, 64, 1); err != nil {
			return err
		}
		if g, err = c.Capture(s, func() error { return s.Fill(b, 0, 32, 2) }); err != nil {
			return err
		}
		want := func(first byte) error {
			data := make([]byte, 64)
			if err := errors.Join(s.Synchronize(), c.Download(data, b, 0)); err != nil {
				return err
			}
			if data[0] != first || data[31] != first || data[32] != 1 {
				return fmt.Errorf("bytes %v, want %d at the beginning", data, first)
			}
			return nil
		}
		for range 2 {
			if err := errors.Join(s.Fill(b, 0, 32, 1), want(1), g.Launch(s), want(2)); err != nil {
				return err
			}
		}
		if _, err := c.Capture(s, s.Synchronize); err == nil {
			return errors.New("a captured stream can be waited for")
		}
		return want(2)
	})
}

func TestErrors(t *testing.T) {
	needFake(t)
	do(t, func(c *Context) error {
		m, err := c.Load([]byte(image))
		if err != nil {
			return err
		}
		k, err := m.Kernel("copy16")
		if err != nil {
			return err
		}
		s, err := c.NewStream()
		if err != nil {
			return err
		}
		_, bad := c.Load([]byte("no PTX"))
		_, missing := m.Kernel("nonesuch")
		_, huge := c.Alloc(1 << 40)
		for _, e := range []struct {
			err  error
			want string
		}{
			{bad, "cuModuleLoadDataEx: CUDA_ERROR_INVALID_IMAGE (200): 6 bytes: fake driver: the image has no .version"},
			{missing, "cuModuleGetFunction: CUDA_ERROR_NOT_FOUND (500): kernel nonesuch"},
			{huge, "cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY (2): 1099511627776 bytes"},
			{k.AllowShared(200 << 10), "cuFuncSetAttribute: CUDA_ERROR_INVALID_VALUE (1): kernel copy16, 204800 bytes"},
			{k.Launch(s, Dim{1, 1, 1}, Dim{256, 1, 1}, 49<<10, 0, 0, 0), "kernel copy16: 50176 bytes of shared memory, allowed are 49152"},
			{k.Launch(s, Dim{1, 1, 1}, Dim{2048, 1, 1}, 0, 0, 0, 0), "cuLaunchKernel: CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES (701): kernel copy16, grid {1 1 1}, block {2048 1 1}"},
		} {
			if e.err == nil || !strings.HasPrefix(e.err.Error(), e.want) {
				t.Errorf("error %q, want %q", e.err, e.want)
			}
		}
		if !IsOutOfMemory(huge) || IsOutOfMemory(bad) {
			t.Error("out of memory is not told from other errors")
		}
		return errors.Join(c.FreeStream(s), c.Unload(m))
	})
}

// TestLeak: Close tells what was forgotten.
func TestLeak(t *testing.T) {
	needFake(t)
	d := open(t)
	var b Buffer
	err := d.Do(func(c *Context) (err error) {
		b, err = c.Alloc(16)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err == nil || err.Error() != "CUDA objects never freed: 1 buffers" {
		t.Errorf("error %v", err)
	}
	do(t, func(c *Context) error {
		c.live["buffers"]++
		return c.Free(&b)
	})
}

func TestPanicReachesTheCaller(t *testing.T) {
	d := open(t)
	defer d.Close()
	defer func() {
		if p := recover(); p != "here" {
			t.Errorf("recovered %v", p)
		}
		do(t, roundTrip)
	}()
	d.Do(func(*Context) error { panic("here") })
}

// TestGoexit: a function that ends its goroutine, as t.Skip and t.Fatal do, must
// not take the worker with it and leave Do waiting for ever.
// TestProfiler: a launch is seen between start and stop alone.
func TestProfiler(t *testing.T) {
	needFake(t)
	seen := func() int { n, _ := cu.Device(0).Attribute(10009); return n }
	do(t, func(c *Context) error {
		m, err := c.Load([]byte(image))
		if err != nil {
			return err
		}
		s, err := c.NewStream()
		if err != nil {
			return err
		}
		k, err := m.Kernel("delay")
		if err != nil {
			return err
		}
		launch := func() error { return k.Launch(s, Dim{1, 1, 1}, Dim{32, 1, 1}, 0, 1) }
		before := seen()
		err = errors.Join(launch(), c.StartProfiler(), launch(), c.StopProfiler(), launch(), s.Synchronize())
		if n := seen() - before; n != 1 {
			t.Errorf("the profiler saw %d launches of 3, want the second", n)
		}
		return errors.Join(err, c.FreeStream(s), c.Unload(m))
	})
}

func TestGoexit(t *testing.T) {
	d := open(t)
	func() {
		defer func() {
			if p := recover(); p != goexit {
				t.Errorf("recovered %v", p)
			}
		}()
		d.Do(func(*Context) error { runtime.Goexit(); return nil })
	}()
	if err := errors.Join(d.Do(roundTrip), d.Close()); err != nil {
		t.Error(err)
	}
}

// TestInfoWithoutClocks: what only describes a device may be missing.
func TestInfoWithoutClocks(t *testing.T) {
	needFake(t)
	do(t, func(c *Context) error {
		full, err := c.Info()
		if err != nil {
			return err
		}
		t.Setenv("FAKE_CUDA_WITHOUT", "13,36,37")
		i, err := c.Info()
		if err != nil {
			return err
		}
		if i.ClockKHz != 0 || i.MemoryKHz != 0 || i.BusBits != 0 || i.SMs != full.SMs || i.Capability != full.Capability || i.L2 != full.L2 {
			t.Errorf("%+v, in full %+v", i, full)
		}
		t.Setenv("FAKE_CUDA_WITHOUT", "16")
		if i, err := c.Info(); err == nil || !strings.Contains(err.Error(), "attribute 16") {
			t.Errorf("no number of SMs: %+v, %v", i, err)
		}
		return nil
	})
}

// TestWithoutDriver: this very program starts where there is no driver, and says so.
func TestWithoutDriver(t *testing.T) {
	if os.Getenv("DRIVER_TEST_PROBE") != "" {
		_, err := Open(0)
		fmt.Printf("probe: %v\n", err)
		return
	}
	if _, err := Open(0); err == nil {
		needFake(t) // a real driver cannot be hidden
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestWithoutDriver$", "-test.v")
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "LD_LIBRARY_PATH=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "DRIVER_TEST_PROBE=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "probe: no CUDA driver: libcuda.so.1: cannot open shared object file") {
		t.Errorf("%v\n%s", err, out)
	}
}
