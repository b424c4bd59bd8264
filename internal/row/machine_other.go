//go:build !linux && !darwin

package row

// The standard library has no way to ask this system.

func cpuModel() string { return "unknown" }

// Memory is the machine's memory in bytes; 0 = unknown.
func Memory() int64 { return 0 }
