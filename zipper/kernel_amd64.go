//go:build amd64 && !noasm

package zipper

import (
	"unsafe"

	"golang.org/x/sys/cpu"

	"github.com/mosaicquant/mosaicquant/quant"
)

//go:generate go run -C _gen . -isa avx2 -pkg zipper -out ../avx2_amd64.s -stubs ../avx2_amd64.go
//go:generate go run -C _gen . -isa avx512 -pkg zipper -out ../avx512_amd64.s -stubs ../avx512_amd64.go

var panelsAVX2 = [schemes]panelKernels{
	schemeA8:   {{1, assembly(panelA8x1AVX2)}, {2, assembly(panelA8x2AVX2)}},
	schemeA4:   {{1, assembly(panelA4x1AVX2)}, {2, assembly(panelA4x2AVX2)}},
	schemeA16:  {{1, assembly(panelA16x1AVX2)}, {2, assembly(panelA16x2AVX2)}},
	schemeBF16: {{1, assembly(panelBF16x1AVX2)}, {2, assembly(panelBF16x2AVX2)}},
}

// avx2Kernel gains over the generic one 32 products in an instruction
// (VPMADDUBSW), and codes that are unpacked in registers. The sums of products
// are narrow first and widened by a second instruction.
var avx2Kernel = &kernel{
	name:   "avx2",
	panels: panelsAVX2,
	lanes:  8,
	maxAbs: func(x []float32) uint32 { return maxAbsAVX2(len(x), &x[0]) },
	quantize: func(dst []byte, x []float32, scale float32, top int32) {
		quantizeAVX2(len(x), &dst[0], &x[0], scale, top)
	},
	sparse: func(ptr []uint32, cols, vals []uint16, x, y []float32) {
		sparseAVX2(len(ptr)-1, &ptr[0], unsafe.SliceData(cols), unsafe.SliceData(vals), &x[0], &y[0])
	},
	sparseLanes: func(ptr []uint32, cols, vals []uint16, x, out []float32) {
		sparseLanesAVX2(len(ptr)-1, &ptr[0], unsafe.SliceData(cols), unsafe.SliceData(vals), &x[0], &out[0])
	},
	sparseWidth: 8,
	widen: func(dst, src []byte, s *shape, lanes *laneTable) {
		if s.mode == cellsExact {
			widenGeneric(dst, src, s, lanes)
			return
		}
		widenAVX2(&dst[0], &src[0], &s.groups, &lanes[0])
	},
	widenFrom: 3, riding: ridingAVX2, widened: ridingAVX2,
	exact:   [schemes]panelKernels{schemeA16: panelsGeneric[schemeA16]},
	bytes:   panelsAVX2,
	decode:  decodeBy(&decodersAVX2),
	decoded: panelKernels{{1, assembly(panelDecodedx1AVX2)}, {4, assembly(panelDecodedx4AVX2)}},
	sum:     func(p []byte) uint64 { return sumAVX2(len(p), &p[0]) },
}

var panelsAVX512 = [schemes]panelKernels{
	schemeA8:   {{1, assembly(panelA8x1AVX512)}, {4, assembly(panelA8x4AVX512)}, {8, assembly(panelA8x8AVX512)}},
	schemeA4:   {{1, assembly(panelA4x1AVX512)}, {4, assembly(panelA4x4AVX512)}, {8, assembly(panelA4x8AVX512)}},
	schemeA16:  {{1, assembly(panelA16x1AVX512)}, {4, assembly(panelA16x4AVX512)}, {8, assembly(panelA16x8AVX512)}},
	schemeBF16: {{1, assembly(panelBF16x1AVX512)}, {4, assembly(panelBF16x4AVX512)}, {8, assembly(panelBF16x8AVX512)}},
}

// avx512Kernel gains over AVX2 twice the lanes, products that are summed to 32
// bits by one instruction (VPDPBUSD, AVX512_VNNI), activations as memory operands
// of it, and registers for 8 tokens at a time.
var avx512Kernel = &kernel{
	name:   "avx512",
	panels: panelsAVX512,
	lanes:  16,
	maxAbs: func(x []float32) uint32 { return maxAbsAVX512(len(x), &x[0]) },
	quantize: func(dst []byte, x []float32, scale float32, top int32) {
		quantizeAVX512(len(x), &dst[0], &x[0], scale, top)
	},
	sparse: func(ptr []uint32, cols, vals []uint16, x, y []float32) {
		sparseAVX512(len(ptr)-1, &ptr[0], unsafe.SliceData(cols), unsafe.SliceData(vals), &x[0], &y[0])
	},
	sparseLanes: func(ptr []uint32, cols, vals []uint16, x, out []float32) {
		sparseLanesAVX512(len(ptr)-1, &ptr[0], unsafe.SliceData(cols), unsafe.SliceData(vals), &x[0], &out[0])
	},
	sparseWidth: 16,
	widen: func(dst, src []byte, s *shape, lanes *laneTable) {
		if s.mode == cellsExact {
			widenExactAVX512(&dst[0], &src[0], &s.groups, &lanes[0])
			return
		}
		widenAVX512(&dst[0], &src[0], &s.groups, &lanes[0])
	},
	widenFrom: 256,
	exact: [schemes]panelKernels{schemeA8: ridingAVX512[schemeA8], schemeA4: ridingAVX512[schemeA4],
		schemeA16: panelsAVX512[schemeA16]},
	exactUpTo: 64,
	bytes:     panelsAVX512,
	riding:    ridingAVX512,
	widened:   ridingAVX512,
	decode:    decodeBy(&decodersAVX512),
	decodeOne: func(out []float32, src, x []byte, tiles int, t *trellis) {
		trellisAVX512[t.code][t.bits-2](&out[0], &src[0], tiles, 1<<t.length-1, &x[0])
	},
	decoded: panelKernels{{1, assembly(panelDecodedx1AVX512)}, {4, assembly(panelDecodedx4AVX512)},
		{8, assembly(panelDecodedx8AVX512)}},
	sum: func(p []byte) uint64 { return sumAVX512(len(p), &p[0]) },
}

