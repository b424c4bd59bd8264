package row

import (
	"cmp"
	"os"
	"strconv"
	"strings"
)

// cpuModel is the processor's name as the kernel gives it, or "unknown": ARM
// kernels give none.
func cpuModel() string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	return cmp.Or(field(string(data), "model name"), "unknown")
}

// memory is the machine's memory in bytes, or the smaller limit that the
// process's container sets; 0 = unknown.
func memory() int64 {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	kib, err := strconv.ParseInt(strings.TrimSuffix(field(string(data), "MemTotal"), " kB"), 10, 64)
	if err != nil {
		return 0
	}
	total := kib << 10
	if data, err := os.ReadFile("/sys/fs/cgroup/memory.max"); err == nil {
		if limit, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64); err == nil && limit < total {
			return limit
		}
	}
	return total
}

// field returns the value of the first line "name : value" of a /proc file.
func field(text, name string) string {
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
