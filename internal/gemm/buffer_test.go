package gemm

import (
	"testing"
	"unsafe"
)

// TestBorrow: sizes around powers of two are served, aligned and not shared.
func TestBorrow(t *testing.T) {
	for _, n := range []int{0, 1, 15, 16, 17, 48, 49, 1000, 1008, 1009, 1024, 65535, 65536} {
		a, b := borrow(n), borrow(n)
		for _, c := range []*buffer{a, b} {
			if len(c.floats) != n || uintptr(unsafe.Pointer(unsafe.SliceData(c.floats)))%64 != 0 {
				t.Errorf("%d floats: got %d at %p", n, len(c.floats), unsafe.SliceData(c.floats))
			}
		}
		if unsafe.SliceData(a.floats) == unsafe.SliceData(b.floats) {
			t.Errorf("%d floats: the same memory twice", n)
		}
		a.release()
		b.release()
		if c := borrow(n); len(c.data) != len(a.data) {
			t.Errorf("%d floats: a released buffer of %d came back from the class of %d", n, len(c.data), len(a.data))
		}
	}
}
