//go:build amd64 && !noasm

package gemm

import "golang.org/x/sys/cpu"

//go:generate go run -C _gen . -isa avx2 -pkg gemm -out ../avx2_amd64.s -stubs ../avx2_amd64.go
//go:generate go run -C _gen . -isa avx512 -pkg gemm -out ../avx512_amd64.s -stubs ../avx512_amd64.go

// avx2Kernel gains over the generic one eight lanes and fused multiply-add: a
// 6x16 tile in 12 of 16 registers, 8 loads for 12 FMAs where two of each can
// start in a cycle, so that loads do not hold it up.
var avx2Kernel = &kernel{
	name:  "avx2",
	tiles: []tile{{6, 16, tile6x16AVX2}, {3, 16, tile3x16AVX2}, {6, 8, tile6x8AVX2}},
	rows:  6, cols: 16, aStride: 8, kc: 384, fetch: 2, chunk: 16,
	transpose: transpose8AVX2, block: 8,
	dot1: dot4x1AVX2, dotWide: dot4x2AVX2, wide: 2, fewRows: 32,
	lanes: 8, dot: dotAVX2, axpy: axpyAVX2, accumulate: accumulateAVX2,
	decodeBF16: decodeBF16AVX2, decodeF16: decodeF16AVX2,
	largest: largestAVX2, maxAbs: maxAbsAVX2, roundTo: roundToAVX2,
}

// avx512Kernel gains over AVX2 twice the lanes and twice the registers, so that
// the tile can be 14x32: 448 products for 16 loads where AVX2 has 96 for 8.
var avx512Kernel = &kernel{
	name:  "avx512",
	tiles: []tile{{14, 32, tile14x32AVX512}, {8, 32, tile8x32AVX512}, {4, 32, tile4x32AVX512}, {14, 16, tile14x16AVX512}},
	rows:  14, cols: 32, aStride: 16, kc: 384, fetch: 4, chunk: 8,
	transpose: transpose16AVX512, block: 16,
	dot1: dot4x1AVX512, dotWide: dot4x4AVX512, wide: 4, fewRows: 32,
	lanes: 16, dot: dotAVX512, axpy: axpyAVX512, accumulate: accumulateAVX512,
	decodeBF16: decodeBF16AVX512, decodeF16: decodeF16AVX512,
	largest: largestAVX512, maxAbs: maxAbsAVX512, roundTo: roundToAVX512,
}

// kernels returns what this CPU runs, the fastest first.
func kernels() []*kernel {
	ks := []*kernel{generic}
	// F16C has no flag in x/sys/cpu, but every CPU with AVX2 has it (x86-64-v3).
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		ks = append([]*kernel{avx2Kernel}, ks...)
		if cpu.X86.HasAVX512F && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL {
			ks = append([]*kernel{avx512Kernel}, ks...)
		}
	}
	return ks
}
