package gemm

import (
	"fmt"
	"os"
	"strings"
)

// A kernel is one way to do the inner loops. Its functions take pointers to
// data whose length the caller has checked; kernel_generic.go states in Go what
// each of them computes.
type kernel struct {
	name string

	// tiles multiply one packed panel of A (rows high) by one of B (cols wide):
	// the first all of it, the others the upper left part that they are named
	// for. Packed A holds aStride >= rows floats for every k, packed B cols.
	tiles               []tile
	rows, cols, aStride int
	kc                  int // most k in one pass over a tile: what the caches hold
	fetch               int // visits of a tile that fetch a whole panel of A
	chunk               int // most panels of B that one task packs for itself

	// transpose packs rows that are contiguous along k; block is the edge of
	// the squares it moves. block divides aStride, cols and kc.
	transpose func(dst *float32, dstStride int, src *float32, srcStride, blocks int)
	block     int

	// dot1 and dotWide multiply 4 rows of W by 1 and by wide rows of X.
	dot1, dotWide func(k int, w *float32, ldw int, x *float32, ldx int, out *float32)
	wide          int
	fewRows       int // most rows of X for which the two beat packing

	// Element-wise functions; they and the dots take multiples of lanes.
	lanes      int
	dot        func(n int, x, y *float32) float32
	axpy       func(n int, alpha float32, x, y *float32)
	accumulate func(n int, dst *float64, src *float32)
	decodeBF16 func(n int, dst *float32, src *byte)
	decodeF16  func(n int, dst *float32, src *byte)
	largest    func(n int, x *float32) float32
	maxAbs     func(n int, x *float32) float32
	roundTo    func(n int, x *float32, scale, top float32)
}

// A tile is a micro-kernel: c[i*ldc+j] = alpha·Σ_p a[p,i]·b[p,j], or, with add,
// that much more. next points to memory that will be needed soon.
type tile struct {
	rows, cols int
	mul        func(kc int, a, b, next, c *float32, ldc int, alpha float32, add bool)
}

// covering returns the smallest tile that computes rows x cols elements.
func (k *kernel) covering(rows, cols int) tile {
	best := k.tiles[0]
	for _, t := range k.tiles[1:] {
		if t.rows >= rows && t.cols >= cols && t.rows*t.cols < best.rows*best.cols {
			best = t
		}
	}
	return best
}

// cpuVariable forces a kernel by name; a name that is unknown or that this CPU
// cannot run is an error, see CheckKernel.
const cpuVariable = "MOSAICQUANT_CPU"

// active is the kernel in use: set at start, and by tests. Where the variable names
// none, wrong says so, and active is the fastest one.
var active, wrong = start()

func start() (*kernel, error) {
	all := kernels()
	k, err := choose(os.Getenv(cpuVariable), all)
	if err != nil {
		return all[0], err
	}
	return k, nil
}

// CheckKernel returns an error if the environment variable MOSAICQUANT_CPU names a
// kernel that this build does not have for this CPU. Programs call it first: the
// fastest kernel would run in place of that one.
func CheckKernel() error { return wrong }

// choose returns the named kernel, or the first one if name is empty.
func choose(name string, available []*kernel) (*kernel, error) {
	if name == "" {
		return available[0], nil
	}
	for _, k := range available {
		if k.name == name {
			return k, nil
		}
	}
	return nil, fmt.Errorf("gemm: %s=%q: this build on this CPU has %s",
		cpuVariable, name, strings.Join(names(available), ", "))
}

// Kernel returns the name of the kernel in use: avx512, avx2 or generic.
func Kernel() string { return active.name }

// Kernels returns the names of all kernels that this build has for this CPU,
// the fastest first.
func Kernels() []string { return names(kernels()) }

func names(ks []*kernel) []string {
	var list []string
	for _, k := range ks {
		list = append(list, k.name)
	}
	return list
}
