//go:build cuda && linux && cgo

package driver

// #include "shim.h"
import "C"

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"gorgonia.org/cu"
)

// Module is a loaded image of kernels.
type Module struct{ m cu.Module }

// Load gives an image, PTX or SASS, to the driver. What the driver's compiler
// says of bad PTX is part of the error.
func (c *Context) Load(image []byte) (*Module, error) {
	log := &cu.JITErrorLogBuffer{Buffer: make([]byte, 8<<10)}
	m, err := cu.LoadDataEx(string(image), log)
	if err != nil {
		text, _, _ := bytes.Cut(log.Buffer, []byte{0})
		return nil, check(err, "cuModuleLoadDataEx", "%d bytes: %s", len(image), strings.TrimSpace(string(text)))
	}
	c.live["modules"]++
	return &Module{m}, nil
}

// Unload gives m back; nil is left alone. Its kernels are dead after it.
func (c *Context) Unload(m *Module) error {
	if m == nil {
		return nil
	}
	c.live["modules"]--
	return check(m.m.Unload(), "cuModuleUnload", "")
}

// Kernel is a function of a module.
type Kernel struct {
	f      cu.Function
	name   string
	shared int // bytes of dynamic shared memory that a block may have
}

// defaultShared is the dynamic shared memory that needs no permission.
const defaultShared = 48 << 10

// Kernel finds a kernel by name.
func (m *Module) Kernel(name string) (*Kernel, error) {
	f, err := m.m.Function(name)
	if err != nil {
		return nil, check(err, "cuModuleGetFunction", "kernel %s", name)
	}
	return &Kernel{f, name, defaultShared}, nil
}

// AllowShared lets blocks of k have up to size bytes of dynamic shared memory,
// which above 48 KB a kernel must opt in to.
func (k *Kernel) AllowShared(size int) error {
	const maxDynamicShared = 8 // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
	if size <= k.shared {
		return nil
	}
	// cu.Function is nothing but the driver's handle.
	handle := *(*unsafe.Pointer)(unsafe.Pointer(&k.f))
	code := int(C.cuFuncSetAttribute(handle, maxDynamicShared, C.int(size)))
	if err := result(code, "cuFuncSetAttribute", "kernel %s, %d bytes of shared memory", k.name, size); err != nil {
		return err
	}
	k.shared = size
	return nil
}

// Registers returns the registers of a thread and the bytes of local memory,
// where spilled ones go.
func (k *Kernel) Registers() (registers, local int, err error) {
	if registers, err = k.f.Attribute(cu.NumRegs); err == nil {
		local, err = k.f.Attribute(cu.LocalSizeBytes)
	}
	return registers, local, check(err, "cuFuncGetAttribute", "kernel %s", k.name)
}

// BlocksPerSM is the number of blocks that an SM runs at a time.
func (k *Kernel) BlocksPerSM(threads, shared int) (int, error) {
	n, err := k.f.MaxActiveBlocksPerMultiProcessor(threads, int64(shared))
	return n, check(err, "cuOccupancyMaxActiveBlocksPerMultiprocessor", "kernel %s", k.name)
}

// Dim is the extent of a grid or a block.
type Dim struct{ X, Y, Z int }

// Launch puts k into s with shared bytes of dynamic shared memory. Every
// parameter of a kernel is 64 bits wide, as cu.Function.Launch copies them.
func (k *Kernel) Launch(s *Stream, grid, block Dim, shared int, args ...uint64) error {
	if shared > k.shared {
		return fmt.Errorf("kernel %s: %d bytes of shared memory, allowed are %d", k.name, shared, k.shared)
	}
	if len(args) == 0 {
		return errors.New("kernel " + k.name + ": no arguments") // malloc(0) inside cu
	}
	slots := make([]unsafe.Pointer, len(args))
	for i := range args {
		slots[i] = unsafe.Pointer(&args[i])
	}
	err := k.f.Launch(grid.X, grid.Y, grid.Z, block.X, block.Y, block.Z, shared, s.s, slots)
	return check(err, "cuLaunchKernel", "kernel %s, grid %v, block %v, %d bytes of shared memory", k.name, grid, block,
		shared)
}