var ridingAVX2 = [schemes]panelKernels{
	schemeA8: {{1, assembly(panelA8x1AVX2)}, {2, assembly(panelA8x2AVX2)}},
	schemeA4: {{1, assembly(panelA4x1AVX2)}, {2, assembly(panelA4x2AVX2)}},
}

var ridingAVX512 = [schemes]panelKernels{
	schemeA8: {{1, assembly(panelA8x1AVX512)}, {4, assembly(panelA8x4AVX512)}, {8, assembly(panelA8x8AVX512)},
		{16, assembly(panelA8x16AVX512)}},
	schemeA4: {{1, assembly(panelA4x1AVX512)}, {4, assembly(panelA4x4AVX512)}, {8, assembly(panelA4x8AVX512)},
		{16, assembly(panelA4x16AVX512)}},
}

// decoders are the functions that decode trellis codes, by code and bits less 2.
type decoders [3][3]func(dst *float32, src *byte, tiles int, mask uint32)

var decodersAVX2 = decoders{
	quant.Mul1:      {decodeMul1x2AVX2, decodeMul1x3AVX2, decodeMul1x4AVX2},
	quant.OneMAD:    {decodeOneMADx2AVX2, decodeOneMADx3AVX2, decodeOneMADx4AVX2},
	quant.ThreeInst: {decodeThreeInstx2AVX2, decodeThreeInstx3AVX2, decodeThreeInstx4AVX2},
}

var decodersAVX512 = decoders{
	quant.Mul1:      {decodeMul1x2AVX512, decodeMul1x3AVX512, decodeMul1x4AVX512},
	quant.OneMAD:    {decodeOneMADx2AVX512, decodeOneMADx3AVX512, decodeOneMADx4AVX512},
	quant.ThreeInst: {decodeThreeInstx2AVX512, decodeThreeInstx3AVX512, decodeThreeInstx4AVX512},
}

// trellisAVX512 multiply by one token what they decode.
var trellisAVX512 = [3][3]func(out *float32, src *byte, tiles int, mask uint32, x *byte){
	quant.Mul1:      {panelMul1x2AVX512, panelMul1x3AVX512, panelMul1x4AVX512},
	quant.OneMAD:    {panelOneMADx2AVX512, panelOneMADx3AVX512, panelOneMADx4AVX512},
	quant.ThreeInst: {panelThreeInstx2AVX512, panelThreeInstx3AVX512, panelThreeInstx4AVX512},
}

func decodeBy(d *decoders) func(dst []float32, src []byte, tiles int, t *trellis) {
	return func(dst []float32, src []byte, tiles int, t *trellis) {
		d[t.code][t.bits-2](&dst[0], &src[0], tiles, 1<<t.length-1)
	}
}

// withoutPopulationCount is avx512Kernel for CPUs that lack AVX512_VPOPCNTDQ, which
// AVX-512 takes to add what rides in codes: AVX2 does it for them.
func withoutPopulationCount() *kernel {
	k := *avx512Kernel
	k.riding, k.widenFrom = avx2Kernel.riding, avx2Kernel.widenFrom
	k.widen = func(dst, src []byte, s *shape, lanes *laneTable) {
		if s.mode == cellsExact {
			avx512Kernel.widen(dst, src, s, lanes)
			return
		}
		avx2Kernel.widen(dst, src, s, lanes)
	}
	return &k
}

// assembly adapts a panel kernel, which sees pointers only.
func assembly(
	f func(w, x *byte, ld int, s *int, lanes *int32, out *float32),
) func(w, x []byte, ld int, s *shape, lanes *laneTable, out []float32) {
	return func(w, x []byte, ld int, s *shape, lanes *laneTable, out []float32) {
		f(&w[0], &x[0], ld, &s.groups, &lanes[0], &out[0])
	}
}

// kernels returns what this CPU runs, the fastest first.
func kernels() []*kernel {
	ks := []*kernel{generic}
	// F16C has no flag in x/sys/cpu, but every CPU with AVX2 has it (x86-64-v3).
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA && cpu.X86.HasBMI2 {
		ks = append([]*kernel{avx2Kernel}, ks...)
		if cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL && cpu.X86.HasAVX512VNNI {
			k := avx512Kernel
			if !cpu.X86.HasAVX512VPOPCNTDQ {
				k = withoutPopulationCount()
			}
			ks = append([]*kernel{k}, ks...)
		}
	}
	return ks
}
