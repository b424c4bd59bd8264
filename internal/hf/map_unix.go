//go:build unix

package hf

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

func mapFile(f *os.File, size int) (*Blob, error) {
	data, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	return &Blob{Data: data, close: func() error { return unix.Munmap(data) }, release: releasePages}, nil
}

// releasePages drops the pages that lie wholly in p, part of a read-only
// mapping of a file, from this process's memory. A later access reads them
// from the file again, mostly out of the system's cache.
func releasePages(p []byte) {
	if len(p) == 0 {
		return
	}
	page := os.Getpagesize()
	skip := -int(uintptr(unsafe.Pointer(&p[0]))) & (page - 1)
	if n := (len(p) - skip) &^ (page - 1); n > 0 {
		unix.Madvise(p[skip:skip+n], unix.MADV_DONTNEED) // advice: a failure costs memory only
	}
}
