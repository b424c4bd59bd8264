//go:build cuda && linux && cgo

package driver

// #include <stdlib.h>
// #include "shim.h"
// #cgo LDFLAGS: -ldl -lpthread
import "C"

import (
	"errors"
	"fmt"
	"reflect"
)

// Error is a call of the driver that failed.
type Error struct {
	Call   string // "cuMemAlloc"
	Code   int    // CUresult
	Name   string // "CUDA_ERROR_OUT_OF_MEMORY"
	Detail string // sizes, names; may be empty
}

func (e *Error) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("%s: %s (%d)", e.Call, e.Name, e.Code)
	}
	return fmt.Sprintf("%s: %s (%d): %s", e.Call, e.Name, e.Code, e.Detail)
}

const outOfMemory = 2

// IsOutOfMemory reports whether err is the driver's refusal to give memory.
func IsOutOfMemory(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == outOfMemory
}

// check wraps an error of gorgonia.org/cu, whose own text lacks the call and
// has a shorter name. cu's error is an unexported integer, sometimes wrapped.
func check(err error, call, format string, args ...any) error {
	if err == nil {
		return nil
	}
	inner := err
	for {
		cause, ok := inner.(interface{ Cause() error })
		if !ok {
			break
		}
		inner = cause.Cause()
	}
	if v := reflect.ValueOf(inner); v.CanInt() {
		return result(int(v.Int()), call, format, args...)
	}
	return fmt.Errorf("%s: %w", call, err)
}

// result makes an error of a CUresult.
func result(code int, call, format string, args ...any) error {
	if code == 0 {
		return nil
	}
	return &Error{Call: call, Code: code, Name: errorName(code), Detail: fmt.Sprintf(format, args...)}
}

func errorName(code int) string {
	var name *C.char
	if C.cuGetErrorName(C.int(code), &name) != 0 || name == nil {
		return "CUDA_ERROR"
	}
	return C.GoString(name)
}

// start loads and initialises the driver, once.
func start() error {
	var why *C.char
	switch code := int(C.driver_start(&why)); {
	case code < 0:
		return fmt.Errorf("no CUDA driver: %s", C.GoString(why))
	default:
		return result(code, "cuInit", "")
	}
}
