//go:build cuda && linux && cgo

package driver

// #include "shim.h"
import "C"

import (
	"fmt"
	"unsafe"

	"gorgonia.org/cu"
)

// Buffer is memory of the device. The zero Buffer is empty and may be freed.
type Buffer struct {
	ptr  cu.DevicePtr
	size int64
}

// Address is the device's address of the buffer, as kernels take it.
func (b Buffer) Address() uint64 { return uint64(b.ptr) }

// Size is in bytes.
func (b Buffer) Size() int64 { return b.size }

// Alloc returns size bytes of device memory, aligned to 256.
func (c *Context) Alloc(size int64) (Buffer, error) {
	p, err := cu.MemAlloc(size)
	if err != nil {
		return Buffer{}, check(err, "cuMemAlloc", "%d bytes", size)
	}
	c.live["buffers"]++
	return Buffer{p, size}, nil
}

// Free gives b back; the zero Buffer is left alone. b becomes the zero Buffer.
func (c *Context) Free(b *Buffer) error {
	if b.size == 0 {
		return nil
	}
	old := *b
	*b = Buffer{}
	c.live["buffers"]--
	return check(cu.MemFree(old.ptr), "cuMemFree", "%d bytes", old.size)
}

// span checks that n bytes from offset lie in b.
func (b Buffer) span(offset, n int64) cu.DevicePtr {
	if offset < 0 || n < 0 || offset+n > b.size {
		panic(fmt.Sprintf("driver: bytes %d to %d of a buffer of %d", offset, offset+n, b.size))
	}
	return b.ptr + cu.DevicePtr(offset)
}

// Upload copies src to b at offset, and returns when that is done. It does not
// wait for streams, which must not be using those bytes.
func (c *Context) Upload(b Buffer, offset int64, src []byte) error {
	p := b.span(offset, int64(len(src)))
	if len(src) == 0 {
		return nil
	}
	if err := check(cu.MemcpyHtoD(p, unsafe.Pointer(&src[0]), int64(len(src))), "cuMemcpyHtoD", "%d bytes",
		len(src)); err != nil {
		return err
	}
	// From memory that is not pinned the call returns when the bytes have left
	// src, which may be before they have arrived.
	return check(cu.Stream{}.Synchronize(), "cuStreamSynchronize", "null stream")
}

// Download copies bytes of b from offset to dst, and returns when that is done.
// It does not wait for streams.
func (c *Context) Download(dst []byte, b Buffer, offset int64) error {
	p := b.span(offset, int64(len(dst)))
	if len(dst) == 0 {
		return nil
	}
	return check(cu.MemcpyDtoH(unsafe.Pointer(&dst[0]), p, int64(len(dst))), "cuMemcpyDtoH", "%d bytes", len(dst))
}

// Pinned is host memory that the device can read and write by itself, so that
// copies overlap with kernels. It is not Go's: Bytes is dead after FreePinned.
type Pinned struct{ Bytes []byte }

// AllocPinned returns size bytes of pinned host memory.
func (c *Context) AllocPinned(size int) (Pinned, error) {
	var p unsafe.Pointer
	if err := result(int(C.cuMemHostAlloc(&p, C.size_t(size), 0)), "cuMemHostAlloc", "%d bytes", size); err != nil {
		return Pinned{}, err
	}
	c.live["pinned buffers"]++
	return Pinned{unsafe.Slice((*byte)(p), size)}, nil
}

// FreePinned gives p back; an empty p is left alone.
func (c *Context) FreePinned(p *Pinned) error {
	if len(p.Bytes) == 0 {
		return nil
	}
	first := unsafe.Pointer(&p.Bytes[0])
	p.Bytes = nil
	c.live["pinned buffers"]--
	return check(cu.MemFreeHost(first), "cuMemFreeHost", "")
}

// Part is size bytes of b from offset: a view, which must not be freed.
func (b Buffer) Part(offset, size int64) Buffer { return Buffer{b.span(offset, size), size} }
