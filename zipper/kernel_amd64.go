//go:build amd64 && !noasm

package zipper

import "golang.org/x/sys/cpu"

//go:generate go run -C _gen . -pkg zipper -out ../avx512_amd64.s -stubs ../avx512_amd64.go

// avx512Kernel gains over the generic one 64 products in an instruction
// (VPDPBUSD, AVX512_VNNI), and codes that are unpacked in registers for up to 8
// tokens at a time.
var avx512Kernel = &kernel{
	name: "avx512",
	panels: []panelKernel{
		{1, assembly(panel1AVX512)}, {4, assembly(panel4AVX512)}, {8, assembly(panel8AVX512)},
	},
	lanes:  16,
	maxAbs: func(x []float32) uint32 { return maxAbsAVX512(len(x), &x[0]) },
	quantize: func(dst []byte, x []float32, scale float32) {
		quantizeAVX512(len(x), &dst[0], &x[0], scale)
	},
	sum: func(p []byte) uint64 { return sumAVX512(len(p), &p[0]) },
}

// assembly adapts a panel kernel, which sees pointers only.
func assembly(f func(w, x *byte, ld int, s *int, lanes *int32, out *float32)) func(w, x []byte, ld int, s *shape, lanes *[2 * panelRows]int32, out []float32) {
	return func(w, x []byte, ld int, s *shape, lanes *[2 * panelRows]int32, out []float32) {
		f(&w[0], &x[0], ld, &s.groups, &lanes[0], &out[0])
	}
}

// kernels returns what this CPU runs, the fastest first.
func kernels() []*kernel {
	if cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL && cpu.X86.HasAVX512VNNI && cpu.X86.HasBMI2 {
		return []*kernel{avx512Kernel, generic}
	}
	return []*kernel{generic}
}
