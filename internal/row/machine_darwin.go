package row

import "syscall"

// cpuModel is the processor's name as the kernel gives it, or "unknown".
func cpuModel() string {
	name, err := syscall.Sysctl("machdep.cpu.brand_string")
	if err != nil || name == "" {
		return "unknown"
	}
	return name
}

// Memory is the machine's memory in bytes; 0 = unknown.
func Memory() int64 {
	// Sysctl takes the value for a string and cuts a final NUL, here the
	// highest byte of a little-endian 64-bit count.
	s, err := syscall.Sysctl("hw.memsize")
	if err != nil || len(s) > 8 {
		return 0
	}
	var n int64
	for i := range len(s) {
		n |= int64(s[i]) << (8 * i)
	}
	return n
}
