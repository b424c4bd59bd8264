package zipper

import "unsafe"

// Memory returns n bytes for Sum to read, in the pages that streams lie in, and
// written to: pages that never were are all the same page.
func Memory(n int) []byte {
	b := allocate(n)
	for i := range b {
		b[i] = byte(i)
	}
	settle(b)
	return b
}

// Sum returns the sum of all bytes of p, read the way kernels read a stream, in
// sequential tasks on all cores, but with next to no work: len(p) over its time
// is the bandwidth that a product is judged by.
func Sum(p []byte) uint64 {
	const align = 256
	k := active
	if len(p) == 0 {
		return 0
	}
	skip := min(len(p), int(-uintptr(unsafe.Pointer(&p[0]))%align))
	whole := (len(p) - skip) / align * align
	total := sumGeneric(p[:skip]) + sumGeneric(p[skip+whole:])
	p = p[skip : skip+whole]
	parts := make([]uint64, ceilDiv(len(p), taskBytes))
	parallel(workers(), len(parts), func(i int) {
		parts[i] = k.sum(p[i*taskBytes : min(len(p), (i+1)*taskBytes)])
	})
	for _, v := range parts {
		total += v
	}
	return total
}
