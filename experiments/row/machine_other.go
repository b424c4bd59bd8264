//go:build !linux && !darwin

package row

// The standard library has no way to ask this system.

func cpuModel() string { return "unknown" }

func memory() int64 { return 0 }
