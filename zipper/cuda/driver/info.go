//go:build cuda && linux && cgo

package driver

import (
	"fmt"

	"gorgonia.org/cu"
)

// Info describes a device, as rows keep it. Clocks are the device's rated ones;
// see Clocks for those at work. Name, UUID, the clocks and BusBits only describe:
// they are empty or 0 where the driver does not tell them, which is no error.
type Info struct {
	Name         string
	UUID         string // "GPU-..."
	Capability   string // "9.0"
	SMs          int
	Memory       int64 // bytes
	L2           int64 // bytes
	SharedMemory int   // bytes that a block may opt in to
	ClockKHz     int   // 0 where the driver does not tell it, as MemoryKHz and BusBits
	MemoryKHz    int
	BusBits      int
	Driver       string // CUDA version of the driver, "12.4"
	// Emulated says that there is no GPU: kernels run on the CPU under the fake
	// driver of the tests, whose times mean nothing.
	Emulated bool
}

// maxSharedOptin is an attribute that gorgonia.org/cu does not name.
const maxSharedOptin = 97

// Info asks the driver about the device.
func (c *Context) Info() (Info, error) {
	var i Info
	i.Name, _ = c.device.Name() // see Info
	if id, err := c.device.UUID(); err == nil {
		i.UUID = "GPU-" + id.String()
	}
	var err error
	if i.Memory, err = c.device.TotalMem(); err != nil {
		return i, check(err, "cuDeviceTotalMem", "")
	}
	var major, minor, l2 int
	for _, a := range []struct {
		to     *int
		id     cu.DeviceAttribute
		needed bool
	}{
		{&major, cu.ComputeCapabilityMajor, true}, {&minor, cu.ComputeCapabilityMinor, true},
		{&i.SMs, cu.MultiprocessorCount, true}, {&l2, cu.L2CacheSize, true}, {&i.SharedMemory, maxSharedOptin, true},
		{&i.ClockKHz, cu.ClockRate, false}, {&i.MemoryKHz, cu.MemoryClockRate, false},
		{&i.BusBits, cu.GlobalMemoryBusWidth, false},
	} {
		v, err := c.device.Attribute(a.id)
		if err != nil && a.needed {
			return i, check(err, "cuDeviceGetAttribute", "attribute %d", a.id)
		}
		if err == nil {
			*a.to = v
		}
	}
	i.Capability = fmt.Sprintf("%d.%d", major, minor)
	i.L2 = int64(l2)
	if v := cu.Version(); v > 0 {
		i.Driver = fmt.Sprintf("%d.%d", v/1000, v%1000/10)
	}
	if _, err := c.device.Attribute(emulated); err == nil {
		i.Emulated = true
	}
	return i, nil
}

// MemoryInfo returns the free and the total memory in bytes.
func (c *Context) MemoryInfo() (free, total int64, err error) {
	free, total, err = cu.MemInfo()
	return free, total, check(err, "cuMemGetInfo", "")
}
