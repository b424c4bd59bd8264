//go:build cuda && linux && cgo

package driver

// #include <stdlib.h>
// #include "library.h"
import "C"

import "unsafe"

// Clocks is what NVML tells of a device at this moment.
type Clocks struct {
	SMMHz, MemoryMHz int
	Watts            float64
	Celsius          int
	Version          string // of the driver package, "550.54.15"
}

// Clocks asks NVML; ok is false where it is missing or does not know the device.
func (i Info) Clocks() (c Clocks, ok bool) {
	if i.UUID == "" || C.nvml_start() != 0 {
		return c, false
	}
	uuid := C.CString(i.UUID)
	defer C.free(unsafe.Pointer(uuid))
	var device unsafe.Pointer
	if C.nvml_device(uuid, &device) != 0 {
		return c, false
	}
	const sm, memory = 1, 2 // nvmlClockType_t
	var v C.uint
	if C.nvml_clock(device, sm, &v) != 0 {
		return c, false
	}
	c.SMMHz = int(v)
	if C.nvml_clock(device, memory, &v) == 0 {
		c.MemoryMHz = int(v)
	}
	if C.nvml_power(device, &v) == 0 {
		c.Watts = float64(v) / 1e3
	}
	if C.nvml_temperature(device, &v) == 0 {
		c.Celsius = int(v)
	}
	var version [96]C.char
	if C.nvml_driver(&version[0], C.uint(len(version))) == 0 {
		c.Version = C.GoString(&version[0])
	}
	return c, true
}
