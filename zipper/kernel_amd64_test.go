//go:build amd64 && !noasm

package zipper

import "golang.org/x/sys/cpu"

// alternatives are kernels of other CPUs that this one runs as well.
func alternatives() []*kernel {
	if cpu.X86.HasAVX512VNNI && cpu.X86.HasAVX512VPOPCNTDQ {
		return []*kernel{withoutPopulationCount()}
	}
	return nil
}
