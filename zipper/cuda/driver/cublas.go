//go:build cuda && linux && cgo

package driver

// #include <stdlib.h>
// #include "library.h"
import "C"

import (
	"fmt"
	"os"
	"unsafe"
)

// CuBLAS is NVIDIA's library of matrix products, which is no part of the driver:
// it comes with the toolkit or with PyTorch. The environment variable
// MOSAICQUANT_CUBLAS names its file where the loader does not find it.
type CuBLAS struct {
	handle unsafe.Pointer
	// Version is as cuBLAS counts: 120804 is 12.8.4.
	Version int
}

// blas makes an error of a cublasStatus_t.
func blas(code C.int, call, format string, args ...any) error {
	if code == 0 {
		return nil
	}
	names := map[C.int]string{1: "NOT_INITIALIZED", 3: "ALLOC_FAILED", 7: "INVALID_VALUE", 8: "ARCH_MISMATCH",
		11: "MAPPING_ERROR",
		13: "EXECUTION_FAILED", 14: "INTERNAL_ERROR", 15: "NOT_SUPPORTED", 16: "LICENSE_ERROR"}
	return &Error{Call: call, Code: int(code), Name: "CUBLAS_STATUS_" + names[code], Detail: fmt.Sprintf(format, args...)}
}

// NewCuBLAS loads cuBLAS and lets it work in s.
func (c *Context) NewCuBLAS(s *Stream) (*CuBLAS, error) {
	file := C.CString(os.Getenv("MOSAICQUANT_CUBLAS"))
	defer C.free(unsafe.Pointer(file))
	var why *C.char
	if C.cublas_start(file, &why) != 0 {
		return nil, fmt.Errorf("no cuBLAS: %s", C.GoString(why))
	}
	b := &CuBLAS{}
	if err := blas(C.cublas_create(&b.handle), "cublasCreate", ""); err != nil {
		return nil, err
	}
	c.live["cuBLAS handles"]++
	var version C.int
	err := blas(C.cublas_version(b.handle, &version), "cublasGetVersion", "")
	if err == nil {
		// cu.Stream is nothing but the driver's handle.
		err = blas(C.cublas_stream(b.handle, *(*unsafe.Pointer)(unsafe.Pointer(&s.s))), "cublasSetStream", "")
	}
	if err != nil {
		c.FreeCuBLAS(b) // err is what matters
		return nil, err
	}
	b.Version = int(version)
	return b, nil
}

// FreeCuBLAS destroys b; nil is left alone.
func (c *Context) FreeCuBLAS(b *CuBLAS) error {
	if b == nil {
		return nil
	}
	c.live["cuBLAS handles"]--
	return blas(C.cublas_destroy(b.handle), "cublasDestroy", "")
}

// GEMM puts y [m,n] = x [m,k] · w [n,k]ᵀ into the stream: bfloat16, row by row,
// summed in float32.
func (b *CuBLAS) GEMM(y, x, w Buffer, m, n, k int) error {
	return b.gemm(y, x, w, m, n, k, k, false, false)
}

// GEMM16 is GEMM where rows of x lie ldx elements apart.
func (b *CuBLAS) GEMM16(y, x, w Buffer, m, n, k, ldx int) error {
	return b.gemm(y, x, w, m, n, k, ldx, false, false)
}

// GEMM32 is GEMM into float32. Rows of x lie ldx elements apart. It adds to what y
// holds where more says so.
func (b *CuBLAS) GEMM32(y, x, w Buffer, m, n, k, ldx int, more bool) error {
	return b.gemm(y, x, w, m, n, k, ldx, true, more)
}

func (b *CuBLAS) gemm(y, x, w Buffer, m, n, k, ldx int, wide, more bool) error {
	size := int64(2)
	if wide {
		size = 4
	}
	y.span(0, size*int64(m)*int64(n))
	x.span(0, 2*(int64(m-1)*int64(ldx)+int64(k)))
	w.span(0, 2*int64(n)*int64(k))
	code := C.cublas_gemm(b.handle, C.int(m), C.int(n), C.int(k), C.ulonglong(y.Address()), C.ulonglong(x.Address()),
		C.int(ldx), C.ulonglong(w.Address()), flag(wide), flag(more))
	return blas(code, "cublasGemmEx", "m=%d n=%d k=%d", m, n, k)
}

func flag(v bool) C.int {
	if v {
		return 1
	}
	return 0
}
