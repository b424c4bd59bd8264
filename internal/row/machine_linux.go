package row

import (
	"cmp"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
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

// Memory is the machine's memory in bytes, or the smallest limit of the control
// groups that the process is in; 0 = unknown.
func Memory() int64 {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	kib, err := strconv.ParseInt(strings.TrimSuffix(field(string(data), "MemTotal"), " kB"), 10, 64)
	if err != nil {
		return 0
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return kib << 10
	}
	return min(kib<<10, memoryLimit(os.DirFS("/sys/fs/cgroup"), string(groups)))
}

// memoryLimit is the smallest memory limit of the control groups named in
// /proc/self/cgroup, of version 1 ("4:memory:/a/b") or 2 ("0::/a/b"), and of
// the groups that these are in; math.MaxInt64 without one. A container may name
// groups by paths outside of what it sees; those have no files.
func memoryLimit(sys fs.FS, groups string) int64 {
	limit := int64(math.MaxInt64)
	for line := range strings.Lines(groups) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(part) < 3 {
			continue
		}
		root, file := ".", "memory.max"
		if part[0] != "0" || part[1] != "" {
			if !slices.Contains(strings.Split(part[1], ","), "memory") {
				continue
			}
			root, file = "memory", "memory.limit_in_bytes"
		}
		for dir := path.Join("/", part[2]); ; dir = path.Dir(dir) {
			data, err := fs.ReadFile(sys, path.Join(root, dir, file))
			if n, perr := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64); err == nil && perr == nil && n > 0 {
				limit = min(limit, n)
			}
			if dir == "/" {
				break
			}
		}
	}
	return limit
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
