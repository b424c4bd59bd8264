package zipper

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePage is the usual size of a large page.
const hugePage = 2 << 20

// allocate returns n zero bytes that begin on a cache line. Where a large page
// fits, the kernel is asked for large ones: with small ones a stream stalls at
// every 4 KiB, where prefetching stops until the address is translated. It may
// decline; nothing but time depends on it.
func allocate(n int) []byte {
	if n < 2*hugePage {
		return alignedTo(n, cacheLine)
	}
	b := alignedTo(ceilDiv(n, hugePage)*hugePage, hugePage)
	_ = unix.Madvise(b, unix.MADV_HUGEPAGE)
	return b[:n]
}

// settle is for memory from allocate that has been written: what came to lie
// on small pages, because the memory had been in use before, is moved.
func settle(b []byte) {
	if cap(b) < 2*hugePage {
		return
	}
	start := int(-uintptr(unsafe.Pointer(&b[0])) % hugePage)
	if whole := (cap(b) - start) / hugePage * hugePage; whole > 0 {
		_ = unix.Madvise(b[:cap(b)][start:start+whole], unix.MADV_COLLAPSE)
	}
}
