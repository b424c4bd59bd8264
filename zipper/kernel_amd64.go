//go:build amd64 && !noasm

package zipper

import "golang.org/x/sys/cpu"

//go:generate go run -C _gen . -isa avx2 -pkg zipper -out ../avx2_amd64.s -stubs ../avx2_amd64.go
//go:generate go run -C _gen . -isa avx512 -pkg zipper -out ../avx512_amd64.s -stubs ../avx512_amd64.go

// avx2Kernel gains over the generic one 32 products in an instruction
// (VPMADDUBSW), and codes that are unpacked in registers. The sums of products
// are narrow first and widened by a second instruction.
var avx2Kernel = &kernel{
	name:   "avx2",
	panels: []panelKernel{{1, assembly(panel1AVX2)}, {2, assembly(panel2AVX2)}},
	lanes:  8,
	maxAbs: func(x []float32) uint32 { return maxAbsAVX2(len(x), &x[0]) },
	quantize: func(dst []byte, x []float32, scale float32) {
		quantizeAVX2(len(x), &dst[0], &x[0], scale)
	},
	sum: func(p []byte) uint64 { return sumAVX2(len(p), &p[0]) },
}

// avx512Kernel gains over AVX2 twice the lanes, products that are summed to 32
// bits by one instruction (VPDPBUSD, AVX512_VNNI), activations as memory operands
// of it, and registers for 8 tokens at a time.
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
func assembly(f func(w, x *byte, ld int, s *int, lanes *int32, out *float32)) func(w, x []byte, ld int, s *shape, lanes *laneTable, out []float32) {
	return func(w, x []byte, ld int, s *shape, lanes *laneTable, out []float32) {
		f(&w[0], &x[0], ld, &s.groups, &lanes[0], &out[0])
	}
}

// kernels returns what this CPU runs, the fastest first.
func kernels() []*kernel {
	ks := []*kernel{generic}
	// F16C has no flag in x/sys/cpu, but every CPU with AVX2 has it (x86-64-v3).
	if cpu.X86.HasAVX2 && cpu.X86.HasBMI2 {
		ks = append([]*kernel{avx2Kernel}, ks...)
		if cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL && cpu.X86.HasAVX512VNNI {
			ks = append([]*kernel{avx512Kernel}, ks...)
		}
	}
	return ks
}
