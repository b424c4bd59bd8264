package gemm

import (
	"math/bits"
	"sync"
	"unsafe"
)

// A buffer is reusable memory that starts on a cache line.
type buffer struct {
	floats []float32 // what was asked for
	data   []float32
}

// buffers keeps released buffers by the power of two of their size, so that the
// many small ones do not hold on to the memory of the few large ones.
var buffers [bits.UintSize]sync.Pool

// borrow returns a buffer of n floats of unknown content; give it back with
// release.
func borrow(n int) *buffer {
	const line = 64 / 4
	class := bits.Len(uint(n + line - 1))
	b, ok := buffers[class].Get().(*buffer)
	if !ok {
		b = &buffer{data: make([]float32, 1<<class)}
	}
	skip := -uintptr(unsafe.Pointer(&b.data[0])) / 4 % line
	b.floats = b.data[skip:][:n]
	return b
}

func (b *buffer) release() { buffers[bits.Len(uint(len(b.data)))-1].Put(b) }
