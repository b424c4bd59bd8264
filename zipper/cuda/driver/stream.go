//go:build cuda && linux && cgo

package driver

import (
	"fmt"
	"unsafe"

	"gorgonia.org/cu"
)

// Stream runs what is given to it in order, independent of other streams.
type Stream struct{ s cu.Stream }

// NewStream returns a stream that does not wait for the null stream.
func (c *Context) NewStream() (*Stream, error) {
	s, err := cu.MakeStream(cu.NonBlocking)
	if err != nil {
		return nil, check(err, "cuStreamCreate", "")
	}
	c.live["streams"]++
	return &Stream{s}, nil
}

// FreeStream destroys s; nil is left alone.
func (c *Context) FreeStream(s *Stream) error {
	if s == nil {
		return nil
	}
	c.live["streams"]--
	return check(s.s.Destroy(), "cuStreamDestroy", "")
}

// Synchronize waits for all work of s, and reports its failure.
func (s *Stream) Synchronize() error {
	return check(s.s.Synchronize(), "cuStreamSynchronize", "")
}

// Wait lets later work of s wait for e.
func (s *Stream) Wait(e *Event) error { return check(s.s.Wait(e.e, 0), "cuStreamWaitEvent", "") }

// Upload copies src to b at offset in the order of s. src must stay as it is
// until then.
func (s *Stream) Upload(b Buffer, offset int64, src Pinned) error {
	p, n := b.span(offset, int64(len(src.Bytes))), int64(len(src.Bytes))
	if n == 0 {
		return nil
	}
	return check(cu.MemcpyHtoDAsync(p, unsafe.Pointer(&src.Bytes[0]), n, s.s), "cuMemcpyHtoDAsync", "%d bytes", n)
}

// Download copies bytes of b from offset to dst in the order of s.
func (s *Stream) Download(dst Pinned, b Buffer, offset int64) error {
	p, n := b.span(offset, int64(len(dst.Bytes))), int64(len(dst.Bytes))
	if n == 0 {
		return nil
	}
	return check(cu.MemcpyDtoHAsync(unsafe.Pointer(&dst.Bytes[0]), p, n, s.s), "cuMemcpyDtoHAsync", "%d bytes", n)
}

// Copy copies n bytes between buffers of the device in the order of s.
func (s *Stream) Copy(dst, src Buffer, n int64) error {
	to, from := dst.span(0, n), src.span(0, n)
	return check(cu.MemcpyDtoDAsync(to, from, n, s.s), "cuMemcpyDtoDAsync", "%d bytes", n)
}

// Fill sets n bytes of b from offset to v in the order of s.
func (s *Stream) Fill(b Buffer, offset, n int64, v byte) error {
	p := b.span(offset, n)
	if n == 0 {
		return nil
	}
	return check(cu.MemsetD8Async(p, v, n, s.s), "cuMemsetD8Async", "%d bytes", n)
}

// Event marks a place in a stream.
type Event struct{ e cu.Event }

// NewEvent returns an event that keeps the time.
func (c *Context) NewEvent() (*Event, error) {
	e, err := cu.MakeEvent(cu.DefaultEvent)
	if err != nil {
		return nil, check(err, "cuEventCreate", "")
	}
	c.live["events"]++
	return &Event{e}, nil
}

// FreeEvent destroys e; nil is left alone.
func (c *Context) FreeEvent(e *Event) error {
	if e == nil {
		return nil
	}
	c.live["events"]--
	return check(cu.DestroyEvent(&e.e), "cuEventDestroy", "")
}

// Record puts e into s.
func (e *Event) Record(s *Stream) error { return check(e.e.Record(s.s), "cuEventRecord", "") }

// Synchronize waits until the stream has come to e.
func (e *Event) Synchronize() error { return check(e.e.Synchronize(), "cuEventSynchronize", "") }

// Since returns the time from start to e in seconds; both must have been reached.
// The driver counts in steps of about half a microsecond.
func (e *Event) Since(start *Event) (float64, error) {
	ms, err := start.e.Elapsed(e.e)
	if err != nil {
		return 0, check(err, "cuEventElapsedTime", "")
	}
	if !(ms >= 0) {
		return 0, fmt.Errorf("cuEventElapsedTime: %g ms", ms)
	}
	return ms / 1e3, nil
}
